"""Every query on new users whose password core's task would make and mail.

Source: send_new_user_passwords_task and setnew_password_and_mail, set_user_preference and
set_cache_flag of Moodle 4.3 (FACTS §2b, §5).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    String,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from sidecar.moodle.tables import EXTRA_NAMES, MoodleTables, has_iomad

WAITS = "create_password"
"""The preference, '1', of a user who waits for a password."""

FORCE = "auth_forcepasswordchange"
CHANGED = "userpreferenceschanged"
"""Type of the cache flag that has other sessions read a user's preferences anew."""

BOUNCED, SENT = "email_bounce_count", "email_send_count"

PAGE = 5_000


@dataclass(frozen=True, slots=True)
class WaitingUser:
    """What peeking sees. id: of the preference; times in Unix seconds."""

    id: int
    user_id: int
    created: int
    modified: int


@dataclass(frozen=True, slots=True)
class NewUser:
    """The part of ``{user}`` that making and mailing a password needs."""

    id: int
    auth: str
    username: str
    password: str
    email: str
    lang: str
    mailformat: int
    maildisplay: int
    mnethostid: int
    created: int
    deleted: bool
    suspended: bool
    names: Mapping[str, str]


def waiting_query(tables: MoodleTables, above: int, limit: int) -> Select[Any]:
    """By the index on the preference's name; those whom core's task would pass over are not in."""
    p, u = tables.user_preferences, tables.user
    return (
        select(p.c.id, p.c.userid, u.c.timecreated, u.c.timemodified)
        .join(u, u.c.id == p.c.userid)
        .where(*_waits(tables), p.c.id > above)
        .order_by(p.c.id)
        .limit(limit)
    )


def waiting(conn: Connection, tables: MoodleTables, limit: int) -> list[WaitingUser]:
    """Those who wait, at most ``limit``, in order."""
    found: list[WaitingUser] = []
    while len(found) < limit:
        above = found[-1].id if found else 0
        size = min(PAGE, limit - len(found))
        rows = conn.execute(waiting_query(tables, above, size)).all()
        found += [WaitingUser(r.id, r.userid, r.timecreated, r.timemodified) for r in rows]
        if len(rows) < size:
            break
    return found


def read_waiting(
    conn: Connection, tables: MoodleTables, ids: Collection[int], *, lock: bool
) -> dict[int, NewUser]:
    """Preference → user, of those who still wait. lock: FOR UPDATE."""
    p, u = tables.user_preferences, tables.user
    query = (
        select(p.c.id.label("preference"), *_columns(tables))
        .join(u, u.c.id == p.c.userid)
        .where(*_waits(tables), p.c.id.in_(list(ids)))
        .order_by(p.c.id)
    )
    if lock:
        query = query.with_for_update()
    return {row["preference"]: _user(row) for row in conn.execute(query).mappings()}


def still_waiting(
    conn: Connection, tables: MoodleTables, ids: Collection[int]
) -> set[tuple[int, int]]:
    """(preference, when its user was created) of those that are there, served by core or not."""
    p, u = tables.user_preferences, tables.user
    query = (
        select(p.c.id, u.c.timecreated)
        .join(u, u.c.id == p.c.userid)
        .where(p.c.id.in_(list(ids)), p.c.name == WAITS)
    )
    return {(row.id, row.timecreated) for row in conn.execute(query)}


def read_users(
    conn: Connection, tables: MoodleTables, ids: Iterable[int], *, lock: bool = False
) -> dict[int, NewUser]:
    """Those of the users that exist. lock: FOR UPDATE."""
    query = select(*_columns(tables)).where(tables.user.c.id.in_(sorted(set(ids))))
    if lock:
        query = query.with_for_update()
    return {row["id"]: _user(row) for row in conn.execute(query).mappings()}


def max_id(conn: Connection, tables: MoodleTables) -> int:
    """The greatest preference by which a user waits, 0 for none."""
    p = tables.user_preferences
    return int(conn.execute(select(func.max(p.c.id)).where(p.c.name == WAITS)).scalar() or 0)


def companies_of(
    conn: Connection, tables: MoodleTables, user_ids: Collection[int]
) -> dict[int, int]:
    """User → the company that the user joined first; empty on a Moodle without IOMAD."""
    found: dict[int, int] = {}
    if not user_ids or not has_iomad(conn, tables):
        return found
    cu, ids = tables.company_users, sorted(user_ids)
    for start in range(0, len(ids), PAGE):
        page = cu.c.userid.in_(ids[start : start + PAGE])
        for row in conn.execute(select(cu.c.userid, cu.c.companyid).where(page).order_by(cu.c.id)):
            found.setdefault(row.userid, row.companyid)
    return found


