"""Queries of the results inbox, ``manireports_cloud_callbacks``."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from sidecar.store.database import Database, Transaction

KEPT_SECONDS = 14 * 86_400
"""How long a processed delivery is kept: by then no provider repeats it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A result as it came, unproven. signed_at: Unix seconds."""

    delivery_id: str
    callback_key: str
    signed_at: int
    payload: str = field(repr=False)
    signature: str
    id: int = 0


def store(tx: Transaction, database: Database, deliveries: Sequence[Delivery]) -> int:
    """Put deliveries into the inbox; returns how many of them were new."""
    c = database.tables.callbacks
    new = 0
    for delivery in deliveries:
        values = {
            "delivery_id": delivery.delivery_id,
            "callback_key": delivery.callback_key,
            "signed_at": delivery.signed_at,
            "payload": delivery.payload,
            "signature": delivery.signature,
            "received_at": tx.now,
        }
        try:
            with tx.conn.begin_nested():
                tx.conn.execute(insert(c).values(values))
        except IntegrityError:
            continue
        new += 1
    return new


def waiting(database: Database, after: int, limit: int) -> list[Delivery]:
    """The oldest deliveries that nobody has settled, with a row id above ``after``."""
    c = database.tables.callbacks
    query = (
        select(c).where(c.c.processed_at.is_(None), c.c.id > after).order_by(c.c.id).limit(limit)
    )
    with database.read() as conn:
        return [_delivery(row) for row in conn.execute(query)]


def named(database: Database, delivery_ids: Collection[str]) -> list[Delivery]:
    """Those of these deliveries that have come, settled or not."""
    c = database.tables.callbacks
    query = select(c).where(c.c.delivery_id.in_(list(delivery_ids))).order_by(c.c.id)
    with database.read() as conn:
        return [_delivery(row) for row in conn.execute(query)]


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        delivery_id=row.delivery_id,
        callback_key=row.callback_key,
        signed_at=row.signed_at,
        payload=row.payload or "",
        signature=row.signature,
        id=row.id,
    )


def mark_processed(
    tx: Transaction, database: Database, delivery_ids: Collection[int], outcome: str
) -> None:
    """Say what became of deliveries, by row id."""
    c = database.tables.callbacks
    tx.conn.execute(
        update(c)
        .where(c.c.id.in_(list(delivery_ids)))
        .values(processed_at=tx.now, outcome=outcome[:50])
    )


def purge(tx: Transaction, database: Database, limit: int = 1000) -> int:
    """Forget old processed deliveries; returns how many."""
    c = database.tables.callbacks
    old = list(
        tx.conn.scalars(select(c.c.id).where(c.c.processed_at < tx.now - KEPT_SECONDS).limit(limit))
    )
    if old:
        tx.conn.execute(delete(c).where(c.c.id.in_(old)))
    return len(old)
