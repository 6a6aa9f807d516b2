"""Queries of what became of mails, one by one; counters and states of batches follow (results)."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    bindparam,
    case,
    false,
    literal_column,
    select,
    update,
)

from sidecar.lifecycle import FORGETTING, RECIPIENT_SOURCES, Recipient
from sidecar.mail import Outcome
from sidecar.store.database import Database, Transaction
from sidecar.store.prepared import Prepared

R = Recipient


def apply_outcomes(
    tx: Transaction, database: Database, outcomes: Sequence[Outcome]
) -> list[Outcome]:
    """Write what is now true of each mail; returns those whose transition is not allowed.

    The common outcomes, ``processing`` and ``sent``, are written together in one statement.
    """
    common = [o for o in outcomes if o.status in (R.PROCESSING, R.SENT) and not o.error]
    refused: list[Outcome] = []
    if common:
        started = [o.mail_id for o in common if o.status is R.PROCESSING]
        sent = [o.mail_id for o in common if o.status is R.SENT]
        statement = _common_outcomes(database, len(started), len(sent))
        ids = dict(zip(_numbered("started", started), started, strict=True))
        ids |= zip(_numbered("sent", sent), sent, strict=True)
        written = statement.run(tx.conn, **ids, now=tx.now)
        if written.rowcount != len(common):
            refused += _not_in(tx.conn, database, R.PROCESSING, common)
            refused += _not_in(tx.conn, database, R.SENT, common)
    for outcome in outcomes:
        if outcome not in common and not _move(tx, database, outcome):
            refused += _not_in(tx.conn, database, outcome.status, [outcome])
    return refused


@lru_cache(maxsize=256)
def _common_outcomes(database: Database, started: int, sent: int) -> Prepared:
    """Sets so many mails to processing and so many to sent, where that is allowed.

    Parameters: started_0 …, sent_0 …, now. The database has been connected to.
    """
    r = database.tables.recipients

    def are(name: str, number: int) -> ColumnElement[bool]:
        ids: list[ColumnElement[int]] = [bindparam(each) for each in _numbered(name, range(number))]
        return r.c.id.in_(ids) if ids else false()

    may_start = _is_among(r.c.status, RECIPIENT_SOURCES[R.PROCESSING])
    may_be_sent = _is_among(r.c.status, RECIPIENT_SOURCES[R.SENT])
    statement = (
        update(r)
        .where(are("started", started) & may_start | are("sent", sent) & may_be_sent)
        .ordered_values(
            (r.c.sent_at, case((may_be_sent, bindparam("now")), else_=r.c.sent_at)),
            (r.c.error_code, case((may_be_sent, ""), else_=r.c.error_code)),
            (r.c.error_message, case((may_be_sent, None), else_=r.c.error_message)),
            (r.c.tries, case((may_be_sent, r.c.tries + 1), else_=r.c.tries)),
            (r.c.secret, case((may_be_sent, None), else_=r.c.secret)),
            (r.c.timemodified, bindparam("now")),
            # The last: MariaDB shows later assignments what earlier ones have set.
            (r.c.status, case((may_be_sent, R.SENT.value), else_=R.PROCESSING.value)),
        )
    )
    return Prepared(statement, database.engine.dialect)


def _is_among(column: Column[str], states: Iterable[Recipient]) -> ColumnElement[bool]:
    """Written into the statement, not bound: it is sent for every mail."""
    names = ", ".join(f"'{name}'" for name in _names(states))
    return column.op("IN", is_comparison=True)(literal_column(f"({names})"))


def _numbered(name: str, each: Sequence[int]) -> list[str]:
    return [f"{name}_{number}" for number in range(len(each))]


def _move(tx: Transaction, database: Database, outcome: Outcome) -> bool:
    """Write one outcome that has a text of its own; whether its transition was allowed."""
    r = database.tables.recipients
    values: dict[str, object] = {
        "status": outcome.status.value,
        "timemodified": tx.now,
        "error_code": outcome.error_code[:50],
        "error_message": outcome.error or None,
    }
    if outcome.status in FORGETTING:
        values["secret"] = None
    if outcome.counted:
        values["tries"] = r.c.tries + 1
    sources = _names(RECIPIENT_SOURCES[outcome.status])
    statement = update(r).where(r.c.id == outcome.mail_id, r.c.status.in_(sources))
    return bool(tx.conn.execute(statement.values(values)).rowcount)


def _names(states: Iterable[Recipient]) -> list[str]:
    return sorted(state.value for state in states)


def _not_in(
    conn: Connection, database: Database, status: Recipient, outcomes: Sequence[Outcome]
) -> list[Outcome]:
    """Those outcomes of this status that the mails themselves do not show."""
    r = database.tables.recipients
    meant = [outcome for outcome in outcomes if outcome.status is status]
    there = set(
        conn.scalars(
            select(r.c.id).where(r.c.id.in_([o.mail_id for o in meant]), r.c.status == status.value)
        )
    )
    return [outcome for outcome in meant if outcome.mail_id not in there]
