"""One claiming transaction on the outbox, and the check of a campaign before the first."""

import logging
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from sidecar import jobs
from sidecar.campaign_text import ENGLISH, CampaignText, complain, read_data
from sidecar.errors import AddressError, CampaignError
from sidecar.grouping import Group
from sidecar.jobs import ClaimedRow
from sidecar.lifecycle import Recipient
from sidecar.mail import capture_hash, mail_key
from sidecar.moodle.addresses import to_ascii
from sidecar.moodle.people import User, read_companies, read_users
from sidecar.moodle.tables import MoodleTables
from sidecar.pollers.campaign_writing import TEMPLATE, with_default
from sidecar.store import campaign_jobs, campaigns, capture, results
from sidecar.store.campaigns import ACTIVE, Campaign, OutboxRow, Status
from sidecar.store.capture import CapturedRow, NewRecipient
from sidecar.store.database import Database, Transaction
from sidecar.suppressing import CAMPAIGNS

log = logging.getLogger(__name__)

CHUNK = 500
"""Rows that one transaction claims."""

PAGE = 2_000
"""Rows whose data is checked at once."""

ROW_BYTES = 20_000
"""What a rendered campaign mail weighs at least, in bytes."""


class CampaignClaim:
    """Claims for one site; the caller holds the transaction."""

    def __init__(
        self,
        database: Database,
        tables: MoodleTables,
        batch_size: int,
        site_uid: str,
        host: str,
    ) -> None:
        self._database = database
        self._tables = tables
        self._batch_size = batch_size
        self._site_uid = site_uid
        self._host = host

    def refuse_bad_text(self, token: str, campaign: Campaign) -> bool:
        """Stop a campaign of which a mail could not be rendered, before anything is sent.

        Returns whether it is stopped: then it is ``failed``, and a job with the mail that cannot be
        rendered, ``returned``, says why; every row still waits.
        """
        with self._database.read() as conn:
            names = self._own_names(conn, campaign)
            bad = self._first_bad(conn, campaign, names) if names else None
        if bad is None:
            return False
        row, reason = bad
        with self._database.write(token) as tx:
            if campaigns.lock(tx, self._database, campaign.id).status == Status.QUEUED:
                self._stop(tx, campaign, row, reason)
        log.error("campaign %d is stopped: %s", campaign.id, reason)
        return True

    def claim(self, tx: Transaction, campaign_id: int, provider: str) -> int:
        """Claim the next rows of a campaign; returns how many, 0 if none waits any more."""
        campaign = campaigns.lock(tx, self._database, campaign_id)
        job = self._open_job(tx, campaign)
        if campaign.status not in ACTIVE or (campaign.status == Status.RUNNING and job is None):
            return 0
        rows = campaigns.waiting_rows(tx.conn, self._database, campaign.id, CHUNK, lock_them=True)
        names = self._own_names(tx.conn, campaign)
        bad = next((why for row in rows if (why := _complaint(row, names))), "")
        if bad:  # a row that came after the first look at all of them
            campaigns.set_status(tx, self._database, [campaign.id], Status.FAILED, bad)
            if job:
                campaign_jobs.note_error(tx, self._database, job.id, bad)
                jobs.close_jobs(tx, self._database, [job.id])
            log.error("campaign %d is stopped: %s", campaign.id, bad)
            return 0
        if not rows:
            return 0
        campaigns.mark_claimed(tx, self._database, [row.id for row in rows])
        size = max(ROW_BYTES, 2 * len(campaign.body or ""))
        captured = [ClaimedRow(row, size) for row in self._captured(tx, rows)]
        job_id = jobs.capture_rows(
            tx,
            self._database,
            source=CAMPAIGNS,
            group=Group(campaign.type, campaign.company_id),
            job=job,
            company_name=self._company_name(tx.conn, campaign),
            provider=provider,
            batch_size=self._batch_size,
            stamp=tx.now,
            rows=captured,
            about=_about(campaign),
            created_by=campaign.created_by,
        )
        if job is None:
            campaigns.set_status(tx, self._database, [campaign.id], Status.RUNNING, job_id=job_id)
        return len(rows)

    def _open_job(self, tx: Transaction, campaign: Campaign) -> capture.OpenJob | None:
        """The job that a running campaign's rows join; None if it takes no more."""
        if campaign.status != Status.RUNNING:
            return None
        found = capture.open_jobs(tx.conn, self._database, CAMPAIGNS)
        return next((job for job in found if job.id == campaign.job_id), None)

    def _own_names(self, conn: Connection, campaign: Campaign) -> frozenset[str]:
        """The placeholders for which each row must bring a value."""
        site: Iterable[CampaignText] = ()
        if not campaign.subject or not campaign.body:
            site = campaigns.campaign_texts(conn, self._database, TEMPLATE).values()
        texts = [with_default(campaign, text) for text in (ENGLISH, *site)]
        return frozenset[str]().union(*(text.own_names() for text in texts))

    def _first_bad(
        self, conn: Connection, campaign: Campaign, names: frozenset[str]
    ) -> tuple[OutboxRow, str] | None:
        """The first row that waits and cannot be rendered, and why."""
        after = 0
        while rows := campaigns.waiting_rows(conn, self._database, campaign.id, PAGE, after=after):
            for row in rows:
                if why := _complaint(row, names):
                    return row, why
            after = rows[-1].id
        return None

    def _stop(self, tx: Transaction, campaign: Campaign, row: OutboxRow, reason: str) -> None:
        database, group = self._database, Group(campaign.type, campaign.company_id)
        job_id = capture.insert_job(
            tx,
            database,
            source=CAMPAIGNS,
            job_type=campaign.type,
            company_id=campaign.company_id,
            provider="",
            label=jobs.label_of(group, self._company_name(tx.conn, campaign), _about(campaign)),
            created_by=campaign.created_by,
            error=reason,
            closed=True,
        )
        (stopped,) = self._captured(tx, [row])
        (mail,) = stopped.recipients
        mail = mail._replace(status=Recipient.RETURNED, error_code="campaign", error=reason)
        batch_id = capture.insert_batch(
            tx,
            database,
            job_id=job_id,
            batch_num=1,
            provider="",
            stamp=tx.now,
            due=tx.now,
            source=CAMPAIGNS,
            rows=[stopped._replace(recipients=(mail,))],
        )
        capture.count_captured(tx, database, job_id, 1, 0)
        results.refresh_batches(tx, database, [batch_id])
        results.refresh_jobs(tx, database, [job_id])
        campaigns.set_status(tx, database, [campaign.id], Status.FAILED, reason, job_id=job_id)

    def _captured(self, tx: Transaction, rows: Sequence[OutboxRow]) -> list[CapturedRow]:
        """Each row with its one mail. Its stamp is this claim's time: a row that went back into the
        outbox may be claimed again."""
        found = read_users(tx.conn, self._tables, {row.userid for row in rows})
        return [
            CapturedRow(row.id, tx.now, (self._recipient(row, found.get(row.userid), tx.now),))
            for row in rows
        ]

    def _recipient(self, row: OutboxRow, user: User | None, stamp: int) -> NewRecipient:
        given = row.email or (user.email if user else "")
        status, error = Recipient.PENDING, ""
        try:
            address = to_ascii(given)
        except AddressError as bad:
            address = "".join(c for c in given if c.isprintable())
            status, error = Recipient.PERMANENTLY_FAILED, str(bad)
        captured = capture_hash(CAMPAIGNS, row.id, stamp, "user", address)
        key = mail_key(self._site_uid, captured)
        return NewRecipient(
            role="user",
            email=address,
            userid=row.userid,
            email_hash=captured,
            mail_key=key,
            message_id=f"{key[:40]}@{self._host}",
            data={
                "firstname": user.firstname if user else "",
                "lastname": user.lastname if user else "",
                "username": user.username if user else "",
                "courseid": row.course_id or 0,
                "campaign": row.campaign_id,
            },
            status=status,
            error_code="bad_address" if error else "",
            error=error,
        )

    def _company_name(self, conn: Connection, campaign: Campaign) -> str:
        if not campaign.company_id:
            return ""
        found = read_companies(conn, self._tables, [campaign.company_id])
        return found[campaign.company_id].name if found else ""


def _complaint(row: OutboxRow, names: frozenset[str]) -> str:
    """Why a row does not fill these placeholders; '' if it does."""
    if not names:
        return ""
    try:
        missing = names - read_data(row.data).keys()
    except CampaignError as error:
        return f"row {row.id} of the outbox: {error}"
    return f"{complain(missing)} (row {row.id} of the outbox has none)" if missing else ""


def _about(campaign: Campaign) -> str:
    return f"campaign {campaign.id}"
