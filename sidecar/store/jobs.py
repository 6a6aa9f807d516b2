"""Queries on whole jobs: what pages and commands show, and what an admin does to a job."""

import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from sidecar.lifecycle import BATCH_ENDED, RECALLED, Recipient
from sidecar.store.database import Database, Transaction, any_of

WAITING = (Recipient.PENDING.value, Recipient.RETRY_PENDING.value)
TROUBLES_LOOKED_AT = 2_000
_RECALLED = [state.value for state in RECALLED]


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as listings show it; times in Unix seconds."""

    id: int
    type: str
    status: str
    label: str
    company_id: int
    source: str
    provider: str
    email_count: int
    copy_count: int
    emails_sent: int
    emails_failed: int
    created_at: int
    started_at: int | None
    completed_at: int | None
    closed_at: int | None
    paused: int
    parent_job_id: int | None


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch as ``job ID`` shows it."""

    id: int
    batch_num: int
    status: str
    email_count: int
    sent_count: int
    failed_count: int
    attempt: int
    next_attempt_at: int
    error_message: str | None


@dataclass(frozen=True, slots=True)
class RecipientRow:
    """A mail that did not simply arrive, with the reason."""

    id: int
    email: str
    role: str
    status: str
    tries: int
    error_code: str
    error_message: str | None
    name: str


def list_jobs(conn: Connection, database: Database, limit: int = 100) -> list[JobRow]:
    """The newest jobs, newest first."""
    jobs = database.tables.jobs
    query = select(*_columns(database)).order_by(jobs.c.id.desc()).limit(limit)
    return [JobRow(**row) for row in conn.execute(query).mappings()]


def read_job(conn: Connection, database: Database, job_id: int) -> JobRow | None:
    """One job."""
    jobs = database.tables.jobs
    row = conn.execute(select(*_columns(database)).where(jobs.c.id == job_id)).mappings().first()
    return JobRow(**row) if row else None


def _columns(database: Database):  # type: ignore[no-untyped-def]
    jobs = database.tables.jobs
    return [jobs.c[name] for name in JobRow.__dataclass_fields__]


def job_batches(conn: Connection, database: Database, job_id: int) -> list[BatchRow]:
    """A job's batches, in order."""
    b = database.tables.batches
    columns = [b.c[name] for name in BatchRow.__dataclass_fields__]
    query = select(*columns).where(b.c.job_id == job_id).order_by(b.c.batch_num)
    return [BatchRow(**row) for row in conn.execute(query).mappings()]


def last_troubles(conn: Connection, database: Database, limit: int) -> list[tuple[int, str]]:
    """The newest batches that say why they wait or failed: their job and the reason."""
    b = database.tables.batches
    newest = select(b.c.id).order_by(b.c.id.desc()).limit(TROUBLES_LOOKED_AT).subquery()
    query = (
        select(b.c.job_id, b.c.error_message)
        .join(newest, newest.c.id == b.c.id)
        .where(b.c.error_message.is_not(None), b.c.error_message != "")
        .order_by(b.c.id.desc())
        .limit(limit)
    )
    return [(job_id, message) for job_id, message in conn.execute(query)]


def batch_ids(conn: Connection, database: Database, job_id: int) -> list[int]:
    """Ids of a job's batches."""
    b = database.tables.batches
    return list(conn.scalars(select(b.c.id).where(b.c.job_id == job_id)))


def troubled_recipients(
    conn: Connection, database: Database, job_id: int, limit: int = 100
) -> list[RecipientRow]:
    """Mails of a job that failed, are unknown, or were refused for now."""
    r = database.tables.recipients
    query = (
        select(
            r.c.id,
            r.c.email,
            r.c.role,
            r.c.status,
            r.c.tries,
            r.c.error_code,
            r.c.error_message,
            r.c.recipient_data,
        )
        .where(
            r.c.job_id == job_id,
            r.c.status != Recipient.SENT.value,
            r.c.error_message.is_not(None),
        )
        .order_by(r.c.id)
        .limit(limit)
    )
    found = []
    for row in conn.execute(query):
        data = json.loads(row.recipient_data or "{}")
        found.append(
            RecipientRow(
                id=row.id,
                email=row.email,
                role=row.role,
                status=row.status,
                tries=row.tries,
                error_code=row.error_code,
                error_message=row.error_message,
                name=f"{data.get('firstname', '')} {data.get('lastname', '')}".strip(),
            )
        )
    return found


def refused_addresses(conn: Connection, database: Database, job_id: int) -> list[tuple[str, str]]:
    """(address, error_code) of a job's mails that were refused for good."""
    r = database.tables.recipients
    query = select(r.c.email, r.c.error_code).where(
        r.c.job_id == job_id, r.c.status == Recipient.PERMANENTLY_FAILED.value
    )
    return [(row.email, row.error_code) for row in conn.execute(query)]


def job_of_recipient(conn: Connection, database: Database, recipient_id: int) -> int | None:
    """The job that a mail belongs to."""
    r = database.tables.recipients
    found: int | None = conn.scalar(select(r.c.job_id).where(r.c.id == recipient_id))
    return found


def recipient_states(conn: Connection, database: Database, job_id: int) -> dict[str, int]:
    """A job's mails by state."""
    r = database.tables.recipients
    query = select(r.c.status, func.count()).where(r.c.job_id == job_id).group_by(r.c.status)
    return {str(row[0]): int(row[1]) for row in conn.execute(query)}


