"""Queries of settling reports: the batch that a report names, and what it changes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import case, func, select, update

from sidecar.lifecycle import ENDED, Batch, Recipient
from sidecar.store.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class ReportedBatch:
    """A batch by its key."""

    id: int
    job_id: int
    company_id: int
    provider: str
    created_at: int
    size: int
    """How many mails it has."""


@dataclass(frozen=True, slots=True)
class KnownMail:
    """A mail of a reported batch, as it stands; its row is locked."""

    id: int
    status: Recipient
    tries: int
    error_code: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What a report makes of one mail. tried: whether the ask counts as a try of it."""

    mail_id: int
    status: Recipient
    code: str = ""
    error: str = ""
    message_id: str = ""
    tried: bool = True


def find_batch(tx: Transaction, database: Database, batch_key: str) -> ReportedBatch | None:
    """The batch that carries this key."""
    b, jobs = database.tables.batches, database.tables.jobs
    row = tx.conn.execute(
        select(b.c.id, b.c.job_id, jobs.c.company_id, b.c.provider, b.c.created_at, b.c.email_count)
        .join(jobs, jobs.c.id == b.c.job_id)
        .where(b.c.batch_key == batch_key)
    ).first()
    return ReportedBatch(*row) if row else None


def known_mails(
    tx: Transaction, database: Database, batch: ReportedBatch, mail_keys: Collection[str]
) -> dict[str, KnownMail]:
    """The batch's mails among ``mail_keys``, locked."""
    r = database.tables.recipients
    query = select(r.c.mail_key, r.c.id, r.c.status, r.c.tries, r.c.error_code).where(
        r.c.batch_id == batch.id
    )
    if 2 * len(mail_keys) < batch.size:  # else to read all is cheaper than to look up each
        query = query.where(r.c.mail_key.in_(list(mail_keys)))
    return {
        row.mail_key: KnownMail(row.id, Recipient(row.status), row.tries, row.error_code)
        for row in tx.conn.execute(query.with_for_update())
        if row.mail_key in mail_keys
    }


def mails_at_provider(tx: Transaction, database: Database, batch_id: int) -> list[int]:
    """The mails of a batch that its provider has, locked; their ids."""
    r = database.tables.recipients
    query = select(r.c.id).where(r.c.batch_id == batch_id, r.c.status == Recipient.PROCESSING.value)
    return list(tx.conn.scalars(query.with_for_update()))


def apply_changes(tx: Transaction, database: Database, changes: Sequence[Change]) -> None:
    """Write what is now true; mails of equal fate share a statement."""
    r = database.tables.recipients
    sent = [change for change in changes if change.status is Recipient.SENT]
    if sent:
        message_ids = {change.mail_id: change.message_id for change in sent if change.message_id}
        values: dict[str, object] = {
            "status": Recipient.SENT.value,
            "sent_at": func.coalesce(r.c.sent_at, tx.now),
            "error_code": "",
            "error_message": None,
            "secret": None,
            "timemodified": tx.now,
        }
        if message_ids:
            values["message_id"] = case(message_ids, value=r.c.id, else_=r.c.message_id)
        ids = [change.mail_id for change in sent]
        tx.conn.execute(update(r).where(r.c.id.in_(ids)).values(values))
    for (status, code, error, tried), ids in _by_fate(changes).items():
        values = {
            "status": status.value,
            "error_code": code[:50],
            "error_message": error or None,
            "timemodified": tx.now,
        }
        if status is Recipient.PERMANENTLY_FAILED:  # what was revoked may still go another way
            values["secret"] = None
        if not tried:  # one stays: the mail was with a provider, its row never goes back
            values["tries"] = case((r.c.tries > 1, r.c.tries - 1), else_=r.c.tries)
        tx.conn.execute(update(r).where(r.c.id.in_(ids)).values(values))


Fate = tuple[Recipient, str, str, bool]


def _by_fate(changes: Iterable[Change]) -> Mapping[Fate, list[int]]:
    fates: dict[Fate, list[int]] = {}
    for change in changes:
        if change.status is not Recipient.SENT:
            fate = (change.status, change.code, change.error, change.tried)
            fates.setdefault(fate, []).append(change.mail_id)
    return fates


def hear(
    tx: Transaction,
    database: Database,
    batch_id: int,
    due: int | None,
    waiting: Collection[int] = (),
) -> None:
    """The provider spoke of the batch. due: when to ask again for some of it, Unix seconds.

    waiting: the mails, by id, to ask for then. While the provider still has others, it may fall
    silent before; and others may be due before.
    """
    b, r = database.tables.batches, database.tables.recipients
    queued = b.c.status == Batch.QUEUED.value
    values: dict[str, object] = {
        "silent_asks": 0,
        "status": case((queued, Batch.PROCESSING.value), else_=b.c.status),
    }
    if due is not None:
        has_more = (
            select(r.c.id)
            .where(
                r.c.batch_id == batch_id,
                r.c.status.not_in([state.value for state in ENDED]),
                r.c.id.not_in(list(waiting)),
            )
            .exists()
        )
        earlier = has_more & (b.c.next_attempt_at < due)
        values["next_attempt_at"] = case((earlier, b.c.next_attempt_at), else_=due)
    tx.conn.execute(update(b).where(b.c.id == batch_id).values(values))
