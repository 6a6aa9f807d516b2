"""Moodle's cron locks, taken in the very connection and transaction that claims (DESIGN §3).

Source: mysql_lock_factory.php, postgres_lock_factory.php, db_record_lock_factory.php and
file_lock_factory.php in lib/classes/lock of Moodle 4.3; a lock's type is ``cron``, its resource the
class of the task (lib/classes/cron.php).
"""

import fcntl
import hashlib
import os
import uuid
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Integer, cast, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.sql.elements import ColumnElement

from sidecar.errors import LockBusyError, LockUnusableError
from sidecar.moodle.tables import MoodleTables

RECORD_EXPIRY = 60
"""Seconds after which Moodle may take a record lock of ours whose transaction somehow survived."""


class TaskLock(Protocol):
    """The lock of one scheduled task."""

    def session(self, conn: Connection) -> AbstractContextManager[None]:
        """Hold over one or more transactions of ``conn``, if the lock is of a kind that can be.

        Raises LockBusyError at once if it is busy, LockUnusableError if it cannot be taken safely.
        """

    def transaction(self, conn: Connection) -> AbstractContextManager[None]:
        """Hold inside the open transaction; raises LockBusyError if it is not ours."""


BUSY = "Moodle's cron holds the lock of this queue"


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
            raise LockBusyError(BUSY)
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


class PostgresLock:
    """An advisory lock that lives and dies with the claiming transaction.

    Moodle takes the same lock for its session; PostgreSQL keeps the two apart all the same.
    """

    def __init__(self, dbname: str, prefix: str, task: str) -> None:
        site = zlib.crc32(f"{dbname}:{prefix}".encode())
        resource = hashlib.sha1(f"cron_{task}".encode()).hexdigest()  # noqa: S324
        self.site = site - (1 << 32) if site >= 1 << 31 else site
        self.resource = int(resource[:7], 16)

    @contextmanager
    def session(self, conn: Connection) -> Iterator[None]:  # noqa: ARG002 - as the protocol says
        """Nothing: the lock lives in the transaction."""
        yield

    @contextmanager
    def transaction(self, conn: Connection) -> Iterator[None]:
        """Take without waiting; COMMIT or a rollback frees it."""
        keys = cast(self.site, Integer), cast(self.resource, Integer)
        if not conn.execute(select(func.pg_try_advisory_xact_lock(*keys))).scalar():
            raise LockBusyError(BUSY)
        yield


class RecordLock:
    """The lock_db row, held inside the claiming transaction only.

    clock: SQL for the time in Unix seconds.
    """

    def __init__(self, tables: MoodleTables, task: str, clock: ColumnElement[int]) -> None:
        self._table = tables.lock_db
        self._key = f"cron_{task}"
        self._clock = clock

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
            self._insert(conn)
        now = int(conn.execute(select(self._clock)).scalar_one())
        taken = conn.execute(
            update(table)
            .where(
                table.c.resourcekey == self._key,
                or_(table.c.owner.is_(None), table.c.expires < now),
            )
            .values(owner=owner, expires=now + RECORD_EXPIRY)
        )
        if taken.rowcount != 1:
            raise LockBusyError(BUSY)
        yield
        conn.execute(update(table).where(table.c.owner == owner).values(owner=None, expires=None))

    def _insert(self, conn: Connection) -> None:
        try:
            with conn.begin_nested():
                conn.execute(insert(self._table).values(resourcekey=self._key))
        except IntegrityError:
            raise LockBusyError("Moodle's cron is taking the lock of this queue") from None


class FileLock:
    """flock on Moodle's own lock file, held past COMMIT.

    The file is never made here: one that the web server's user could not write would keep cron
    from its lock for ever.
    """

    def __init__(self, root: Path, task: str) -> None:
        name = hashlib.md5(f"cron_{task}".encode()).hexdigest()  # noqa: S324
        self.path = root / name[:2] / name
        self._held = -1

    @contextmanager
    def session(self, conn: Connection) -> Iterator[None]:
        """Take without waiting; free when no transaction is open any more."""
        handle = self._open()
        try:
            self._take(handle)
            self._held = handle
            yield
        finally:
            try:
                conn.rollback()
            except SQLAlchemyError:
                conn.invalidate()
            self._held = -1
            os.close(handle)

    @contextmanager
    def transaction(self, conn: Connection) -> Iterator[None]:  # noqa: ARG002
        """Make sure that the file we hold is still the one that cron would take."""
        try:
            there = os.path.samestat(os.fstat(self._held), self.path.stat())
        except OSError:
            there = False
        if not there:
            raise LockBusyError(f"the lock file {self.path} was removed while we held it")
        yield

    def _open(self) -> int:
        try:
            try:
                return os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            except PermissionError:  # flock needs no more than reading, but on NFS
                return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise LockUnusableError(
                f"there is no lock file {self.path} yet: Moodle's cron makes it when it runs the"
                " task (is $CFG->file_lock_root the same for cron and for us?)"
            ) from None
        except OSError as error:
            raise LockUnusableError(
                f"the lock file {self.path} cannot be opened ({error.strerror}): let the sidecar's"
                " user read and write it, for example through the web server's group"
            ) from None

    def _take(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockBusyError(BUSY) from None
        except OSError as error:
            raise LockUnusableError(
                f"the lock file {self.path} cannot be locked ({error.strerror}): does its file"
                " system know flock, and may the sidecar's user write the file?"
            ) from None


class NoLock:
    """In place of a lock that we cannot share with cron; ``reason``: why, and what to do."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def session(self, conn: Connection) -> AbstractContextManager[None]:  # noqa: ARG002
        """Raises LockUnusableError."""
        raise LockUnusableError(self.reason)

    transaction = session
