"""Queries of retention: what is finished and old enough, and deleting it in small transactions."""

import json
from collections import Counter
from collections.abc import Collection, Mapping

from sqlalchemy import ColumnElement, Connection, Table, delete, func, or_, select, update

from sidecar.lifecycle import BATCH_ENDED, JOB_ENDED
from sidecar.store.campaigns import Status
from sidecar.store.database import Database, Transaction, any_of
from sidecar.store.site import read_site, update_state

PURGED = "purged"
"""The key of the site row's state that counts what was deleted: ``jobs``, and mails by state."""

_ENDED = [state.value for state in JOB_ENDED]


def candidates(
    conn: Connection, database: Database, before: int, after: int, limit: int
) -> list[int]:
    """Finished jobs that repeat none that still exists, by id, above ``after``.

    before: Unix seconds, when they had finished at the latest.
    """
    jobs = database.tables.jobs
    parent, campaigns = jobs.alias("parent"), database.tables.campaigns
    repeats = select(parent.c.id).where(parent.c.id == jobs.c.parent_job_id).exists()
    running = (
        select(campaigns.c.id)
        .where(campaigns.c.job_id == jobs.c.id, campaigns.c.status == Status.RUNNING.value)
        .exists()
    )
    query = select(jobs.c.id).where(jobs.c.id > after, _is_over(database, before))
    return list(conn.scalars(query.where(~repeats, ~running).order_by(jobs.c.id).limit(limit)))


def family(conn: Connection, database: Database, job_id: int) -> list[int]:
    """A job and all that repeat mails of it, directly or not, parents first."""
    jobs = database.tables.jobs
    found, level = [job_id], [job_id]
    while level:
        query = select(jobs.c.id).where(jobs.c.parent_job_id.in_(level)).order_by(jobs.c.id)
        level = [child for child in conn.scalars(query) if child not in found]
        found += level
    return found


def all_over(conn: Connection, database: Database, job_ids: Collection[int], before: int) -> bool:
    """Whether each of these jobs had finished before a time (Unix seconds)."""
    jobs = database.tables.jobs
    query = select(func.count()).where(jobs.c.id.in_(job_ids), _is_over(database, before))
    return int(conn.execute(query).scalar_one()) == len(job_ids)


def _is_over(database: Database, before: int) -> ColumnElement[bool]:
    jobs, b = database.tables.jobs, database.tables.batches
    unfinished = (
        select(b.c.id)
        .where(b.c.job_id == jobs.c.id, b.c.status.not_in([s.value for s in BATCH_ENDED]))
        .exists()
    )
    return (
        jobs.c.status.in_(_ENDED)
        & jobs.c.closed_at.is_not(None)
        & (jobs.c.completed_at < before)
        & ~unfinished
    )


def queue_rows(
    conn: Connection, database: Database, job_id: int, after: int, limit: int
) -> list[tuple[int, str, int, int]]:
    """(id, source, source_id, source_stamp) of a job's next recipients, ids above ``after``."""
    r = database.tables.recipients
    query = (
        select(r.c.id, r.c.source, r.c.source_id, r.c.source_stamp)
        .where(r.c.job_id == job_id, r.c.id > after)
        .order_by(r.c.id)
        .limit(limit)
    )
    return [(row.id, row.source, row.source_id, row.source_stamp) for row in conn.execute(query)]


def delete_recipients(tx: Transaction, database: Database, job_id: int, limit: int) -> int:
    """Delete some recipients of a job and count them; returns how many.

    The job's total goes down with them, so that the books balance at every instant.
    """
    jobs, r = database.tables.jobs, database.tables.recipients
    query = (
        select(r.c.id, r.c.status, r.c.retry_of)
        .where(r.c.job_id == job_id)
        .order_by(r.c.id)
        .limit(limit)
    )
    rows = tx.conn.execute(query).all()
    if rows:
        tx.conn.execute(delete(r).where(any_of(r.c.id, [row.id for row in rows])))
        fewer = jobs.c.email_count - len(rows)
        tx.conn.execute(update(jobs).where(jobs.c.id == job_id).values(email_count=fewer))
        _count(tx, database, Counter(row.status for row in rows if row.retry_of is None))
    return len(rows)


def delete_job(tx: Transaction, database: Database, job_id: int) -> None:
    """Delete a job without recipients, and its batches."""
    jobs, b = database.tables.jobs, database.tables.batches
    tx.conn.execute(delete(b).where(b.c.job_id == job_id))
    tx.conn.execute(delete(jobs).where(jobs.c.id == job_id))
    _count(tx, database, {"jobs": 1})


def purged(database: Database) -> Mapping[str, int]:
    """How many jobs, and mails by state, were ever deleted. Raises DatabaseError, StoreError."""
    return _numbers(read_site(database).state.get(PURGED))


def _count(tx: Transaction, database: Database, more: Mapping[str, int]) -> None:
    text = tx.conn.execute(select(database.tables.sidecar.c.state)).scalar()
    total = Counter(_numbers(json.loads(text or "{}").get(PURGED)))
    total.update(more)
    update_state(tx, database, {PURGED: dict(total)})


def _numbers(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    return {str(key): number for key, number in value.items() if isinstance(number, int)}


def delete_notes(tx: Transaction, database: Database, before: int, limit: int) -> int:
    """Delete some rows beside the jobs that are over since before a time; returns how many.

    Those are answered requests, bulk actions, the outbox of campaigns that have ended, and mails of
    an earlier version whose job is gone.
    """
    t = database.tables
    ended = select(t.campaigns.c.id).where(
        t.campaigns.c.status.in_([Status.DONE.value, Status.CANCELLED.value, Status.FAILED.value])
    )
    over: list[tuple[Table, ColumnElement[bool]]] = [
        (t.requests, t.requests.c.answered_at < before),
        (t.operations, t.operations.c.last_at < before),
        (
            t.outbox,
            (t.outbox.c.status != "waiting")
            & (t.outbox.c.created_at < before)
            & t.outbox.c.campaign_id.in_(ended),
        ),
        (
            t.recipients,
            (t.recipients.c.job_id == 0)
            & or_(t.recipients.c.timemodified < before, t.recipients.c.timemodified.is_(None)),
        ),
    ]
    number = 0
    for table, condition in over:
        ids = list(tx.conn.scalars(select(table.c.id).where(condition).limit(limit)))
        if ids:
            tx.conn.execute(delete(table).where(any_of(table.c.id, ids)))
        number += len(ids)
    return number
