"""Queries of settling reports: the batch that a report names, and what it changes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, String, case, func, select, update

from sidecar.lifecycle import ENDED, Batch, Recipient
from sidecar.store.database import Database, Transaction
from sidecar.store.listed import listed, rows_json


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


def find_batches(
    tx: Transaction, database: Database, batch_keys: Collection[str]
) -> dict[str, ReportedBatch]:
    """The batches that carry these keys, by key."""
    b, jobs = database.tables.batches, database.tables.jobs
    query = (
        select(
            b.c.batch_key,
            b.c.id,
            b.c.job_id,
            jobs.c.company_id,
            b.c.provider,
            b.c.created_at,
            b.c.email_count,
        )
        .join(jobs, jobs.c.id == b.c.job_id)
        .where(b.c.batch_key.in_(list(batch_keys)))
    )
    return {key: ReportedBatch(*batch) for key, *batch in tx.conn.execute(query)}


def known_mails(
    tx: Transaction, database: Database, told: Mapping[ReportedBatch, Collection[str]]
) -> dict[int, dict[str, KnownMail]]:
    """The mails of these batches that are told of, locked; by batch id and mail_key."""
    r = database.tables.recipients
    known: dict[int, dict[str, KnownMail]] = {batch.id: {} for batch in told}
    keys = {batch.id: mail_keys for batch, mail_keys in told.items()}
    query = select(r.c.batch_id, r.c.mail_key, r.c.id, r.c.status, r.c.tries, r.c.error_code).where(
        r.c.batch_id.in_(sorted(known))
    )
    named = {key for mail_keys in keys.values() for key in mail_keys}
    if 2 * len(named) < sum(batch.size for batch in told):  # else reading all is cheaper
        query = query.where(r.c.mail_key.in_(sorted(named)))
    for batch_id, key, mail_id, status, tries, code in tx.conn.execute(query.with_for_update()):
        if key in keys[batch_id]:
            known[batch_id][key] = KnownMail(mail_id, Recipient(status), tries, code)
    return known


def mails_at_provider(tx: Transaction, database: Database, batch_id: int) -> list[int]:
    """The mails of a batch that its provider has, locked; their ids."""
    r = database.tables.recipients
    query = select(r.c.id).where(r.c.batch_id == batch_id, r.c.status == Recipient.PROCESSING.value)
    return list(tx.conn.scalars(query.with_for_update()))


def apply_changes(tx: Transaction, database: Database, changes: Sequence[Change]) -> None:
    """Write what is now true; mails of equal fate share a statement."""
    _apply_sent(tx, database, [change for change in changes if change.status is Recipient.SENT])
    r = database.tables.recipients
    for (status, code, error, tried), ids in _by_fate(changes).items():
        values: dict[str, object] = {
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


def _apply_sent(tx: Transaction, database: Database, sent: Iterable[Change]) -> None:
    r = database.tables.recipients
    values: dict[str, object] = {
        "status": Recipient.SENT.value,
        "sent_at": func.coalesce(r.c.sent_at, tx.now),
        "error_code": "",
        "error_message": None,
        "secret": None,
        "timemodified": tx.now,
    }
    named, nameless = [], []
    for change in sent:
        if change.message_id:
            named.append((change.mail_id, change.message_id))
        else:
            nameless.append(change.mail_id)
    if named:
        told = listed("told", id=BigInteger(), message_id=String(255))
        values_of = values | {"message_id": told.c.message_id}
        statement = update(r).where(r.c.id == told.c.id).values(values_of)
        tx.conn.execute(statement, {"told": rows_json(named)})
    if nameless:
        tx.conn.execute(update(r).where(r.c.id.in_(nameless)).values(values))


Fate = tuple[Recipient, str, str, bool]


def _by_fate(changes: Iterable[Change]) -> Mapping[Fate, list[int]]:
    fates: dict[Fate, list[int]] = {}
    for change in changes:
        if change.status is not Recipient.SENT:
            fate = (change.status, change.code, change.error, change.tried)
            fates.setdefault(fate, []).append(change.mail_id)
    return fates


def hear(tx: Transaction, database: Database, batch_ids: Collection[int]) -> None:
    """The provider spoke of these batches, and wants to be asked for none of it again."""
    b = database.tables.batches
    tx.conn.execute(update(b).where(b.c.id.in_(sorted(batch_ids))).values(_heard(database)))


def hear_later(
    tx: Transaction, database: Database, batch_id: int, due: int, waiting: Collection[int]
) -> None:
    """The provider spoke of the batch. due: when to ask again for some of it, Unix seconds.

    waiting: the mails, by id, to ask for then. While the provider still has others, it may fall
    silent before; and others may be due before.
    """
    b, r = database.tables.batches, database.tables.recipients
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
    next_attempt_at = case((earlier, b.c.next_attempt_at), else_=due)
    values = _heard(database) | {"next_attempt_at": next_attempt_at}
    tx.conn.execute(update(b).where(b.c.id == batch_id).values(values))


def _heard(database: Database) -> dict[str, object]:
    b = database.tables.batches
    queued = b.c.status == Batch.QUEUED.value
    return {
        "silent_asks": 0,
        "status": case((queued, Batch.PROCESSING.value), else_=b.c.status),
    }
