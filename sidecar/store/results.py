"""Queries of settle: the counters and states that follow from what became of mails."""

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import (
    BigInteger,
    Connection,
    String,
    case,
    func,
    select,
    update,
)

from sidecar.lifecycle import (
    BATCH_ENDED,
    JOB_ENDED,
    SUBMITTED,
    Batch,
    Recipient,
    ended_batch_state,
    job_state,
)
from sidecar.store.database import Database, Transaction
from sidecar.store.listed import listed, rows_json

EARLIER = "earlier"
"""The source of jobs that an earlier ManiReports made and the plugin took over: its books were not
ours and need not balance."""


def start_batches(tx: Transaction, database: Database, batch_ids: Collection[int]) -> None:
    """The connector works on these: ``submitting`` (``queued`` for no time) → ``processing``."""
    b = database.tables.batches
    tx.conn.execute(
        update(b)
        .where(
            b.c.id.in_(list(batch_ids)),
            b.c.status.in_((Batch.SUBMITTING.value, Batch.QUEUED.value)),
        )
        .values(status=Batch.PROCESSING.value, queued_at=func.coalesce(b.c.queued_at, tx.now))
    )


def counts_by_batch(
    conn: Connection, database: Database, batch_ids: Collection[int]
) -> dict[int, dict[Recipient, int]]:
    """Recipients of each batch by state."""
    r = database.tables.recipients
    query = (
        select(r.c.batch_id, r.c.status, func.count().label("n"))
        .where(r.c.batch_id.in_(list(batch_ids)))
        .group_by(r.c.batch_id, r.c.status)
    )
    counts: dict[int, dict[Recipient, int]] = {batch_id: {} for batch_id in batch_ids}
    for row in conn.execute(query):
        counts[row.batch_id][Recipient(row.status)] = int(row.n)
    return counts


def refresh_batches(tx: Transaction, database: Database, batch_ids: Collection[int]) -> None:
    """Recompute counters and states of batches from their recipients."""
    b = database.tables.batches
    running: list[tuple[int, int, int]] = []
    ended: list[tuple[int, int, int, str]] = []
    for batch_id, counts in counts_by_batch(tx.conn, database, batch_ids).items():
        told = batch_id, counts.get(Recipient.SENT, 0), failed_count(counts)
        if state := ended_batch_state(counts):
            ended.append((*told, state.value))
        else:
            running.append(told)
    counters = {"id": BigInteger(), "sent": BigInteger(), "failed": BigInteger()}
    if running:
        new = listed("running", **counters)
        values: dict[str, object] = {"sent_count": new.c.sent, "failed_count": new.c.failed}
        statement = update(b).where(b.c.id == new.c.id).values(values)
        tx.conn.execute(statement, {"running": rows_json(running)})
    if ended:
        new = listed("ended", **counters, state=String(20))
        values = {
            "sent_count": new.c.sent,
            "failed_count": new.c.failed,
            "status": new.c.state,
            "completed_at": func.coalesce(b.c.completed_at, tx.now),
            "error_message": None,
        }
        statement = update(b).where(b.c.id == new.c.id).values(values)
        tx.conn.execute(statement, {"ended": rows_json(ended)})


def settle_roots(tx: Transaction, database: Database, batch_ids: Collection[int]) -> set[int]:
    """Mails that were asked for again settle those that they repeat; returns the latter's batches.

    Those are the mail that was captured and every earlier repetition of it, where it failed. Only
    ``sent`` and ``permanently_failed`` settle: a repetition that fails too changes nothing.
    """
    b, jobs, r = database.tables.batches, database.tables.jobs, database.tables.recipients
    repeating = list(
        tx.conn.scalars(
            select(b.c.id)
            .join(jobs, jobs.c.id == b.c.job_id)
            .where(b.c.id.in_(list(batch_ids)), jobs.c.parent_job_id.is_not(None))
        )
    )
    if not repeating:
        return set()
    again = r.alias("again")
    failed = (Recipient.FAILED.value, Recipient.PERMANENTLY_FAILED.value)
    settled = (Recipient.SENT.value, Recipient.PERMANENTLY_FAILED.value)
    told = [again.c[name] for name in _SHARED]
    touched = set()
    for status in settled:
        for same_mail in (r.c.id == again.c.retry_of, r.c.retry_of == again.c.retry_of):
            query = (
                select(r.c.id, r.c.batch_id, *told)
                .join(again, same_mail & (again.c.id > r.c.id))
                .where(
                    again.c.batch_id.in_(repeating),
                    again.c.status == status,
                    r.c.status.in_(failed),
                    r.c.status != status,
                )
            )
            for row in tx.conn.execute(query).all():
                values = {name: row._mapping[name] for name in _SHARED} | {
                    "timemodified": tx.now,
                    "secret": None,
                }
                tx.conn.execute(update(r).where(r.c.id == row.id).values(values))
                touched.add(int(row.batch_id))
    return touched


_SHARED = ("status", "sent_at", "message_id", "error_code", "error_message")


def failed_count(counts: Mapping[Recipient, int]) -> int:
    """How many of these did not arrive for a reason the admin may have to act on."""
    failures = (Recipient.FAILED, Recipient.PERMANENTLY_FAILED, Recipient.UNKNOWN)
    return sum(counts.get(state, 0) for state in failures)


