"""Jobs: captured from claimed rows, closed, cancelled, handed back, resolved."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple, Protocol

from sqlalchemy import Connection

from sidecar import suppressing
from sidecar.errors import NotFoundError, SidecarError
from sidecar.grouping import TYPE_LABELS, Group
from sidecar.lifecycle import Recipient
from sidecar.mail import Mail
from sidecar.store import asks, capture, results, retries
from sidecar.store import jobs as store
from sidecar.store.capture import CapturedRow
from sidecar.store.database import Database, Transaction
from sidecar.store.queue import DueBatch, PendingMail
from sidecar.store.suppressions import SUPPRESSED

BATCH_BYTES = 32_000_000
"""The bodies of one batch, together, in bytes: what dispatch may hold in memory at once."""

PAGE = 5_000
"""Rows that are handed back with one statement."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A mail that is not sent after all, with the state and the reason that it gets."""

    mail_id: int
    status: Recipient
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """What of a batch can be sent now, and what not."""

    mails: tuple[Mail, ...]
    dropped: tuple[Dropped, ...]


class Source(Protocol):
    """Where mail comes from; one poller each."""

    name: str

    def prepare(
        self, conn: Connection, batch: DueBatch, waiting: Sequence[PendingMail]
    ) -> Prepared:
        """Re-check and render the waiting mails of a claimed batch."""

    def give_back(self, conn: Connection, originals: Mapping[int, int], stamp: int) -> set[int]:
        """Return queue rows to Moodle (id → original stamp).

        Returns the ids under which they wait there now.
        """

    def still_wait(
        self, conn: Connection, rows: Collection[tuple[int, int]]
    ) -> set[tuple[int, int]]:
        """Which of these rows (id, original stamp) wait in Moodle's queue as they did before."""


def prepare(
    conn: Connection,
    database: Database,
    source: Source,
    batch: DueBatch,
    waiting: Sequence[PendingMail],
) -> Prepared:
    """What the source makes of the waiting mails of a batch, but nothing to suppressed people."""
    left, suppressed = suppressing.split(conn, database, batch.source, batch.company_id, waiting)
    prepared = source.prepare(conn, batch, left)
    dropped = [
        Dropped(mail_id, Recipient.PERMANENTLY_FAILED, SUPPRESSED, reason)
        for mail_id, reason in suppressed.items()
    ]
    return replace(prepared, dropped=(*prepared.dropped, *dropped))


class ClaimedRow(NamedTuple):
    """A captured row and what it weighs in bytes."""

    row: CapturedRow
    size: int


def pack(rows: Sequence[ClaimedRow], batch_size: int) -> list[list[CapturedRow]]:
    """Rows into batches, in order: all mails of a row in one batch, at most ``batch_size`` mails
    and BATCH_BYTES a batch, or one row if that alone has more."""
    packs: list[list[CapturedRow]] = []
    mails = size = 0
    for claimed in rows:
        count = len(claimed.row.recipients)
        full = mails + count > batch_size or size + claimed.size > BATCH_BYTES
        if not packs or full:
            packs.append([])
            mails = size = 0
        packs[-1].append(claimed.row)
        mails += count
        size += claimed.size
    return packs


def capture_rows(
    tx: Transaction,
    database: Database,
    *,
    source: str,
    group: Group,
    job: capture.OpenJob | None,
    company_name: str,
    provider: str,
    batch_size: int,
    stamp: int,
    rows: Sequence[ClaimedRow],
    about: str = "",
    created_by: int = 0,
) -> int:
    """Store claimed rows as batches of an open job, or of a new one; returns the job's id.

    Mails to suppressed addresses are stored as what they are. about, created_by: what the mails
    are, beside their type, and the user who asked for them, for a new job's label and row.
    """
    kept = suppressing.mark(
        tx.conn, database, source, group.company_id, [claimed.row for claimed in rows]
    )
    rows = [ClaimedRow(row, claimed.size) for claimed, row in zip(rows, kept, strict=True)]
    if job is None:
        label = label_of(group, company_name, about)
        job_id = capture.insert_job(
            tx,
            database,
            source=source,
            job_type=group.type,
            company_id=group.company_id,
            provider=provider,
            label=label,
            created_by=created_by,
        )
        number = 0
    else:
        job_id, number = job.id, job.batches
    emails = copies = 0
    for batch_rows in pack(rows, batch_size):
        number += 1
        capture.insert_batch(
            tx,
            database,
            job_id=job_id,
            batch_num=number,
            provider=provider,
            stamp=stamp,
            due=tx.now,
            source=source,
            rows=batch_rows,
        )
        emails += sum(len(row.recipients) for row in batch_rows)
        copies += sum(len(row.recipients) - 1 for row in batch_rows)
    capture.count_captured(tx, database, job_id, emails, copies)
    return job_id


def label_of(group: Group, company_name: str, about: str = "") -> str:
    """What a job is called in listings: what it sends and for whom."""
    what = TYPE_LABELS.get(group.type, group.type) + (f": {about}" if about else "")
    return f"{what}, {company_name or 'no company'}"


def close_jobs(tx: Transaction, database: Database, job_ids: Collection[int]) -> None:
    """No more mail joins these jobs."""
    capture.close_jobs(tx, database, job_ids)
    results.refresh_jobs(tx, database, job_ids)


