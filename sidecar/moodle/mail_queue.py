"""Every query on IOMAD's mail queue, ``{email}`` (local/email/db/install.xml)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Function, Select, case, func, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from sidecar.moodle.tables import MoodleTables


class QueueEntry(NamedTuple):
    """What peeking sees of a row; times in Unix seconds."""

    id: int
    templatename: str
    company_id: int
    due: int
    modified: int
    waiting: bool


class QueuedRow(NamedTuple):
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


class QueuedBody(NamedTuple):
    """What dispatch reads of a claimed row; ``sent`` tells whether it is still ours.

    user_exists: its user is there and was not deleted.
    """

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
    user_exists: bool
    user_suspended: bool


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
        QueueEntry(row_id, template or "", max(0, company_id), due, modified, bool(waiting))
        for row_id, template, company_id, due, modified, waiting in conn.execute(query)
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
    conn: Connection,
    tables: MoodleTables,
    up_to: int,
    limit: int,
    without: Collection[tuple[int, str]] = (),
) -> tuple[list[QueueEntry], int]:
    """One slice of the slow walk, downwards from ``up_to``: the waiting rows among ``limit`` ids,
    whether they exist or not, and the id at which the walk goes on (0: it is done).

    without: (company, template) whose rows are left out; the company is greater than 0.
    """
    ids = tables.email.c.id
    lowest = up_to - limit + 1
    found = _read(conn, _slice(tables, lowest, up_to, without))
    return found, int(conn.execute(select(func.max(ids)).where(ids < lowest)).scalar() or 0)


def waiting_above(
    conn: Connection,
    tables: MoodleTables,
    above: int,
    limit: int,
    without: Collection[tuple[int, str]] = (),
) -> tuple[list[QueueEntry], int]:
    """The same upwards; it goes on above the id that is returned."""
    ids = tables.email.c.id
    highest = above + limit
    found = _read(conn, _slice(tables, above + 1, highest, without))
    following = conn.execute(select(func.min(ids)).where(ids > highest)).scalar()
    return found, highest if following is None else int(following) - 1


def _slice(
    tables: MoodleTables, lowest: int, highest: int, without: Collection[tuple[int, str]]
) -> Select[Any]:
    e = tables.email
    query = _entries(tables).where(e.c.id.between(lowest, highest), e.c.sent.is_(None))
    for company, template in without:
        query = query.where(
            or_(
                e.c.companyid != company,
                e.c.templatename != template,
                e.c.templatename.is_(None),
            )
        )
    return query


def waiting_of_users(
    conn: Connection, tables: MoodleTables, user_ids: Collection[int], limit: int = 50
) -> list[tuple[int, int, int, str]]:
    """Unsent rows of users, newest first: id, company, due, subject.

    Reads the whole table, which has no index for it: for a question that an admin asks, not often.
    """
    e = tables.email
    query = (
        select(e.c.id, e.c.companyid, e.c.due, e.c.subject)
        .where(e.c.userid.in_(list(user_ids)), e.c.sent.is_(None))
        .order_by(e.c.id.desc())
        .limit(limit)
    )
    return [(row.id, max(0, row.companyid), row.due, row.subject) for row in conn.execute(query)]


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
            row_id, template or "", max(0, company_id), user_id, course or 0, sender or 0, *rest
        )
        for row_id, template, company_id, user_id, course, sender, *rest in conn.execute(query)
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
    e, u = tables.email, tables.user
    query = (
        select(
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
            func.coalesce(u.c.deleted, 1) == 0,
            func.coalesce(u.c.suspended, 0) != 0,
        )
        .select_from(e.outerjoin(u, u.c.id == e.c.userid))
        .where(e.c.id.in_(list(ids)))
    )
    return {
        row_id: QueuedBody(
            row_id, template or "", max(0, company_id), user_id, course or 0, sender or 0, *rest
        )
        for row_id, template, company_id, user_id, course, sender, *rest in conn.execute(query)
    }


def count_waiting(conn: Connection, tables: MoodleTables, above: int) -> int:
    """How many rows above an id wait."""
    e = tables.email
    return int(
        conn.execute(
            select(func.count()).select_from(e).where(e.c.id > above, e.c.sent.is_(None))
        ).scalar_one()
    )
