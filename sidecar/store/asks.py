"""Queries for providers that take a batch now and tell what became of it later."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select, update

from sidecar.lifecycle import RECALLED, Batch, Recipient
from sidecar.store.database import Database, Transaction, any_of, new_id
from sidecar.store.queue import DueBatch

ASKABLE = (Recipient.PENDING.value, Recipient.RETRY_PENDING.value)


def take_batch(
    tx: Transaction, database: Database, batch: DueBatch, batch_key: str, provider: str, due: int
) -> bool:
    """Count an ask of ``provider``; False if the batch changed meanwhile.

    One that was never submitted becomes ``submitting``. due: when the batch counts as silent,
    Unix seconds; written before the provider is asked, so that a crash changes nothing.
    """
    b = database.tables.batches
    status = Batch.SUBMITTING if batch.never_submitted else Batch(batch.status)
    return bool(
        tx.conn.execute(
            update(b)
            .where(b.c.id == batch.id, b.c.status == batch.status, b.c.attempt == batch.attempt)
            .values(
                status=status.value,
                provider=provider,
                batch_key=func.coalesce(b.c.batch_key, batch_key),
                attempt=b.c.attempt + 1,
                first_issued_at=func.coalesce(b.c.first_issued_at, tx.now),
                next_attempt_at=due,
            )
        ).rowcount
    )


def lock_mails(
    tx: Transaction, database: Database, batch_id: int, mail_ids: Collection[int]
) -> tuple[frozenset[int], frozenset[int]]:
    """Which of these mails of a batch still may leave; locked until the transaction ends.

    Returns all that may, by id, and those among them that the provider does not have already. What
    was cancelled, handed back or moved to another batch since it was read is in neither.
    """
    r = database.tables.recipients
    here = (r.c.batch_id == batch_id) & r.c.id.in_(list(mail_ids))
    states = (*ASKABLE, Recipient.PROCESSING.value)
    query = select(r.c.id, r.c.status).where(here, r.c.status.in_(states)).with_for_update()
    found = {row.id: row.status for row in tx.conn.execute(query)}
    return frozenset(found), frozenset(i for i, status in found.items() if status in ASKABLE)


def mark_asked(tx: Transaction, database: Database, mail_ids: Collection[int]) -> None:
    """These locked mails leave with the ask that begins."""
    r = database.tables.recipients
    tx.conn.execute(
        update(r)
        .where(r.c.id.in_(list(mail_ids)))
        .values(status=Recipient.PROCESSING.value, tries=r.c.tries + 1, timemodified=tx.now)
    )


def accept(tx: Transaction, database: Database, batch_id: int, provider_id: str, due: int) -> None:
    """The provider has the batch, or may have it.

    due: when it counts as silent, Unix seconds. A result that was faster stands.
    """
    b, r = database.tables.batches, database.tables.recipients
    mine = b.c.id == batch_id
    waits = (
        select(r.c.id)
        .where(r.c.batch_id == batch_id, r.c.status == Recipient.RETRY_PENDING.value)
        .exists()
    )
    earlier = waits & (b.c.next_attempt_at < due)
    submitting = b.c.status == Batch.SUBMITTING.value
    tx.conn.execute(
        update(b)
        .where(mine)
        .values(
            status=case((submitting, Batch.QUEUED.value), else_=b.c.status),
            queue_message_id=provider_id[:255] or b.c.queue_message_id,
            queued_at=tx.now,
            next_attempt_at=case((earlier, b.c.next_attempt_at), else_=due),
            error_message=None,
        )
    )


def take_back(
    tx: Transaction, database: Database, batch_id: int, mail_ids: Collection[int]
) -> None:
    """The provider definitely refused the ask by which these mails of a batch left."""
    r = database.tables.recipients
    here = (r.c.batch_id == batch_id) & r.c.id.in_(list(mail_ids))
    tx.conn.execute(
        update(r)
        .where(here, r.c.status == Recipient.PROCESSING.value)
        .values(status=Recipient.PENDING.value, tries=r.c.tries - 1, timemodified=tx.now)
    )


def recover_uncertain(
    tx: Transaction, database: Database, due: int, batch_ids: Collection[int] | None = None
) -> int:
    """Batches that were being handed over when a process ended; returns how many may be out.

    With a mail that was ever asked for, the provider may have the batch, or has even told of it:
    that counts as accepted. Without one, nothing left yet. batch_ids: only these; None: all, on
    taking the lease.
    """
    b, r = database.tables.batches, database.tables.recipients
    asked = select(r.c.id).where(r.c.batch_id == b.c.id, r.c.tries > 0).exists()
    caught = (b.c.status == Batch.SUBMITTING.value) & (b.c.provider != "smtp")
    if batch_ids is not None:
        caught &= b.c.id.in_(list(batch_ids))
    uncertain = tx.conn.execute(
        update(b)
        .where(caught, asked)
        .values(status=Batch.QUEUED.value, queued_at=tx.now, next_attempt_at=due)
    ).rowcount
    tx.conn.execute(
        update(b).where(caught).values(status=Batch.PENDING.value, next_attempt_at=tx.now)
    )
    return uncertain


def has_passed(conn: Connection, database: Database, batch: DueBatch) -> bool:
    """Whether the provider has told of a batch of the company that it got after this one.

    Only of one that it got for the first time then: what it tells of an older one may be of before.
    """
    b, jobs = database.tables.batches, database.tables.jobs
    query = (
        select(b.c.id)
        .join(jobs, jobs.c.id == b.c.job_id)
        .where(
            jobs.c.company_id == batch.company_id,
            b.c.provider == batch.provider,
            b.c.first_issued_at > (batch.queued_at or 0),
            b.c.sent_count + b.c.failed_count > 0,
        )
        .limit(1)
    )
    return conn.execute(query).first() is not None


def count_silence(tx: Transaction, database: Database, batch_id: int) -> None:
    """The provider said nothing of the batch in time; it is about to be asked again."""
    b = database.tables.batches
    tx.conn.execute(update(b).where(b.c.id == batch_id).values(silent_asks=b.c.silent_asks + 1))


def end_silent(tx: Transaction, database: Database, batch_id: int, reason: str) -> int:
    """Nobody can say what became of the mails that a provider still has; returns how many."""
    r = database.tables.recipients
    return tx.conn.execute(
        update(r)
        .where(r.c.batch_id == batch_id, r.c.status == Recipient.PROCESSING.value)
        .values(
            status=Recipient.UNKNOWN.value,
            error_code="no_result",
            error_message=reason,
            timemodified=tx.now,
        )
    ).rowcount


def split_off(
    tx: Transaction,
    database: Database,
    batch_id: int,
    job_id: int,
    stamp: int,
    groups: Sequence[Collection[int]],
    provider: str,
) -> None:
    """Move these groups of a batch's mails, by id, to new batches of its job that are due now.

    Only mails that no provider has. stamp: the batch's ``created_at``, which is the claim's.
    """
    b, r = database.tables.batches, database.tables.recipients
    last = tx.conn.execute(select(func.max(b.c.batch_num)).where(b.c.job_id == job_id)).scalar_one()
    for number, ids in enumerate(groups, start=int(last) + 1):
        new = tx.conn.execute(
            b.insert().values(
                job_id=job_id,
                batch_num=number,
                status=Batch.PENDING.value,
                created_at=stamp,
                provider=provider,
                email_count=len(ids),
                next_attempt_at=tx.now,
            )
        )
        tx.conn.execute(update(r).where(r.c.id.in_(list(ids))).values(batch_id=new_id(new)))
    moved = sum(len(ids) for ids in groups)
    mine = b.c.id == batch_id
    tx.conn.execute(update(b).where(mine).values(email_count=b.c.email_count - moved))
    tx.conn.execute(
        update(b)
        .where(mine, b.c.email_count <= 0)
        .values(status=Batch.CANCELLED.value, completed_at=tx.now)
    )


def send_by_smtp(tx: Transaction, database: Database, batch_ids: Collection[int]) -> None:
    """These batches, of which the provider has nothing, go by the site's SMTP server."""
    b = database.tables.batches
    tx.conn.execute(
        update(b).where(b.c.id.in_(list(batch_ids))).values(provider="smtp", next_attempt_at=tx.now)
    )


