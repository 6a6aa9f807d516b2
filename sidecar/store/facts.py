"""What the metrics ask of our tables at a scrape: every query by an index, bounded by what is open
or a day old, never by the history."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Select, case, func, select

from sidecar.lifecycle import BATCH_ENDED, JOB_ENDED, Batch, Job, Recipient
from sidecar.metrics.labels import reason
from sidecar.store.database import Database, any_of

DAY = 86_400
RECENT_JOBS = 2_000
"""The most jobs whose mails are counted, the newest."""
REASONS = 40
"""The most reasons of failures that are told apart, the most frequent."""

_OPEN_BATCHES = [state.value for state in Batch if state not in BATCH_ENDED]
_OPEN_JOBS = [state.value for state in Job if state not in JOB_ENDED]
_TROUBLED = (
    Recipient.FAILED.value,
    Recipient.PERMANENTLY_FAILED.value,
    Recipient.UNKNOWN.value,
)

Counts = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Flight:
    """Batches of one company at one provider that have not ended, by state."""

    company: int
    provider: str
    status: str
    batches: int
    mails: int
    oldest: int | None


def flights_query(database: Database) -> Select[int, str, str, int, int, int]:
    """The batches that have not ended."""
    b, jobs = database.tables.batches, database.tables.jobs
    return (
        select(
            jobs.c.company_id,
            b.c.provider,
            b.c.status,
            func.count(),
            func.sum(b.c.email_count - b.c.sent_count - b.c.failed_count),
            func.min(case((jobs.c.paused == 0, b.c.created_at))),
        )
        .join(jobs, jobs.c.id == b.c.job_id)
        .where(b.c.status.in_(_OPEN_BATCHES))
        .group_by(jobs.c.company_id, b.c.provider, b.c.status)
    )


def flights(conn: Connection, database: Database) -> list[Flight]:
    """The batches that have not ended, by company, provider and state. oldest: Unix seconds."""
    return [
        Flight(row[0], row[1], row[2], row[3], max(0, int(row[4] or 0)), row[5])
        for row in conn.execute(flights_query(database)).all()
    ]


def jobs_by_status(conn: Connection, database: Database, now: int) -> Counts:
    """(company, type, status) → jobs that have not ended, or were closed within a day."""
    jobs = database.tables.jobs
    by = (jobs.c.company_id, jobs.c.type, jobs.c.status)
    found: Counter[tuple[str, ...]] = Counter()
    running = jobs.c.status.in_(_OPEN_JOBS)
    ended = (jobs.c.closed_at >= now - DAY) & jobs.c.status.not_in(_OPEN_JOBS)
    for which in (running, ended):
        for company, kind, status, number in conn.execute(
            select(*by, func.count()).where(which).group_by(*by)
        ):
            found[str(company), kind, status] += number
    return found


def recent_jobs(conn: Connection, database: Database, now: int) -> list[int]:
    """The newest root jobs that have not ended or were closed within a day; their ids."""
    jobs = database.tables.jobs
    found: set[int] = set()
    for which in (jobs.c.status.in_(_OPEN_JOBS), jobs.c.closed_at >= now - DAY):
        query = select(jobs.c.id).where(which, jobs.c.parent_job_id.is_(None))
        found.update(conn.scalars(query.order_by(jobs.c.id.desc()).limit(RECENT_JOBS)))
    return sorted(found, reverse=True)[:RECENT_JOBS]


def mails_by_state_query(
    database: Database, job_ids: Collection[int]
) -> Select[int, str, str, int]:
    """Mails of these jobs, counted within the index over job and state."""
    r, jobs = database.tables.recipients, database.tables.jobs
    return (
        select(jobs.c.company_id, jobs.c.provider, r.c.status, func.count())
        .select_from(jobs.join(r, r.c.job_id == jobs.c.id))
        .where(any_of(jobs.c.id, job_ids))
        .group_by(jobs.c.company_id, jobs.c.provider, r.c.status)
    )


def mails_by_state(conn: Connection, database: Database, job_ids: Collection[int]) -> Counts:
    """(company, provider, status) → mails of these jobs."""
    if not job_ids:
        return {}
    rows = conn.execute(mails_by_state_query(database, job_ids))
    return {(str(row[0]), row[1], row[2]): row[3] for row in rows}


def failures_by_reason(conn: Connection, database: Database, job_ids: Collection[int]) -> Counts:
    """(company, reason) → mails of these jobs that failed or are unknown."""
    if not job_ids:
        return {}
    r, jobs = database.tables.recipients, database.tables.jobs
    query = (
        select(jobs.c.company_id, r.c.error_code, func.count())
        .select_from(jobs.join(r, r.c.job_id == jobs.c.id))
        .where(any_of(jobs.c.id, job_ids), r.c.status.in_(_TROUBLED))
        .group_by(jobs.c.company_id, r.c.error_code)
    )
    rows = [(str(company), reason(code), n) for company, code, n in conn.execute(query)]
    totals: Counter[str] = Counter()
    for _, why, number in rows:
        totals[why] += number
    told = {why for why, _ in totals.most_common(REASONS)}
    found: Counter[tuple[str, ...]] = Counter()
    for company, why, number in rows:
        found[company, why if why in told else "other"] += number
    return found


@dataclass(frozen=True, slots=True)
class Limits:
    """What is set for a company; None where nothing is, 0 for no limit."""

    company: int
    enabled: bool
    quota: int | None
    rate: int | None


def limits(conn: Connection, database: Database) -> list[Limits]:
    """Every company with a settings row."""
    c = database.tables.companies
    query = select(c.c.company_id, c.c.enabled, c.c.daily_quota, c.c.max_send_rate)
    return [
        Limits(company, bool(enabled), quota, rate)
        for company, enabled, quota, rate in conn.execute(query)
    ]


def inbox(conn: Connection, database: Database) -> tuple[int, int | None]:
    """How many results wait, and when the oldest came, Unix seconds."""
    c = database.tables.callbacks
    query = select(func.count(), func.min(c.c.received_at)).where(c.c.processed_at.is_(None))
    number, oldest = conn.execute(query).one()
    return int(number), oldest


def requests_waiting(conn: Connection, database: Database) -> int:
    """Requests without an answer."""
    t = database.tables.requests
    query = select(func.count()).select_from(t).where(t.c.status == "new")
    return int(conn.execute(query).scalar_one())


def site_led(conn: Connection, database: Database) -> bool:
    """Whether some sidecar holds the lease."""
    s = database.tables.sidecar
    query = select(s.c.id).where(s.c.lease_token != "", s.c.lease_expires >= database.clock())
    return conn.execute(query.limit(1)).first() is not None