def bounces(
    conn: Connection, tables: MoodleTables, user_ids: Collection[int]
) -> dict[int, tuple[int, int]]:
    """User → mails that bounced, mails that were sent; only for those with a bounce."""
    p = tables.user_preferences
    query = select(p.c.userid, p.c.name, p.c.value).where(
        p.c.userid.in_(list(user_ids)), p.c.name.in_((BOUNCED, SENT))
    )
    counts: dict[int, dict[str, int]] = {}
    for row in conn.execute(query):
        number = int(row.value) if row.value.isdecimal() else 0
        counts.setdefault(row.userid, {})[row.name] = number
    return {user: (c[BOUNCED], c.get(SENT, 0)) for user, c in counts.items() if c.get(BOUNCED)}


def store_passwords(
    conn: Connection,
    tables: MoodleTables,
    preferences: Sequence[int],
    hashes: Mapping[int, str],
    now: int,
    session_timeout: int,
) -> int:
    """Do what core's task does for each user: the hash, the two preferences, the cache flag.

    preferences: ids of the ``create_password`` of these users; hashes: user → hash. Returns how
    many preferences were there to be deleted.
    """
    u, p = tables.user, tables.user_preferences
    users = list(hashes)
    conn.execute(update(u).where(u.c.id.in_(users)).values(password=case(hashes, value=u.c.id)))
    gone = conn.execute(
        delete(p).where(p.c.id.in_(preferences), p.c.name == WAITS, p.c.value == "1")
    ).rowcount
    set_preferences(conn, tables, users, FORCE, now, session_timeout)
    return gone


def set_preferences(
    conn: Connection,
    tables: MoodleTables,
    users: Sequence[int],
    name: str,
    now: int,
    session_timeout: int,
) -> None:
    """Set a preference of users to '1', as set_user_preference does. now: Unix seconds."""
    u, p, f = tables.user, tables.user_preferences, tables.cache_flags
    chosen = u.c.id.in_(users)
    conn.execute(update(p).where(p.c.userid.in_(users), p.c.name == name).values(value="1"))
    has = select(p.c.id).where(p.c.userid == u.c.id, p.c.name == name).exists()
    conn.execute(
        insert(p).from_select(
            ["userid", "name", "value"],
            select(u.c.id, literal(name), literal("1")).where(chosen, ~has),
        )
    )
    # mark_user_preferences_changed
    expiry = now + session_timeout
    mine = (f.c.flagtype == CHANGED) & f.c.name.in_([str(user) for user in users])
    flagged = {int(name) for name in conn.scalars(select(f.c.name).where(mine))}
    if flagged:
        conn.execute(update(f).where(mine).values(value="1", timemodified=now, expiry=expiry))
    fresh = u.c.id.in_([user for user in users if user not in flagged])
    values: list[Any] = [cast(u.c.id, String(255))]
    values += map(literal, (CHANGED, now, "1", expiry))
    conn.execute(
        insert(f).from_select(
            ["name", "flagtype", "timemodified", "value", "expiry"], select(*values).where(fresh)
        )
    )


def preferences(
    conn: Connection, tables: MoodleTables, users: Collection[int], name: str
) -> dict[int, int]:
    """User → the id of a preference, where the user has it."""
    p = tables.user_preferences
    query = select(p.c.userid, p.c.id).where(p.c.userid.in_(list(users)), p.c.name == name)
    return {row.userid: row.id for row in conn.execute(query)}


def _waits(tables: MoodleTables) -> tuple[Any, ...]:
    """Whom core's task would serve."""
    p, u = tables.user_preferences, tables.user
    return (
        p.c.name == WAITS,
        p.c.value == "1",
        u.c.email != "",
        u.c.suspended == 0,
        u.c.auth != "nologin",
        u.c.deleted == 0,
    )


_PLAIN = ("auth", "username", "password", "email", "lang", "mailformat", "maildisplay")


def _columns(tables: MoodleTables) -> list[Any]:
    names = ("id", *_PLAIN, "mnethostid", "timecreated", "deleted", "suspended")
    return [tables.user.c[name] for name in (*names, "firstname", "lastname", *EXTRA_NAMES)]


def _user(row: RowMapping) -> NewUser:
    return NewUser(
        id=row["id"],
        **{name: row[name] for name in _PLAIN},
        mnethostid=row["mnethostid"],
        created=row["timecreated"],
        deleted=bool(row["deleted"]),
        suspended=bool(row["suspended"]),
        names={name: row[name] or "" for name in ("firstname", "lastname", *EXTRA_NAMES)},
    )
