"""Queries on the passwords of new users that are kept, encrypted, until their mail is sent."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, select, update

from sidecar.lifecycle import Recipient
from sidecar.store.database import Database, Transaction

MARK = "password_mark"
"""Key of ``recipient_data``: by it ``user.password`` is recognised as the hash that we stored."""

_WAITS = (Recipient.PENDING.value, Recipient.RETRY_PENDING.value, Recipient.FAILED.value)
_MAY_ARRIVE = (Recipient.PROCESSING.value, Recipient.UNKNOWN.value, Recipient.SENT.value)


@dataclass(frozen=True, slots=True)
class Issued:
    """A user to whom we gave a password. mark: see MARK."""

    source_id: int
    user_id: int
    mark: str


def read_secrets(
    conn: Connection, database: Database, mail_ids: Collection[int]
) -> dict[int, str | None]:
    """Mail → its encrypted password, None if that is gone."""
    r = database.tables.recipients
    query = select(r.c.id, r.c.secret).where(r.c.id.in_(list(mail_ids)))
    return {row.id: row.secret for row in conn.execute(query)}


def issued(
    conn: Connection, database: Database, source: str, source_ids: Collection[int]
) -> list[Issued]:
    """The users behind these rows of a source."""
    r = database.tables.recipients
    query = select(r.c.source_id, r.c.userid, r.c.recipient_data).where(
        r.c.source == source, r.c.source_id.in_(list(source_ids)), r.c.retry_of.is_(None)
    )
    return [
        Issued(row.source_id, row.userid, str(json.loads(row.recipient_data or "{}").get(MARK)))
        for row in conn.execute(query)
    ]


def follow(conn: Connection, database: Database, source: str, new_ids: Mapping[int, int]) -> None:
    """Rows that were handed back wait under new ids: their mails follow (old → new).

    So they stay known, and are Moodle's for good.
    """
    if new_ids:
        r = database.tables.recipients
        conn.execute(
            update(r)
            .where(r.c.source == source, r.c.source_id.in_(list(new_ids)))
            .values(source_id=case(dict(new_ids), value=r.c.source_id))
        )


@dataclass(frozen=True, slots=True)
class Expired:
    """A mail whose password was kept long enough."""

    mail_id: int
    batch_id: int
    source_id: int


def expired(
    tx: Transaction, database: Database, source: str, claimed_before: int, limit: int
) -> list[Expired]:
    """Mails that wait or failed, claimed before a time (Unix seconds), locked; never one of a row
    of which a mail may have arrived."""
    r, b = database.tables.recipients, database.tables.batches
    other = r.alias("other")
    out = (
        select(other.c.id)
        .where(
            other.c.source == r.c.source,
            other.c.source_id == r.c.source_id,
            other.c.source_stamp == r.c.source_stamp,
            other.c.status.in_(_MAY_ARRIVE),
        )
        .exists()
    )
    query = (
        select(r.c.id, r.c.batch_id, r.c.source_id)
        .join(b, b.c.id == r.c.batch_id)
        .where(
            r.c.source == source,
            r.c.secret.is_not(None),
            r.c.status.in_(_WAITS),
            b.c.created_at < claimed_before,
            ~out,
        )
        .order_by(r.c.id)
        .limit(limit)
        .with_for_update(of=r)
    )
    return [Expired(*row) for row in tx.conn.execute(query)]


def end_expired(
    tx: Transaction, database: Database, mail_ids: Sequence[int], status: Recipient, reason: str
) -> None:
    """These mails are not sent any more, and their passwords are gone."""
    r = database.tables.recipients
    if mail_ids:
        tx.conn.execute(
            update(r)
            .where(r.c.id.in_(mail_ids))
            .values(
                status=status.value,
                secret=None,
                error_code="expired",
                error_message=reason,
                timemodified=tx.now,
            )
        )


def forget_uncertain(tx: Transaction, database: Database, source: str, claimed_before: int) -> None:
    """Passwords of mails that may have arrived, claimed before a time, are not kept longer."""
    r, b = database.tables.recipients, database.tables.batches
    old = select(b.c.id).where(b.c.created_at < claimed_before)
    tx.conn.execute(
        update(r)
        .where(
            r.c.source == source,
            r.c.secret.is_not(None),
            r.c.status == Recipient.UNKNOWN.value,
            r.c.batch_id.in_(old),
        )
        .values(secret=None)
    )
