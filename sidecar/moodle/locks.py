"""Moodle's cron locks, taken in the very connection and transaction that claims (DESIGN §3).

Source: lib/classes/lock/mysql_lock_factory.php and db_record_lock_factory.php of Moodle 4.3;
names and behaviour as measured in FACTS §6.
"""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sqlalchemy import Connection, func, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from sidecar.errors import LockBusyError, LockUnusableError
from sidecar.moodle.tables import MoodleTables

RECORD_EXPIRY = 60
"""Seconds after which Moodle may take a record lock of ours whose transaction somehow survived."""


class TaskLock(Protocol):
    """The lock of one scheduled task."""

    def session(self, conn: Connection) -> AbstractContextManager[None]:
        """Hold over one or more transactions of ``conn``; raises LockBusyError at once if busy."""

    def transaction(self, conn: Connection) -> AbstractContextManager[None]:
        """Hold inside the open transaction; raises LockBusyError if it is not ours."""


class MysqlLock:
    """GET_LOCK on the claiming connection; RELEASE_LOCK after COMMIT."""

    def __init__(self, dbname: str, prefix: str, task: str) -> None:
        self.name = hashlib.sha1(f"{dbname}:{prefix}_cron_{task}".encode()).hexdigest()  # noqa: S324

    @contextmanager
    def session(self, conn: Connection) -> Iterator[None]:
        """Take without waiting; free after the last commit."""
        taken = conn.execute(select(func.get_lock(self.name, 0))).scalar()
        conn.commit()
        if taken != 1:
            raise LockBusyError("Moodle's cron holds the lock of this queue")
        try:
            yield
        finally:
            self._release(conn)

    def _release(self, conn: Connection) -> None:
        try:
            conn.rollback()
            conn.execute(select(func.release_lock(self.name)))
            conn.commit()
        except SQLAlchemyError:
            conn.invalidate()

    @contextmanager
    def transaction(self, conn: Connection) -> Iterator[None]:
        """Make sure that the server still counts this connection as the holder."""
        mine = conn.execute(select(func.is_used_lock(self.name) == func.connection_id())).scalar()
        if not mine:
            raise LockBusyError("the lock of this queue was lost with its connection")
        yield


class RecordLock:
    """The lock_db row, held inside the claiming transaction only."""

    def __init__(self, tables: MoodleTables, task: str) -> None:
        self._table = tables.lock_db
        self._key = f"cron_{task}"

    @contextmanager
    def session(self, conn: Connection) -> Iterator[None]:  # noqa: ARG002 - as the protocol says
        """Nothing: the lock lives in the transaction."""
        yield

    @contextmanager
    def transaction(self, conn: Connection) -> Iterator[None]:
        """Take the row, and give it back before COMMIT; a rollback gives it back as well."""
        table, owner = self._table, str(uuid.uuid4())
        there = conn.execute(select(table.c.id).where(table.c.resourcekey == self._key)).first()
        if there is None:
            conn.execute(insert(table).values(resourcekey=self._key))
        now = _clock(conn)
        taken = conn.execute(
            update(table)
            .where(
                table.c.resourcekey == self._key,
                or_(table.c.owner.is_(None), table.c.expires < now),
            )
            .values(owner=owner, expires=now + RECORD_EXPIRY)
        )
        if taken.rowcount != 1:
            raise LockBusyError("Moodle's cron holds the lock of this queue")
        yield
        conn.execute(update(table).where(table.c.owner == owner).values(owner=None, expires=None))


def _clock(conn: Connection) -> int:
    if conn.dialect.name == "sqlite":
        return int(conn.execute(select(func.strftime("%s", "now"))).scalar_one())
    return int(conn.execute(select(func.unix_timestamp())).scalar_one())


def task_lock(
    factory: str, tables: MoodleTables, *, dialect: str, dbname: str, prefix: str, task: str
) -> TaskLock:
    """The lock that this site's cron takes for ``task``.

    factory: ``$CFG->lock_factory``; '' and 'auto' mean Moodle's choice for the database. Raises
    LockUnusableError for one that cannot be shared.
    """
    name = factory.strip("\\").rpartition("\\")[2]
    if name in ("", "auto"):
        name = "db_record_lock_factory" if dialect == "sqlite" else "mysql_lock_factory"
    if name == "mysql_lock_factory" and dialect != "sqlite":
        return MysqlLock(dbname, prefix, task)
    if name == "db_record_lock_factory":
        return RecordLock(tables, task)
    raise LockUnusableError(
        f"lock factory {factory!r} ($CFG->lock_factory) is not supported yet:"
        " mail stays with Moodle"
    )
