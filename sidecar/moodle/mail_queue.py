"""Every query on IOMAD's mail queue, ``{email}`` (local/email/db/install.xml)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Function, Select, case, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from sidecar.moodle.tables import MoodleTables


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """What peeking sees of a row; times in Unix seconds."""

    id: int
    templatename: str
    company_id: int
    due: int
    modified: int
    waiting: bool


@dataclass(frozen=True, slots=True)
class QueuedRow:
    """A row that waits, locked for claiming, without its body."""

    id: int
    templatename: str
    company_id: int
    user_id: int
    course_id: int
    sender_id: int
    subject: str
    headers: str | None
    modified: int
    body_size: int


@dataclass(frozen=True, slots=True)
class QueuedBody:
    """What dispatch reads of a claimed row; ``sent`` tells whether it is still ours."""

    id: int
    templatename: str
    company_id: int
    user_id: int
    course_id: int
    sender_id: int
    subject: str
    body: str
    headers: str | None
    sent: int | None


def _entries(tables: MoodleTables) -> Select[Any]:
    e = tables.email
    return select(
        e.c.id,
        e.c.templatename,
        e.c.companyid,
        e.c.due,
        e.c.modifiedtime,
        e.c.sent.is_(None).label("waiting"),
    )


def _read(conn: Connection, query: Select[Any]) -> list[QueueEntry]:
    return [
        QueueEntry(
            id=row.id,
            templatename=row.templatename or "",
            company_id=max(0, row.companyid),
            due=row.due,
            modified=row.modifiedtime,
            waiting=bool(row.waiting),
        )
        for row in conn.execute(query)
    ]


def entries_above_query(tables: MoodleTables, above: int, limit: int) -> Select[Any]:
    """A primary-key range scan: what lies below ``above`` is not read."""
    e = tables.email
    return _entries(tables).where(e.c.id > above).order_by(e.c.id).limit(limit)


def entries_above(
    conn: Connection, tables: MoodleTables, above: int, limit: int
) -> list[QueueEntry]:
    """All rows, sent or not, with a greater id, in order."""
    return _read(conn, entries_above_query(tables, above, limit))


def entries_by_id(conn: Connection, tables: MoodleTables, ids: Collection[int]) -> list[QueueEntry]:
    """Those of the rows that exist, sent or not."""
    return _read(conn, _entries(tables).where(tables.email.c.id.in_(list(ids))))


def waiting_below(
    conn: Connection, tables: MoodleTables, up_to: int, limit: int
) -> tuple[list[QueueEntry], int]:
    """One slice of the slow walk, downwards from ``up_to``: the waiting rows among the next
    ``limit`` ids, and the id below which the walk goes on (0: it is done)."""
    e = tables.email
    ids = select(e.c.id).where(e.c.id <= up_to).order_by(e.c.id.desc()).limit(limit).subquery()
    lowest = conn.execute(select(func.min(ids.c.id))).scalar()
    if lowest is None:
        return [], 0
    query = _entries(tables).where(e.c.id.between(lowest, up_to), e.c.sent.is_(None))
    return _read(conn, query), int(lowest) - 1


def max_id(conn: Connection, tables: MoodleTables) -> int:
    """The greatest id, 0 for an empty queue."""
    return int(conn.execute(select(func.max(tables.email.c.id))).scalar() or 0)


def read_waiting(
    conn: Connection, tables: MoodleTables, ids: Collection[int], now: int, *, lock: bool
) -> list[QueuedRow]:
    """Re-read rows, only those that still wait and are due. lock: FOR UPDATE."""
    e = tables.email
    query = (
        select(
            e.c.id,
            e.c.templatename,
            e.c.companyid,
            e.c.userid,
            e.c.courseid,
            e.c.senderid,
            e.c.subject,
            e.c.headers,
            e.c.modifiedtime,
            size_in_bytes(conn, e.c.body).label("body_size"),
        )
        .where(e.c.id.in_(list(ids)), e.c.sent.is_(None), e.c.due < now)
        .order_by(e.c.id)
    )
    if lock:
        query = query.with_for_update()
    return [
        QueuedRow(
            id=r.id,
            templatename=r.templatename or "",
            company_id=max(0, r.companyid),
            user_id=r.userid,
            course_id=r.courseid or 0,
            sender_id=r.senderid or 0,
            subject=r.subject,
            headers=r.headers,
            modified=r.modifiedtime,
            body_size=r.body_size,
        )
        for r in conn.execute(query)
    ]


def size_in_bytes(conn: Connection, text: ColumnElement[str]) -> Function[int]:
    """The size of a text in bytes, where the server knows it (SQLite: in characters)."""
    return func.length(text) if conn.dialect.name == "sqlite" else func.octet_length(text)


def mark_claimed(conn: Connection, tables: MoodleTables, ids: Sequence[int], stamp: int) -> int:
    """Mark rows as Moodle marks what it has sent (email_cron); returns how many were marked."""
    e = tables.email
    return conn.execute(
        update(e).where(e.c.id.in_(ids), e.c.sent.is_(None)).values(sent=stamp, modifiedtime=stamp)
    ).rowcount


def give_back(
    conn: Connection, tables: MoodleTables, originals: Mapping[int, int], stamp: int
) -> set[int]:
    """Return rows to Moodle: ``sent`` NULL and the original ``modifiedtime``, where still ours.

    originals: row id → modifiedtime before the claim; returns the ids that went back.
    """
    e = tables.email
    ours = set(
        conn.scalars(
            select(e.c.id).where(e.c.id.in_(list(originals)), e.c.sent == stamp).with_for_update()
        )
    )
    if ours:
        before = case({row_id: originals[row_id] for row_id in ours}, value=e.c.id)
        conn.execute(update(e).where(e.c.id.in_(ours)).values(sent=None, modifiedtime=before))
    return ours


def bodies(conn: Connection, tables: MoodleTables, ids: Collection[int]) -> dict[int, QueuedBody]:
    """Claimed rows by id, with their bodies."""
    e = tables.email
    query = select(
        e.c.id,
        e.c.templatename,
        e.c.companyid,
        e.c.userid,
        e.c.courseid,
        e.c.senderid,
        e.c.subject,
        e.c.body,
        e.c.headers,
        e.c.sent,
    ).where(e.c.id.in_(list(ids)))
    return {
        r.id: QueuedBody(
            id=r.id,
            templatename=r.templatename or "",
            company_id=max(0, r.companyid),
            user_id=r.userid,
            course_id=r.courseid or 0,
            sender_id=r.senderid or 0,
            subject=r.subject,
            body=r.body,
            headers=r.headers,
            sent=r.sent,
        )
        for r in conn.execute(query)
    }


def count_waiting(conn: Connection, tables: MoodleTables, above: int) -> int:
    """How many rows above an id wait."""
    e = tables.email
    return int(
        conn.execute(
            select(func.count()).select_from(e).where(e.c.id > above, e.c.sent.is_(None))
        ).scalar_one()
    )
