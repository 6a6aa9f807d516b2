"""Queries on what pages and commands ask of the leader, and its answers."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select, update

from sidecar.store.database import Database, new_id


@dataclass(frozen=True, slots=True)
class Request:
    """Something asked of the leader. status: new, done or failed."""

    id: int
    action: str
    params: Mapping[str, object]
    status: str
    answer: Mapping[str, object]


def ask(database: Database, action: str, params: Mapping[str, object], by: str) -> int:
    """Leave a request; returns its id."""
    with database.write(None) as tx:
        result = tx.conn.execute(
            insert(database.tables.requests).values(
                action=action,
                params=json.dumps(dict(params)),
                status="new",
                created_by=by[:100],
                created_at=tx.now,
            )
        )
        return new_id(result)


def read_request(database: Database, request_id: int) -> Request | None:
    """One request with its answer so far."""
    table = database.tables.requests
    with database.read() as conn:
        row = conn.execute(select(table).where(table.c.id == request_id)).first()
    return _request(row) if row else None


def new_requests(database: Database) -> list[Request]:
    """Requests that wait for an answer, oldest first."""
    table = database.tables.requests
    with database.read() as conn:
        rows = conn.execute(
            select(table).where(table.c.status == "new").order_by(table.c.id).limit(50)
        ).all()
    return [_request(row) for row in rows]


def waits(database: Database, leave: Collection[str]) -> bool:
    """Whether a request waits whose action is not among ``leave``."""
    table = database.tables.requests
    query = select(table.c.id).where(table.c.status == "new", table.c.action.not_in(list(leave)))
    with database.read() as conn:
        return conn.execute(query.limit(1)).first() is not None


def answer(
    database: Database, token: str, request_id: int, answer: Mapping[str, object], ok: bool
) -> None:
    """Answer a request."""
    table = database.tables.requests
    with database.write(token) as tx:
        tx.conn.execute(
            update(table)
            .where(table.c.id == request_id, table.c.status == "new")
            .values(
                status="done" if ok else "failed",
                answer=json.dumps(dict(answer)),
                answered_at=tx.now,
            )
        )


def _request(row: Row[Any]) -> Request:
    return Request(
        id=row.id,
        action=row.action,
        params=_object(row.params),
        status=row.status,
        answer=_object(row.answer),
    )


def _object(text: str | None) -> Mapping[str, object]:
    """A JSON object; whatever else a page may have written counts as empty."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