def refused_batches(
    conn: Connection,
    database: Database,
    company_id: int,
    provider: str,
    sources: Collection[str],
) -> list[int]:
    """Batches of a company, of these sources, that wait because ``provider`` never took anything
    of them, in the order in which they were made."""
    b, jobs, r = database.tables.batches, database.tables.jobs, database.tables.recipients
    left = select(r.c.id).where(r.c.batch_id == b.c.id, r.c.tries > 0).exists()
    query = (
        select(b.c.id)
        .join(jobs, jobs.c.id == b.c.job_id)
        .where(
            jobs.c.company_id == company_id,
            jobs.c.source.in_(list(sources)),
            b.c.provider == provider,
            b.c.status == Batch.PENDING.value,
            ~left,
        )
        .order_by(b.c.id)
    )
    return list(conn.scalars(query))


@dataclass(frozen=True, slots=True)
class MailThere:
    """A mail that a provider has. root_batch: the key of the batch that first carried it."""

    id: int
    provider: str
    mail_key: str
    root_batch: str
    generation: int


def at_provider(conn: Connection, database: Database, job_id: int) -> list[MailThere]:
    """The mails of a job that a provider has, or is getting, and of which it said nothing yet."""
    b, r = database.tables.batches, database.tables.recipients
    query = (
        select(r.c.id, b.c.provider, r.c.mail_key, b.c.batch_key, r.c.recipient_data)
        .join(b, b.c.id == r.c.batch_id)
        .where(
            r.c.job_id == job_id,
            r.c.status == Recipient.PROCESSING.value,
            b.c.provider != "smtp",
            b.c.status.in_((Batch.SUBMITTING.value, Batch.QUEUED.value, Batch.PROCESSING.value)),
        )
    )
    found = []
    for row in conn.execute(query):
        data = json.loads(row.recipient_data or "{}")
        found.append(
            MailThere(
                id=row.id,
                provider=row.provider,
                mail_key=row.mail_key,
                root_batch=data.get("root_batch") or row.batch_key or "",
                generation=int(data.get("generation", 0)),
            )
        )
    return found


