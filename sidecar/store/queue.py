"""Queries of dispatch: which batches are due, taking them, putting them back."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, func, select, tuple_, update

from sidecar.lifecycle import Batch, Recipient
from sidecar.store.database import Database, Transaction

DUE = (Batch.PENDING.value, Batch.PROCESSING.value, Batch.QUEUED.value)
RUNNING = (Batch.PENDING.value, Batch.PROCESSING.value, Batch.QUEUED.value, Batch.SUBMITTING.value)


@dataclass(frozen=True, slots=True)
class DueBatch:
    """A batch that may leave now. claimed_at: the stamp that marks its rows as ours."""

    id: int
    job_id: int
    job_type: str
    company_id: int
    source: str
    provider: str
    status: str
    attempt: int
    created_at: int
    batch_key: str | None
    batch_num: int
    first_issued_at: int | None
    queued_at: int | None
    silent_asks: int

    @property
    def never_submitted(self) -> bool:
        """Whether no connector ever took it."""
        return self.status == Batch.PENDING.value


class PendingMail(NamedTuple):
    """A recipient row that waits to be sent.

    generation: how often an admin asked for this mail again. root_batch: the key of the batch that
    first carried it, '' if that is the one it is in.
    """

    id: int
    batch_id: int
    email: str
    role: str
    userid: int
    source_id: int
    mail_key: str
    message_id: str
    tries: int
    last_try: int
    status: Recipient
    generation: int
    root_batch: str
    raw_data: str

    @property
    def data(self) -> Mapping[str, object]:
        """``recipient_data``; read only where it is asked for."""
        found: dict[str, object] = json.loads(self.raw_data)
        return found


def due_batches(
    conn: Connection,
    database: Database,
    *,
    exclude: Collection[int],
    exclude_ways: Collection[tuple[int, str]],
    exclude_sources: Collection[str] = (),
    exclude_companies: Collection[int] = (),
    limit: int,
) -> list[DueBatch]:
    """Batches whose time has come: each company's oldest first, companies in turn.

    exclude: batch ids; exclude_ways: pairs of company and provider; exclude_sources: names;
    exclude_companies: ids. Paused jobs are left out too.
    """
    jobs, batches = database.tables.jobs, database.tables.batches
    turn = (
        func.row_number()
        .over(partition_by=jobs.c.company_id, order_by=(batches.c.next_attempt_at, batches.c.id))
        .label("turn")
    )
    due = (
        select(
            batches.c.id,
            batches.c.job_id,
            batches.c.provider,
            batches.c.status,
            batches.c.attempt,
            batches.c.created_at,
            batches.c.batch_key,
            batches.c.batch_num,
            batches.c.first_issued_at,
            batches.c.queued_at,
            batches.c.silent_asks,
            jobs.c.type.label("job_type"),
            jobs.c.company_id,
            jobs.c.source,
            turn,
        )
        .join(jobs, jobs.c.id == batches.c.job_id)
        .where(
            batches.c.status.in_(DUE),
            batches.c.next_attempt_at <= database.clock(),
            batches.c.id.not_in(list(exclude)),
            tuple_(jobs.c.company_id, batches.c.provider).not_in(list(exclude_ways)),
            jobs.c.source.not_in(list(exclude_sources)),
            jobs.c.company_id.not_in(list(exclude_companies)),
            jobs.c.paused == 0,
        )
        .subquery()
    )
    query = select(due).order_by(due.c.turn, due.c.id).limit(limit)
    return [
        DueBatch(
            id=r.id,
            job_id=r.job_id,
            job_type=r.job_type,
            company_id=r.company_id,
            source=r.source,
            provider=r.provider,
            status=r.status,
            attempt=r.attempt,
            created_at=r.created_at,
            batch_key=r.batch_key,
            batch_num=r.batch_num,
            first_issued_at=r.first_issued_at,
            queued_at=r.queued_at,
            silent_asks=r.silent_asks,
        )
        for r in conn.execute(query)
    ]


def waiting_mails(
    conn: Connection,
    database: Database,
    batch_id: int,
    states: Collection[Recipient] = (Recipient.PENDING,),
) -> list[PendingMail]:
    """The mails of a batch that are in one of ``states``, in their order."""
    r = database.tables.recipients
    query = (
        select(
            r.c.id,
            r.c.email,
            r.c.role,
            r.c.userid,
            r.c.source_id,
            r.c.mail_key,
            r.c.message_id,
            r.c.tries,
            r.c.timemodified,
            func.coalesce(r.c.recipient_data, "{}"),
            r.c.status,
        )
        .where(r.c.batch_id == batch_id, r.c.status.in_([state.value for state in states]))
        .order_by(r.c.id)
    )
    return [
        PendingMail._make((mail_id, batch_id, *rest, Recipient(status), *_repeated(data), data))
        for mail_id, *rest, data, status in conn.execute(query)
    ]


def _repeated(data: str) -> tuple[int, str]:
    """Generation and root_batch out of recipient_data; most mails have neither."""
    if '"generation"' not in data:
        return 0, ""
    fields = json.loads(data)
    return int(fields["generation"]), str(fields.get("root_batch", ""))


def take_batch(
    tx: Transaction, database: Database, batch: DueBatch, batch_key: str, provider: str
) -> bool:
    """Mark a batch ``submitting`` (or leave it ``processing``); False if it changed meanwhile."""
    batches = database.tables.batches
    status = Batch.SUBMITTING if batch.never_submitted else Batch.PROCESSING
    taken = tx.conn.execute(
        update(batches)
        .where(batches.c.id == batch.id, batches.c.status == batch.status)
        .values(
            status=status.value,
            provider=provider,
            batch_key=func.coalesce(batches.c.batch_key, batch_key),
            attempt=batches.c.attempt + 1,
            first_issued_at=func.coalesce(batches.c.first_issued_at, tx.now),
        )
    )
    return bool(taken.rowcount)


def put_back(
    tx: Transaction, database: Database, batch_ids: Collection[int], not_before: int, reason: str
) -> None:
    """A definite refusal: the batches wait until ``not_before`` (Unix seconds)."""
    batches = database.tables.batches
    ids = list(batch_ids)
    tx.conn.execute(
        update(batches)
        .where(batches.c.id.in_(ids), batches.c.status == Batch.SUBMITTING.value)
        .values(status=Batch.PENDING.value)
    )
    tx.conn.execute(
        update(batches)
        .where(batches.c.id.in_(ids))
        .values(next_attempt_at=not_before, error_message=reason or None)
    )


def make_due(tx: Transaction, database: Database, company_id: int, provider: str) -> None:
    """What a company's provider refused may be tried now, whenever it was to be tried again."""
    jobs, batches = database.tables.jobs, database.tables.batches
    theirs = select(jobs.c.id).where(jobs.c.company_id == company_id)
    tx.conn.execute(
        update(batches)
        .where(
            batches.c.job_id.in_(theirs),
            batches.c.provider == provider,
            batches.c.status == Batch.PENDING.value,
            batches.c.next_attempt_at > tx.now,
            batches.c.error_message.is_not(None),
        )
        .values(next_attempt_at=tx.now)
    )


