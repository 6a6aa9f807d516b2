"""Queries on what an admin has paused: jobs, and everything. (Companies: ``companies.py``.)"""

from collections.abc import Collection

from sqlalchemy import Connection, func, select, update

from sidecar.lifecycle import BATCH_ENDED, Recipient
from sidecar.store.database import Database, Transaction

EVERYTHING = "paused"
"""The key of the site row's state that holds all mail."""


def paused_jobs(conn: Connection, database: Database) -> frozenset[int]:
    """Paused jobs that have not ended."""
    jobs = database.tables.jobs
    query = select(jobs.c.id).where(jobs.c.completed_at.is_(None), jobs.c.paused != 0)
    return frozenset(conn.scalars(query))


def pause_job(tx: Transaction, database: Database, job_id: int, paused: bool) -> None:
    """Hold a job's mail, or let it go on."""
    jobs = database.tables.jobs
    tx.conn.execute(
        update(jobs).where(jobs.c.id == job_id).values(paused=int(paused), timemodified=tx.now)
    )


def count_held(conn: Connection, database: Database, job_ids: Collection[int]) -> int:
    """How many mails of these jobs wait here."""
    r = database.tables.recipients
    waiting = (Recipient.PENDING.value, Recipient.RETRY_PENDING.value)
    query = select(func.count()).where(r.c.job_id.in_(list(job_ids)), r.c.status.in_(waiting))
    return int(conn.execute(query).scalar_one())


def unfinished_batches(
    conn: Connection,
    database: Database,
    *,
    held_jobs: Collection[int] = (),
    held_companies: Collection[int] = (),
    held_sources: Collection[str] = (),
) -> int:
    """How many batches have not ended, without those that are held."""
    b, jobs = database.tables.batches, database.tables.jobs
    ended = [state.value for state in BATCH_ENDED]
    query = (
        select(func.count())
        .select_from(b.join(jobs, jobs.c.id == b.c.job_id))
        .where(
            b.c.status.not_in(ended),
            jobs.c.id.not_in(list(held_jobs)),
            jobs.c.company_id.not_in(list(held_companies)),
            jobs.c.source.not_in(list(held_sources)),
        )
    )
    return int(conn.execute(query).scalar_one())