def reroute(tx: Transaction, database: Database, mail_ids: Collection[int], provider: str) -> None:
    """Mails that were taken back from a provider go another way, in batches of their own."""
    b, r = database.tables.batches, database.tables.recipients
    there = any_of(r.c.id, mail_ids) & r.c.status.in_([state.value for state in RECALLED])
    by_batch: dict[int, list[int]] = {}
    for row in tx.conn.execute(select(r.c.id, r.c.batch_id).where(there)):
        by_batch.setdefault(row.batch_id, []).append(row.id)
    tx.conn.execute(
        update(r).where(there).values(status=Recipient.PENDING.value, timemodified=tx.now)
    )
    for batch_id, ids in by_batch.items():
        row = tx.conn.execute(select(b.c.job_id, b.c.created_at).where(b.c.id == batch_id)).one()
        split_off(tx, database, batch_id, row.job_id, row.created_at, [ids], provider)


def keep_recalled(tx: Transaction, database: Database, mail_ids: Collection[int]) -> None:
    """Mails that were taken back from a provider wait here, to go the same way later."""
    b, r = database.tables.batches, database.tables.recipients
    query = (
        select(b.c.provider, r.c.id)
        .join(b, b.c.id == r.c.batch_id)
        .where(r.c.id.in_(list(mail_ids)))
    )
    by_provider: dict[str, list[int]] = {}
    for row in tx.conn.execute(query):
        by_provider.setdefault(row.provider, []).append(row.id)
    for provider, ids in by_provider.items():
        reroute(tx, database, ids, provider)


def mails_at_provider(conn: Connection, database: Database, company_id: int, provider: str) -> int:
    """How many mails of a company a provider has, of which it said nothing yet."""
    b, jobs, r = database.tables.batches, database.tables.jobs, database.tables.recipients
    query = (
        select(func.count())
        .select_from(r)
        .join(b, b.c.id == r.c.batch_id)
        .join(jobs, jobs.c.id == b.c.job_id)
        .where(
            jobs.c.company_id == company_id,
            b.c.provider == provider,
            b.c.status.in_((Batch.QUEUED.value, Batch.PROCESSING.value)),
            r.c.status == Recipient.PROCESSING.value,
        )
    )
    return int(conn.execute(query).scalar_one())


def awaits_results(conn: Connection, database: Database, company_id: int) -> bool:
    """Whether any provider has mails of a company of which it said nothing yet."""
    jobs, r = database.tables.jobs, database.tables.recipients
    query = (
        select(r.c.id)
        .join(jobs, jobs.c.id == r.c.job_id)
        .where(
            jobs.c.company_id == company_id,
            jobs.c.completed_at.is_(None),
            r.c.status == Recipient.PROCESSING.value,
        )
        .limit(1)
    )
    return conn.execute(query).first() is not None
