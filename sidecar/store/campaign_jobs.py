"""Queries on campaigns and their jobs together."""

from collections.abc import Collection

from sqlalchemy import case, select, update

from sidecar.lifecycle import JOB_ENDED, Job
from sidecar.store.campaigns import Status
from sidecar.store.database import Database, Transaction


def end(tx: Transaction, database: Database, campaign_ids: Collection[int]) -> None:
    """Running campaigns whose job has ended are done; cancelled, if it was."""
    c, jobs = database.tables.campaigns, database.tables.jobs
    ended = [state.value for state in JOB_ENDED]
    found = tx.conn.execute(
        select(c.c.id, jobs.c.status)
        .join(jobs, jobs.c.id == c.c.job_id)
        .where(
            c.c.id.in_(list(campaign_ids)),
            c.c.status == Status.RUNNING.value,
            jobs.c.status.in_(ended),
            jobs.c.closed_at.is_not(None),
        )
    ).all()
    if not found:
        return
    cancelled = [row.id for row in found if row.status == Job.CANCELLED.value]
    tx.conn.execute(
        update(c)
        .where(c.c.id.in_([row.id for row in found]))
        .values(
            status=case((c.c.id.in_(cancelled), Status.CANCELLED.value), else_=Status.DONE.value)
        )
    )


def note_error(tx: Transaction, database: Database, job_id: int, reason: str) -> None:
    """Why a job was ended before its time."""
    jobs = database.tables.jobs
    tx.conn.execute(
        update(jobs).where(jobs.c.id == job_id).values(error_log=reason, timemodified=tx.now)
    )