@dataclass(frozen=True, slots=True)
class Returned:
    """What handing back did: mails returned, and mails of rows that cannot go back."""

    mails: int
    held: int


def cancel(
    tx: Transaction,
    database: Database,
    job_id: int,
    reason: str,
    recalled: Collection[int] = (),
) -> int:
    """Cancel every mail of a job that has not left; returns how many. The job takes no more.

    recalled: ids of mails that a provider had and surely never sends.
    """
    require(tx.conn, database, job_id)
    capture.close_jobs(tx, database, [job_id])
    number = store.end_waiting(tx, database, job_id, Recipient.CANCELLED, reason, recalled)
    _refresh(tx, database, job_id)
    return number


def release(
    tx: Transaction,
    database: Database,
    job_id: int,
    sources: Mapping[str, Source],
    recalled: Collection[int] = (),
) -> Returned:
    """Hand back to Moodle every row of a job of which nothing was ever submitted or ended.

    recalled: ids of mails that a provider had and surely never sends; those whose rows cannot go
    back go by SMTP.
    """
    source = releasing_source(tx.conn, database, job_id, sources)
    capture.close_jobs(tx, database, [job_id])
    mails = 0
    for stamp, originals in store.returnable_rows(tx, database, job_id, recalled).items():
        rows = list(originals.items())
        for start in range(0, len(rows), PAGE):
            page = dict(rows[start : start + PAGE])
            gone = source.give_back(tx.conn, page, stamp)
            mails += store.mark_returned(tx, database, job_id, gone, recalled)
    asks.reroute(tx, database, recalled, "smtp")
    _refresh(tx, database, job_id)
    return Returned(mails, store.count_waiting(tx.conn, database, job_id))


def releasing_source(
    conn: Connection, database: Database, job_id: int, sources: Mapping[str, Source]
) -> Source:
    """Where mails of a job go back to; SidecarError if they cannot go back."""
    job = require(conn, database, job_id)
    if job.parent_job_id:
        raise SidecarError(
            f"job {job_id} repeats mails of job {job.parent_job_id}, which are not Moodle's any"
            " more: cancel it, or let it end"
        )
    source = sources.get(job.source)
    if source is None:
        raise SidecarError(f"job {job_id}: mails of source {job.source!r} cannot be handed back")
    return source


def return_rows(
    tx: Transaction,
    database: Database,
    source: Source,
    batch: DueBatch,
    source_ids: Collection[int],
    reason: str,
) -> set[int]:
    """Hand back those of these rows of a batch of which nothing was ever submitted or ended.

    Returns the ids of the mails that are Moodle's again.
    """
    originals = store.untouched_rows(tx, database, batch.id, source_ids)
    gone = source.give_back(tx.conn, originals, batch.created_at)
    return store.return_mails(tx, database, batch.id, gone, reason)


def retry(
    tx: Transaction,
    database: Database,
    job_id: int,
    states: Collection[Recipient],
    provider: str,
    batch_size: int,
    only: int | None = None,
) -> tuple[int, int]:
    """Open a job that repeats the mails of another that ended in ``states``.

    only: the id of the one recipient that is meant. Returns its id and how many mails it has.
    Raises SidecarError when there is nothing to repeat.
    """
    job = require(tx.conn, database, job_id)
    mails = retries.failed_mails(tx, database, job_id, states, only)
    if not mails:
        raise SidecarError(
            f"job {job_id}: this mail has not failed, or is being repeated already"
            if only
            else f"job {job_id}: no mail has failed that is not being repeated already"
        )
    child = retries.insert_child(tx, database, job, provider, mails)
    number = 0
    for _, same_stamp in groupby(sorted(mails, key=_stamp), key=_stamp):
        batch = list(same_stamp)
        for start in range(0, len(batch), batch_size):
            number += 1
            page = batch[start : start + batch_size]
            retries.insert_batch(tx, database, child, number, provider, page)
    results.refresh_jobs(tx, database, [child, job_id])
    return child, len(mails)


def _stamp(mail: retries.FailedMail) -> int:
    return mail.stamp


def resolve_unknown(tx: Transaction, database: Database, job_id: int, sent: bool) -> int:
    """The admin knows better: unknown mails of a job were sent, or failed; returns how many."""
    require(tx.conn, database, job_id)
    status = Recipient.SENT if sent else Recipient.FAILED
    number = store.resolve_unknown(tx, database, job_id, status)
    _refresh(tx, database, job_id)
    return number


def require(conn: Connection, database: Database, job_id: int) -> store.JobRow:
    """The job; raises NotFoundError."""
    job = store.read_job(conn, database, job_id)
    if job is None:
        raise NotFoundError(f"there is no job {job_id}")
    return job


def refresh(tx: Transaction, database: Database, batch_ids: Collection[int]) -> None:
    """Recompute these batches and their jobs."""
    results.refresh_batches(tx, database, batch_ids)
    results.refresh_jobs(tx, database, results.jobs_of(tx.conn, database, batch_ids))


def _refresh(tx: Transaction, database: Database, job_id: int) -> None:
    results.refresh_batches(tx, database, store.batch_ids(tx.conn, database, job_id))
    results.refresh_jobs(tx, database, [job_id])
