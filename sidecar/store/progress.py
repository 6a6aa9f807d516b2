"""Queries on how far running jobs are."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select

from sidecar.lifecycle import Recipient
from sidecar.store.database import Database

_WAITING = (Recipient.PENDING.value, Recipient.RETRY_PENDING.value)


@dataclass(frozen=True, slots=True)
class JobProgress:
    """left: mails that have not ended; recently: mails sent since a moment; first: when the first
    of those was sent, Unix seconds, 0 if none was."""

    left: int = 0
    recently: int = 0
    first: int = 0


def progress_since(
    conn: Connection, database: Database, job_ids: Collection[int], since: int
) -> dict[int, JobProgress]:
    """How far these jobs are; ``since``: Unix seconds."""
    r = database.tables.recipients
    left = r.c.status.in_((*_WAITING, Recipient.PROCESSING.value))
    sent = (r.c.status == Recipient.SENT.value) & (r.c.sent_at >= since)
    query = (
        select(
            r.c.job_id,
            func.sum(case((left, 1), else_=0)),
            func.sum(case((sent, 1), else_=0)),
            func.min(case((sent, r.c.sent_at))),
        )
        .where(r.c.job_id.in_(list(job_ids)))
        .group_by(r.c.job_id)
    )
    return {
        job_id: JobProgress(int(left), int(recently), int(first or 0))
        for job_id, left, recently, first in conn.execute(query)
    }
