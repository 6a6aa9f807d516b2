"""One claiming transaction on IOMAD's queue: re-read, expand, mark, capture (DESIGN §3)."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from sidecar.errors import AddressError, LockBusyError
from sidecar.grouping import Group
from sidecar.jobs import ClaimedRow, capture_rows, close_jobs
from sidecar.lifecycle import Recipient
from sidecar.mail import capture_hash, mail_key
from sidecar.moodle import mail_queue
from sidecar.moodle.addresses import to_ascii
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.iomad_mail import Addressee, Expanded, Expansion, Left
from sidecar.moodle.mail_queue import QueuedRow
from sidecar.moodle.tables import MoodleTables
from sidecar.pollers.base import Claimed
from sidecar.settings import Settings
from sidecar.store import capture
from sidecar.store.capture import CapturedRow, NewRecipient
from sidecar.store.companies import Company
from sidecar.store.database import Database, Transaction

SOURCE = "iomad_mail"


class Claim:
    """Claims chunks of rows for one site; the caller holds the lock and the transaction."""

    def __init__(
        self, database: Database, tables: MoodleTables, settings: Settings, site_uid: str
    ) -> None:
        self._database = database
        self._tables = tables
        self._settings = settings
        self._site_uid = site_uid
        self._host = urlsplit(settings.wwwroot).hostname or "localhost"

    def claim(
        self,
        tx: Transaction,
        group: Group,
        ids: Sequence[int],
        config: MoodleConfig,
        company: Company,
        created_by: int = 0,
    ) -> Claimed:
        """Claim those of the rows that can be claimed; raises LockBusyError if cron sends too."""
        result = Claimed()
        rows = mail_queue.read_waiting(tx.conn, self._tables, ids, tx.now, lock=True)
        result.gone = set(ids) - {row.id for row in rows}
        known = capture.known_rows(
            tx.conn, self._database, SOURCE, [(row.id, row.modified) for row in rows]
        )
        for row in rows:
            if (row.id, row.modified) in known:
                result.left[row.id] = Left("returned_before")
        rows = [row for row in rows if row.id not in result.left]
        expansion = Expansion(
            tx.conn,
            self._tables,
            config,
            rows,
            dataroot=self._settings.dataroot,
            max_body_size=self._settings.max_body_size,
            without_manager_copies=(
                [company.company_id] if company.manager_copies == "none" else []
            ),
        )
        ripe: list[Expanded] = []
        for row in rows:
            found = expansion.expand(row)
            if isinstance(found, Expanded):
                ripe.append(found)
            else:
                result.left[row.id] = found
        if ripe:
            name = expansion.company_name(group.company_id)
            result.rows = self._store(tx, group, ripe, company.provider, name, created_by)
        return result

    def _store(
        self,
        tx: Transaction,
        group: Group,
        ripe: Sequence[Expanded],
        provider: str,
        company_name: str,
        created_by: int,
    ) -> list[int]:
        """Mark rows and capture them, within the job's size; returns the ids of those taken."""
        job = capture.open_job(tx.conn, self._database, SOURCE, group.type, group.company_id)
        held = job.rows if job else 0
        taken = ripe[: max(0, self._settings.max_job_size - held)]
        if taken:
            rows = [expanded.row for expanded in taken]
            stamp = max(tx.now, *(row.modified + 1 for row in rows))
            self._mark(tx, rows, stamp)
            job_id = capture_rows(
                tx,
                self._database,
                source=SOURCE,
                group=group,
                job=job,
                company_name=company_name,
                provider=provider,
                batch_size=self._settings.batch_size,
                stamp=stamp,
                rows=[self._captured(expanded) for expanded in taken],
                created_by=created_by,
            )
        elif job:
            job_id = job.id
        if held + len(taken) >= self._settings.max_job_size:
            close_jobs(tx, self._database, [job_id])
        return [expanded.row.id for expanded in taken]

    def _mark(self, tx: Transaction, rows: Sequence[QueuedRow], stamp: int) -> None:
        ids = [row.id for row in rows]
        if mail_queue.mark_claimed(tx.conn, self._tables, ids, stamp) != len(ids):
            raise LockBusyError("rows were sent while we held the lock: is it really shared?")

    def _captured(self, expanded: Expanded) -> ClaimedRow:
        row = expanded.row
        recipients: dict[str, NewRecipient] = {}
        for addressee in expanded.addressees:
            made = self._recipient(expanded, addressee)
            recipients.setdefault(made.email.lower(), made)
        captured = CapturedRow(row.id, row.modified, tuple(recipients.values()))
        return ClaimedRow(captured, row.body_size)

    def _recipient(self, expanded: Expanded, addressee: Addressee) -> NewRecipient:
        row, user = expanded.row, expanded.user
        status, error = Recipient.PENDING, ""
        try:
            address = to_ascii(addressee.email)
        except AddressError as bad:
            address = "".join(c for c in addressee.email if c.isprintable())
            status, error = Recipient.PERMANENTLY_FAILED, str(bad)
        captured = capture_hash(SOURCE, row.id, row.modified, addressee.role, address)
        key = mail_key(self._site_uid, captured)
        return NewRecipient(
            role=addressee.role,
            email=address,
            userid=addressee.userid,
            email_hash=captured,
            mail_key=key,
            message_id=f"{key[:40]}@{self._host}",
            data={
                "firstname": user.firstname,
                "lastname": user.lastname,
                "username": user.username,
                "template": row.templatename,
                "courseid": row.course_id,
                "subject": row.subject,
            },
            status=status,
            error_code="bad_address" if error else "",
            error=error,
        )