def running_batches(conn: Connection, database: Database, provider: str) -> list[int]:
    """Batches of a provider that have not ended."""
    batches = database.tables.batches
    return list(
        conn.scalars(
            select(batches.c.id).where(
                batches.c.status.in_(RUNNING), batches.c.provider == provider
            )
        )
    )


def recover_interrupted(tx: Transaction, database: Database, batch_ids: Sequence[int]) -> int:
    """Make what was in flight when sending broke off sendable again; returns how many mails.

    Only for a connector that learns outcomes at once (smtp): there at most one mail per
    connection is ``processing``, and it is sent again with the same Message-ID (DESIGN §3). It
    counts as a try, because it may be out: its row is never handed back.
    """
    recipients, batches = database.tables.recipients, database.tables.batches
    freed = 0
    for start in range(0, len(batch_ids), 500):
        page = batch_ids[start : start + 500]
        ids = list(
            tx.conn.scalars(
                select(batches.c.id).where(batches.c.id.in_(page), batches.c.provider == "smtp")
            )
        )
        freed += tx.conn.execute(
            update(recipients)
            .where(
                recipients.c.batch_id.in_(ids),
                recipients.c.status == Recipient.PROCESSING.value,
            )
            .values(
                status=Recipient.PENDING.value,
                tries=recipients.c.tries + 1,
                timemodified=tx.now,
            )
        ).rowcount
        tx.conn.execute(
            update(batches)
            .where(batches.c.id.in_(ids), batches.c.status == Batch.SUBMITTING.value)
            .values(status=Batch.PENDING.value)
        )
        tx.conn.execute(
            update(batches)
            .where(batches.c.id.in_(ids), batches.c.next_attempt_at > tx.now)
            .where(batches.c.status == Batch.PROCESSING.value)
            .values(next_attempt_at=tx.now)
        )
    return freed


def set_due(tx: Transaction, database: Database, batch_id: int, due: int) -> None:
    """When a batch may leave (again), Unix seconds."""
    batches = database.tables.batches
    tx.conn.execute(update(batches).where(batches.c.id == batch_id).values(next_attempt_at=due))