def unfinished_jobs(
    conn: Connection,
    database: Database,
    company_id: int | None = None,
    *,
    roots_only: bool = False,
) -> list[int]:
    """Jobs with a batch that has not ended, or that still take mail.

    roots_only: none that repeats mails of another.
    """
    jobs, b = database.tables.jobs, database.tables.batches
    ended = [state.value for state in BATCH_ENDED]
    running = select(b.c.job_id).where(b.c.status.not_in(ended))
    query = select(jobs.c.id).where(jobs.c.id.in_(running) | jobs.c.closed_at.is_(None))
    if company_id is not None:
        query = query.where(jobs.c.company_id == company_id)
    if roots_only:
        query = query.where(jobs.c.parent_job_id.is_(None))
    return list(conn.scalars(query.order_by(jobs.c.id)))


def end_waiting(
    tx: Transaction,
    database: Database,
    job_id: int,
    status: Recipient,
    reason: str,
    recalled: Collection[int] = (),
) -> int:
    """Every mail of a job that waits, or was recalled, gets this final state; returns how many.

    status: one of ``lifecycle.FORGETTING``.
    """
    r = database.tables.recipients
    taken_back = any_of(r.c.id, recalled) & r.c.status.in_(_RECALLED)
    return tx.conn.execute(
        update(r)
        .where(r.c.job_id == job_id, r.c.status.in_(WAITING) | taken_back)
        .values(status=status.value, error_message=reason, secret=None, timemodified=tx.now)
    ).rowcount


def returnable_rows(
    tx: Transaction, database: Database, job_id: int, recalled: Collection[int] = ()
) -> dict[int, dict[int, int]]:
    """Rows of a job of which no mail was ever submitted or ended, or all were recalled; locked.

    Returns claim stamp → {queue row id: its stamp before the claim}.
    """
    r, b = database.tables.recipients, database.tables.batches
    query = (
        select(r.c.id, r.c.source_id, r.c.source_stamp, r.c.status, r.c.tries, b.c.created_at)
        .join(b, b.c.id == r.c.batch_id)
        .where(r.c.job_id == job_id)
        .with_for_update()
    )
    touched: set[int] = set()
    rows: dict[int, tuple[int, int]] = {}
    for row in tx.conn.execute(query):
        rows[row.source_id] = (row.created_at, row.source_stamp)
        taken_back = row.id in recalled and row.status in RECALLED
        if not taken_back and (row.status != Recipient.PENDING.value or row.tries):
            touched.add(row.source_id)
    found: dict[int, dict[int, int]] = defaultdict(dict)
    for source_id, (stamp, original) in rows.items():
        if source_id not in touched:
            found[stamp][source_id] = original
    return found


def untouched_rows(
    tx: Transaction, database: Database, batch_id: int, source_ids: Collection[int]
) -> dict[int, int]:
    """Those of these rows of a batch of which no mail was ever submitted or ended, locked.

    Returns queue row id → its stamp before the claim.
    """
    r = database.tables.recipients
    every = r.alias("every")
    query = (
        select(r.c.source_id, r.c.source_stamp, every.c.status, every.c.tries)
        .join(
            every,
            (every.c.source == r.c.source)
            & (every.c.source_id == r.c.source_id)
            & (every.c.source_stamp == r.c.source_stamp),
        )
        .where(r.c.batch_id == batch_id, r.c.source_id.in_(list(source_ids)))
        .with_for_update()
    )
    stamps: dict[int, int] = {}
    touched = set()
    for row in tx.conn.execute(query):
        stamps[row.source_id] = row.source_stamp
        if row.status != Recipient.PENDING.value or row.tries:
            touched.add(row.source_id)
    return {row_id: stamp for row_id, stamp in stamps.items() if row_id not in touched}


def return_mails(
    tx: Transaction, database: Database, batch_id: int, source_ids: Collection[int], reason: str
) -> set[int]:
    """The mails of these rows of a batch are Moodle's again; returns their ids."""
    r = database.tables.recipients
    mine = (r.c.batch_id == batch_id) & r.c.source_id.in_(list(source_ids))
    ids = set(tx.conn.scalars(select(r.c.id).where(mine)))
    tx.conn.execute(
        update(r)
        .where(mine)
        .values(
            status=Recipient.RETURNED.value,
            secret=None,
            error_code="returned",
            error_message=reason,
            timemodified=tx.now,
        )
    )
    return ids


def mark_returned(
    tx: Transaction,
    database: Database,
    job_id: int,
    source_ids: Collection[int],
    recalled: Collection[int] = (),
) -> int:
    """The mails of these rows are Moodle's again; returns how many."""
    if not source_ids:
        return 0
    r = database.tables.recipients
    taken_back = any_of(r.c.id, recalled) & r.c.status.in_(_RECALLED)
    return tx.conn.execute(
        update(r)
        .where(
            r.c.job_id == job_id,
            r.c.source_id.in_(list(source_ids)),
            (r.c.status == Recipient.PENDING.value) | taken_back,
        )
        .values(
            status=Recipient.RETURNED.value,
            secret=None,
            error_message="handed back to Moodle",
            timemodified=tx.now,
        )
    ).rowcount


def resolve_unknown(tx: Transaction, database: Database, job_id: int, status: Recipient) -> int:
    """Unknown mails of a job become ``status``; returns how many."""
    r = database.tables.recipients
    values: dict[str, object] = {"status": status.value, "timemodified": tx.now}
    if status is Recipient.SENT:
        values |= {"sent_at": tx.now, "error_code": "", "error_message": None, "secret": None}
    return tx.conn.execute(
        update(r).where(r.c.job_id == job_id, r.c.status == Recipient.UNKNOWN.value).values(values)
    ).rowcount


def count_waiting(conn: Connection, database: Database, job_id: int) -> int:
    """Mails of a job that wait to be sent or are being sent."""
    r = database.tables.recipients
    states = (*WAITING, Recipient.PROCESSING.value)
    return int(
        conn.execute(
            select(func.count()).select_from(r).where(r.c.job_id == job_id, r.c.status.in_(states))
        ).scalar_one()
    )
