"""The demo queues what it promises."""

from collections import Counter
from pathlib import Path

from sqlalchemy import func, select

from sidecar.demo.scenario import (
    BAD_ADDRESSES,
    COMPANIES,
    NO_MAILBOX,
    REMINDERS,
    SMALL,
    build,
)
from sidecar.demo.site import Site
from sidecar.settings import Settings


def test_the_queue_is_as_announced(tmp_path: Path) -> None:
    site = Site(f"sqlite:///{tmp_path / 'site.db'}")
    site.install()
    scenario = build(site)
    email = site.tables.email
    query = select(email.c.templatename, func.count()).group_by(email.c.templatename)
    with site.engine.connect() as conn:
        queued = {row[0]: row[1] for row in conn.execute(query)}
    assert (queued.pop("user_create"), queued.pop("license_allocated")) == (500, 200)
    assert sum(queued.values()) == 350
    wanted = scenario.wanted
    of_iomad = [w for w in wanted if w.row]
    assert Counter(w.role for w in of_iomad) == {"user": 1050, "manager": 1050}
    assert (len(wanted) - len(of_iomad), len(scenario.newcomers)) == (210, 60)
    assert len({(w.address, w.body or w.subject) for w in wanted}) == len(wanted)
    reasons = Counter(w.reason for w in wanted if w.reason)
    assert reasons == Counter([reason for _, reason in BAD_ADDRESSES] + [NO_MAILBOX] * 2)
    assert set(scenario.refused.values()) == {NO_MAILBOX}
    assert len(scenario.busy) > 20
    assert not scenario.refused.keys() & set(scenario.busy)


def test_the_small_queue_has_bulk_operations_of_every_kind(tmp_path: Path) -> None:
    site = Site(f"sqlite:///{tmp_path / 'site.db'}")
    site.install()
    scenario = build(site, SMALL)
    email = site.tables.email
    query = select(email.c.templatename, email.c.companyid, func.count()).group_by(
        email.c.templatename, email.c.companyid
    )
    with site.engine.connect() as conn:
        queued = {(row[0], row[1]): row[2] for row in conn.execute(query)}
    reminders = Counter(dict.fromkeys(COMPANIES, 0))
    for name, company in list(queued):
        if name in REMINDERS:
            reminders[company] += queued.pop((name, company))
    fewest = Settings().bulk_threshold
    assert min([*queued.values(), *reminders.values(), len(scenario.newcomers)]) >= fewest
    assert len([w for w in scenario.wanted if w.reason]) == len(BAD_ADDRESSES) + 2
    assert scenario.busy
