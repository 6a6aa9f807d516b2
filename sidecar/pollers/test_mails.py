"""Test mails that an admin asks for: they take the whole way of any other mail, and no queue of
Moodle's."""

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from urllib.parse import urlsplit

from sqlalchemy import Connection

from sidecar.errors import AddressError, SidecarError
from sidecar.grouping import TYPE_LABELS, Group
from sidecar.jobs import Dropped, Prepared, label_of
from sidecar.lifecycle import Recipient
from sidecar.mail import Address, Content, Mail, capture_hash, mail_key
from sidecar.moodle.addresses import to_ascii
from sidecar.moodle.campaign_people import CampaignPeople
from sidecar.moodle.config import MoodleConfig, RecentConfig
from sidecar.moodle.mail_settings import diversion, noreply_address
from sidecar.moodle.people import company_names, read_users
from sidecar.moodle.tables import MoodleTables
from sidecar.pollers.base import Gate
from sidecar.settings import Settings
from sidecar.store import capture, results
from sidecar.store.capture import CapturedRow, NewRecipient
from sidecar.store.companies import Companies, Company
from sidecar.store.database import Database, Transaction
from sidecar.store.queue import DueBatch, PendingMail

SOURCE = "test_mails"
JOB_TYPE = "test"

SUBJECT = "Test mail from {site}"
TEXT = """\
This is a test mail from {site}.

It was sent by {provider}, with the settings of {company}, as bulk mail will be
(job {job}, asked for at {time} UTC). You got it, so this way works.
"""


def capture_test_mail(
    tx: Transaction,
    company: Company,
    user_id: int,
    *,
    database: Database,
    tables: MoodleTables,
    settings: Settings,
    site_uid: str,
) -> int:
    """A job of one mail to a user, sent whether the company is enabled or not; returns its id.

    Raises SidecarError when there is no such user, or no mail can be sent to the address.
    """
    user = read_users(tx.conn, tables, [user_id]).get(user_id)
    if user is None or not user.active:
        raise SidecarError(f"there is no active user {user_id}")
    try:
        address = to_ascii(user.email)
    except AddressError as error:
        raise SidecarError(f"the address of user {user_id}: {error}") from None
    name = company_names(tx.conn, tables).get(company.company_id, "")
    job_id = capture.insert_job(
        tx,
        database,
        source=SOURCE,
        job_type=JOB_TYPE,
        company_id=company.company_id,
        provider=company.provider,
        label=label_of(Group(JOB_TYPE, company.company_id), name),
        created_by=user_id,
        closed=True,
    )
    row_id = secrets.randbits(53)
    captured = capture_hash(SOURCE, row_id, tx.now, "user", address)
    key = mail_key(site_uid, captured)
    recipient = NewRecipient(
        role="user",
        email=address,
        userid=user_id,
        email_hash=captured,
        mail_key=key,
        message_id=f"{key[:40]}@{urlsplit(settings.wwwroot).hostname or 'localhost'}",
        data={
            "firstname": user.firstname,
            "lastname": user.lastname,
            "username": user.username,
            "subject": TYPE_LABELS[JOB_TYPE],
        },
    )
    batch_id = capture.insert_batch(
        tx,
        database,
        job_id=job_id,
        batch_num=1,
        provider=company.provider,
        stamp=tx.now,
        due=tx.now,
        source=SOURCE,
        rows=[CapturedRow(row_id, tx.now, (recipient,))],
    )
    capture.count_captured(tx, database, job_id, 1, 0)
    results.refresh_batches(tx, database, [batch_id])
    results.refresh_jobs(tx, database, [job_id])
    return job_id


class TestMails:
    """The source ``test_mails``: filled by ``capture_test_mail``, never polled."""

    __test__ = False
    name = SOURCE
    task = ""

    def __init__(self, database: Database, tables: MoodleTables, settings: Settings) -> None:
        self._database = database
        self._tables = tables
        self._settings = settings
        self._config = RecentConfig(tables, settings)
        self.stopping = False
        self.hurried = False
        self.settled = True
        self.resting = True

    def poll(
        self,
        config: MoodleConfig,  # noqa: ARG002 - as the protocol says
        companies: Companies,  # noqa: ARG002
        gate: Gate,  # noqa: ARG002
        claimed: Callable[[], None],  # noqa: ARG002
    ) -> float | None:
        """``Poller.poll``."""
        return None

    def newest(self, conn: Connection) -> int:  # noqa: ARG002
        """``Poller.newest``."""
        return 0

    def release_old(self, company_id: int, up_to: int) -> None:
        """``Poller.release_old``: nothing of this source is ever old."""

    def close_all(self) -> None:
        """``Poller.close_all``: its jobs are closed from the start."""

    def prepare(
        self, conn: Connection, batch: DueBatch, waiting: Sequence[PendingMail]
    ) -> Prepared:
        """``jobs.Source.prepare``."""
        config, settings = self._config.read(conn), self._settings
        people = CampaignPeople(
            conn, self._tables, config, settings.wwwroot, [(mail.userid, 0) for mail in waiting]
        )
        company = company_names(conn, self._tables).get(batch.company_id, "")
        noreply, divert = noreply_address(config, settings, batch.company_id), diversion(config)
        mails: list[Mail] = []
        dropped: list[Dropped] = []
        for mail in waiting:
            gone = people.gone(mail.userid, 0)
            if gone:
                dropped.append(Dropped(mail.id, Recipient.CANCELLED, "pointless", gone))
                continue
            diverted = divert.applies(mail.email)
            mails.append(
                Mail(
                    id=mail.id,
                    mail_key=mail.mail_key,
                    message_id=mail.message_id,
                    to=divert.to if diverted else mail.email,
                    sender=Address(noreply, people.sender_name),
                    envelope_from=noreply,
                    content=_content(people.site_name or settings.wwwroot, company, batch),
                    subject_prefix=f"[DIVERTED {mail.email}] " if diverted else "",
                    tries=mail.tries,
                    root_batch=mail.root_batch,
                    generation=mail.generation,
                )
            )
        return Prepared(tuple(mails), tuple(dropped))

    def give_back(self, conn: Connection, originals: Mapping[int, int], stamp: int) -> set[int]:  # noqa: ARG002
        """``jobs.Source.give_back``: no queue of Moodle's knows this mail."""
        return set()

    def still_wait(
        self,
        conn: Connection,  # noqa: ARG002 - as the protocol says
        rows: Collection[tuple[int, int]],  # noqa: ARG002
    ) -> set[tuple[int, int]]:
        """``jobs.Source.still_wait``: none, nothing waits in a queue."""
        return set()


def _content(site: str, company: str, batch: DueBatch) -> Content:
    asked = datetime.fromtimestamp(batch.created_at, UTC)
    text = TEXT.format(
        site=site,
        provider={"smtp": "SMTP", "aws": "AWS"}.get(batch.provider, batch.provider),
        company=company or "mail without a company",
        job=batch.job_id,
        time=f"{asked:%Y-%m-%d %H:%M:%S}",
    )
    paragraphs = "".join(f"<p>{escape(part)}</p>\n" for part in text.strip().split("\n\n"))
    return Content(subject=SUBJECT.format(site=site), html=paragraphs, text=text)
