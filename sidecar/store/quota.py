"""How many mails of a company have left within a day: what its ``daily_quota`` limits."""

from dataclasses import dataclass

from sqlalchemy import Connection, Subquery, case, func, select

from sidecar.lifecycle import Recipient
from sidecar.store.database import Database

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Used:
    """mails: that left within a day before ``now``, Unix seconds of the database's clock."""

    mails: int
    now: int


def used(conn: Connection, database: Database, company_id: int) -> Used:
    """The mails of a company that left within a day, by whichever provider.

    A mail has left when it was sent, whatever became of it later, while a provider has it, and when
    nobody knows. A repeated mail counts once more only while the provider has it.
    """
    now = database.now(conn)
    left = _left(database, company_id, now - DAY)
    return Used(int(conn.execute(select(func.count()).select_from(left)).scalar_one()), now)


def free_at(conn: Connection, database: Database, company_id: int, now: int, number: int) -> int:
    """When so many of the mails that count at ``now`` count no more, Unix seconds."""
    left = _left(database, company_id, now - DAY)
    query = select(left.c.moment).order_by(left.c.moment).offset(max(0, number - 1)).limit(1)
    moment = conn.execute(query).scalar()
    return int(moment) + DAY if moment is not None else now


def _left(database: Database, company_id: int, since: int) -> Subquery:
    """When each mail of the company left, of those that did since then.

    Bounded by the jobs that were at work since then, not by the history.
    """
    r, jobs = database.tables.recipients, database.tables.jobs
    sent = r.c.sent_at.is_not(None)
    there = r.c.status == Recipient.PROCESSING.value
    unknown = r.c.status == Recipient.UNKNOWN.value
    root = r.c.retry_of.is_(None)
    moment = case((sent & ~there, r.c.sent_at), else_=r.c.timemodified)
    at_work = jobs.c.completed_at.is_(None) | (jobs.c.completed_at >= since)
    return (
        select(moment.label("moment"))
        .select_from(jobs.join(r, r.c.job_id == jobs.c.id))
        .where(
            jobs.c.company_id == company_id,
            at_work,
            there | (root & (sent | unknown)),
            moment >= since,
        )
        .subquery()
    )