def refresh_jobs(tx: Transaction, database: Database, job_ids: Iterable[int]) -> None:
    """Recompute counters and states of jobs from their batches, under each job's row lock.

    A job whose mails are repeated follows the job that repeats them.
    """
    jobs = database.tables.jobs
    wanted, level = set(job_ids), set(job_ids)
    while level:
        parents = select(jobs.c.parent_job_id).where(jobs.c.id.in_(level))
        level = {job_id for job_id in tx.conn.scalars(parents) if job_id} - wanted
        wanted |= level
    for job_id in sorted(wanted, reverse=True):
        job = tx.conn.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).first()
        if job is None:
            continue
        counts, submitted = _job_counts(tx.conn, database, job_id)
        child = tx.conn.execute(
            select(jobs.c.id).where(
                jobs.c.parent_job_id == job_id,
                jobs.c.status.not_in([state.value for state in JOB_ENDED]),
            )
        ).first()
        state = job_state(
            closed=job.closed_at is not None,
            open_child=child is not None,
            submitted=submitted,
            counts=counts,
        )
        values: dict[str, object] = {
            "status": state.value,
            "emails_sent": counts.get(Recipient.SENT, 0),
            "emails_failed": failed_count(counts),
            "timemodified": tx.now,
            "completed_at": (job.completed_at or tx.now) if state in JOB_ENDED else None,
        }
        if submitted and job.started_at is None:
            values["started_at"] = tx.now
        tx.conn.execute(update(jobs).where(jobs.c.id == job_id).values(values))


def _job_counts(
    conn: Connection, database: Database, job_id: int
) -> tuple[dict[Recipient, int], bool]:
    """A job's recipients by state, and whether anything of it was ever submitted.

    While mails are on their way, the sums of the batches are enough for the state; the recipients
    themselves are counted only once none is, so that the cost of following a job grows with its
    batches.
    """
    b, r = database.tables.batches, database.tables.recipients
    ended = [state.value for state in BATCH_ENDED]
    sums = conn.execute(
        select(
            func.coalesce(func.sum(b.c.email_count), 0).label("mails"),
            func.coalesce(func.sum(b.c.sent_count), 0).label("sent"),
            func.coalesce(func.sum(b.c.failed_count), 0).label("failed"),
            func.coalesce(func.sum(case((b.c.status.in_(ended), 0), else_=1)), 0).label("running"),
            func.coalesce(func.sum(case((b.c.first_issued_at.is_(None), 0), else_=1)), 0).label(
                "issued"
            ),
        ).where(b.c.job_id == job_id)
    ).one()
    moving = (Recipient.PENDING.value, Recipient.PROCESSING.value)
    on_their_way = select(r.c.id).where(r.c.job_id == job_id, r.c.status.in_(moving)).limit(1)
    if sums.running and conn.execute(on_their_way).first():
        rest = int(sums.mails) - int(sums.sent) - int(sums.failed)
        counts = {
            Recipient.PENDING: rest,
            Recipient.SENT: int(sums.sent),
            Recipient.PERMANENTLY_FAILED: int(sums.failed),
        }
        return counts, bool(sums.issued)
    counts = {
        Recipient(row.status): int(row.n)
        for row in conn.execute(
            select(r.c.status, func.count().label("n"))
            .where(r.c.job_id == job_id)
            .group_by(r.c.status)
        )
    }
    return counts, bool(sums.issued) or any(counts.get(state) for state in SUBMITTED)


def jobs_of(conn: Connection, database: Database, batch_ids: Collection[int]) -> list[int]:
    """The jobs that these batches belong to."""
    b = database.tables.batches
    query = select(b.c.job_id).where(b.c.id.in_(list(batch_ids))).distinct()
    return list(conn.scalars(query))


def unsettled_batches(conn: Connection, database: Database) -> list[int]:
    """Batches of jobs that are not finished, whose counters a killed process may have left."""
    b, jobs = database.tables.batches, database.tables.jobs
    finished = [state.value for state in JOB_ENDED]
    query = select(b.c.id).join(jobs, jobs.c.id == b.c.job_id)
    return list(conn.scalars(query.where(jobs.c.status.not_in(finished))))


def ledger(conn: Connection, database: Database) -> dict[Recipient, int]:
    """Root recipients by state, over all jobs of ours; their sum must be what was claimed."""
    r = database.tables.recipients
    return {
        Recipient(row.status): int(row.n)
        for row in conn.execute(
            select(r.c.status, func.count().label("n"))
            .where(r.c.retry_of.is_(None), r.c.source != EARLIER)
            .group_by(r.c.status)
        )
    }


def ledger_difference(conn: Connection, database: Database) -> int:
    """Captured mails by the jobs' totals minus those in the recipients table: must be 0."""
    jobs, r = database.tables.jobs, database.tables.recipients
    captured = conn.execute(
        select(func.coalesce(func.sum(jobs.c.email_count), 0)).where(
            jobs.c.parent_job_id.is_(None), jobs.c.source != EARLIER
        )
    ).scalar_one()
    there = conn.execute(
        select(func.count()).select_from(r).where(r.c.retry_of.is_(None), r.c.source != EARLIER)
    ).scalar_one()
    return int(captured) - int(there)
