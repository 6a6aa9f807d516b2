"""The outbox as a source: big campaigns, rows that come late, and who is inactive."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from sqlalchemy import Table, insert, text

from sidecar.campaign_text import CampaignText
from sidecar.config import load
from sidecar.context import Context
from sidecar.demo.site import Site
from sidecar.moodle.inactive import count_students, first_students, inactive_students
from sidecar.pollers.base import Poller
from sidecar.store import campaigns
from sidecar.store.site import create_schema
from tests.conftest import ConfigFile

DAY = 86_400


class Bench:
    """A poller of its own on a site, without daemon and dispatch."""

    def __init__(self, context: Context, poller: Poller) -> None:
        self.context, self.poller, self.database = context, poller, context.database

    def poll(self) -> None:
        """Look until nothing is left to claim now."""
        companies = self.context.companies()
        while True:
            self.context.lease.acquire()
            config = self.context.observe().config
            self.poller.poll(config, companies, lambda _: "", lambda: None)
            if self.poller.settled:
                return

    def queue(self, rows: int, subject: str = "s", data: str | None = None) -> int:
        """A campaign to so many addresses."""
        with self.database.write(None) as tx:
            campaign = campaigns.insert_campaign(
                tx,
                self.database,
                campaign_type="reengagement",
                company_id=0,
                text=CampaignText(subject, "b"),
                created_by=2,
                send_at=tx.now,
            )
            self.add(campaign, rows, data)
            campaigns.set_status(tx, self.database, [campaign], campaigns.Status.QUEUED)
        return campaign

    def add(self, campaign: int, rows: int, data: str | None = None) -> None:
        """Further rows."""
        values = [
            {"campaign_id": campaign, "userid": 2, "email": f"u{n}@x.test", "data": data}
            for n in range(rows)
        ]
        with self.database.write(None) as tx:
            tx.conn.execute(insert(self.database.tables.outbox), values)

    def one(self, statement: str) -> object:
        """The single value of a query."""
        with self.database.read() as conn:
            return conn.execute(text(statement)).scalar()


@contextmanager
def bench(url: str, config_file: ConfigFile, **settings: object) -> Iterator[Bench]:
    """A site's campaigns, looked at by nobody else."""
    context = Context(load(config_file(url, **settings), {}))
    try:
        uid = create_schema(context.database, context.fingerprint)
        assert context.lease.acquire()
        yield Bench(context, context.pollers(uid)["campaigns"])
    finally:
        context.close()


def test_a_campaign_is_one_job_whatever_its_size(iomad_db: str, config_file: ConfigFile) -> None:
    with bench(iomad_db, config_file, max_job_size=1000, bulk_threshold=9000) as made:
        made.queue(4_000)
        made.poll()
        assert made.one("SELECT COUNT(*) FROM mdl_manireports_cloud_jobs") == 1
        assert made.one("SELECT email_count FROM mdl_manireports_cloud_jobs") == 4_000
        assert made.one("SELECT created_by FROM mdl_manireports_cloud_jobs") == 2
        assert made.one("SELECT COUNT(*) FROM mdl_manireports_cloud_recipients") == 4_000


def test_a_late_row_that_cannot_be_rendered_stops_the_rest(
    iomad_db: str, config_file: ConfigFile
) -> None:
    with bench(iomad_db, config_file) as made:
        campaign = made.queue(3, "{bonus}", '{"bonus": "1"}')
        made.poll()
        made.add(campaign, 2)
        made.poll()
        assert made.one("SELECT status FROM mdl_manireports_cloud_campaigns") == "failed"
        assert "{bonus}" in str(made.one("SELECT error_log FROM mdl_manireports_cloud_jobs"))
        assert made.one("SELECT closed_at FROM mdl_manireports_cloud_jobs")
        waiting = "SELECT COUNT(*) FROM mdl_manireports_cloud_outbox WHERE status = 'waiting'"
        assert made.one(waiting) == 2
        assert made.one("SELECT COUNT(*) FROM mdl_manireports_cloud_recipients") == 3


@pytest.mark.parametrize("company", [0, 1])
def test_who_is_inactive(iomad_db: str, config_file: ConfigFile, company: int) -> None:
    site = Site(iomad_db)
    site.add_company(1, "Acme")
    site.add_course(7, "A course")
    never, visited, recent, new, ended, later, teacher, suspended, nologin = site.add_users(1, 9)
    (outsider,) = site.add_users(0, 1)
    now = 2_000_000_000
    people = [never, visited, recent, new, ended, later, teacher, suspended, nologin, outsider]
    t = site.tables
    site.make_students(7, people)
    site.make_students(7, [never])
    with site.engine.begin() as conn:

        def rows(table: Table, *values: Mapping[str, object]) -> None:
            conn.execute(insert(table), list(values))

        conn.execute(
            text(
                "INSERT INTO mdl_role (id, shortname, archetype, sortorder)"
                " VALUES (3, 'editor', 'teacher', 2)"
            )
        )
        conn.execute(
            text(f"UPDATE mdl_role_assignments SET roleid = 3 WHERE userid = {teacher.id}")
        )
        rows(
            t.user_enrolments,
            *(
                {
                    "enrolid": 1,
                    "userid": p.id,
                    "timecreated": now - (1 if p is new else 90) * DAY,
                    "timestart": now + DAY if p is later else 0,
                    "timeend": now - 1 if p is ended else 0,
                }
                for p in people
            ),
        )
        rows(t.enrol, {"id": 99, "enrol": "self", "courseid": 7})
        rows(t.user_enrolments, {"enrolid": 99, "userid": never.id, "timeend": 0})
        rows(
            t.user_lastaccess,
            {"userid": visited.id, "courseid": 7, "timeaccess": now - 31 * DAY},
            {"userid": recent.id, "courseid": 7, "timeaccess": now - 29 * DAY},
        )
        conn.execute(text(f"UPDATE mdl_user SET suspended = 1 WHERE id = {suspended.id}"))
        conn.execute(text(f"UPDATE mdl_user SET auth = 'nologin' WHERE id = {nologin.id}"))
    expected = [never, visited] if company else [never, visited, outsider]
    with bench(iomad_db, config_file) as made, made.database.write(None) as tx:
        query = inactive_students(t, now=now, since=now - 30 * DAY, course_id=7, company_id=company)
        found = first_students(tx.conn, query, 10)
        assert sorted(found) == [(person.id, 7) for person in expected]
        assert count_students(tx.conn, query) == len(expected)
        assert campaigns.fill(tx, made.database, 1, query) == len(expected)
        assert campaigns.waiting_numbers(tx.conn, made.database, [1]) == {1: len(expected)}
    site.engine.dispose()
