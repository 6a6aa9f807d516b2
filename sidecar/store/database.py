"""The one way to the site's database: short reads, and writes that the lease guards."""

import math
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    CursorResult,
    Engine,
    Integer,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    inspect,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.sql.elements import ColumnElement

from sidecar.errors import DatabaseError, LeaseLostError, SchemaMissingError
from sidecar.store.tables import Tables, our_tables

LOCK_WAIT_SECONDS = 10
"""How long a transaction waits for a row that Moodle has locked, before it is given up."""

IDLE_SECONDS = 15
"""How long the server bears a transaction of ours in which nothing happens, before it rolls it
back: a process that is frozen inside one must not keep the lease row locked from the next leader.
MySQL knows only a limit for every idle connection (``wait_timeout``)."""

RESTED_SECONDS = 1.0
"""After so long a pooled connection is asked whether it still lives, before it is used."""

FAMILIES = ("mysql", "mariadb", "sqlite")


@dataclass(frozen=True, slots=True)
class Transaction:
    """An open transaction; ``now`` is the database's clock in Unix seconds when it began."""

    conn: Connection
    now: int


class Database:
    """Connections to the site's database, and our tables in it.

    Every transaction is READ COMMITTED. Error messages never show values, because values can be
    passwords and mail bodies.
    """

    def __init__(self, url: str | URL, prefix: str) -> None:
        self.url = make_url(url)
        family = self.url.get_backend_name()
        if family not in FAMILIES:
            raise DatabaseError(
                f"database_url: {family} is not supported; use MariaDB or MySQL (sqlite: demo only)"
            )
        self.prefix = prefix
        self.tables: Tables = our_tables(prefix)
        self.is_sqlite = family == "sqlite"
        sidecar = self.tables.sidecar
        self._lease_check = (
            select(self.clock())
            .select_from(sidecar)
            .where(sidecar.c.lease_token == bindparam("token"))
            .where(sidecar.c.lease_expires >= self.clock())
            .with_for_update(read=True)
        )
        self.engine = _sqlite(self.url) if self.is_sqlite else _mariadb(self.url)

    def close(self) -> None:
        """Let go of every pooled connection."""
        self.engine.dispose()

    def clock(self) -> ColumnElement[int]:
        """SQL for the database's clock in Unix seconds."""
        if self.is_sqlite:
            return cast(func.strftime("%s", "now"), Integer)
        return func.unix_timestamp()

    def now(self, conn: Connection) -> int:
        """The database's clock, Unix seconds."""
        return int(conn.execute(select(self.clock())).scalar_one())

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; raises DatabaseError."""
        with translated(), self.engine.connect() as conn:
            yield conn

    @contextmanager
    def write(self, token: str | None) -> Iterator[Transaction]:
        """One transaction, committed at the end, guarded by the lease.

        token: the lease token; the lease row is locked first, and the transaction is refused
        with LeaseLostError if the lease is not held (DESIGN §3 Leadership). ``None`` writes
        without a lease: only for what needs no leader. Raises DatabaseError.
        """
        with translated(), self.connection_for_writing() as conn, conn.begin():
            yield self.enter(conn, token)

    def connection_for_writing(self) -> Connection:
        """A connection whose transactions may write (SQLite: takes the writer's place at once)."""
        return self.engine.connect().execution_options(sidecar_write=True)

    def enter(self, conn: Connection, token: str | None) -> Transaction:
        """Check the lease inside an open transaction and read the clock."""
        if token is None:
            return Transaction(conn, self.now(conn))
        row = conn.execute(self._lease_check, {"token": token}).first()
        if row is None:
            raise LeaseLostError
        return Transaction(conn, int(row[0]))

    def has_schema(self) -> bool:
        """Whether our tables exist."""
        with self.read() as conn:
            return inspect(conn).has_table(self.tables.sidecar.name)

    def require_schema(self) -> None:
        """Raise SchemaMissingError unless our tables exist."""
        if not self.has_schema():
            raise SchemaMissingError


def new_id(result: CursorResult[Any]) -> int:
    """The id that an INSERT of one row got."""
    key = result.inserted_primary_key
    if key is None:
        raise DatabaseError("database: an INSERT returned no id")
    return int(key[0])


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLAlchemy's errors into DatabaseError, without the values."""
    try:
        yield
    except SQLAlchemyError as error:
        original = getattr(error, "orig", None)
        raise DatabaseError(f"database: {original or error}") from error


def _mariadb(url: URL) -> Engine:
    url = url.set(drivername="mysql+mysqldb")
    if "charset" not in url.query:
        url = url.update_query_dict({"charset": "utf8mb4"})
    engine = create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_recycle=300,
        pool_reset_on_return=None,
        pool_size=5,
        max_overflow=15,
        pool_timeout=30,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 10,
            "read_timeout": 60,
            "write_timeout": 60,
            "init_command": f"SET SESSION innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}",
        },
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        is_mariadb = "mariadb" in connection.get_server_info().lower()
        limit = "idle_transaction_timeout" if is_mariadb else "wait_timeout"
        with closing(connection.cursor()) as cursor:
            cursor.execute(f"SET SESSION {limit} = {IDLE_SECONDS}")

    @event.listens_for(engine, "checkin")
    def rest(_connection: Any, record: Any) -> None:
        record.info["resting_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def wake(connection: Any, record: Any, _proxy: object) -> None:
        """Ask a connection that has rested whether it still lives; one just used surely does."""
        if time.monotonic() - record.info.get("resting_since", math.inf) > RESTED_SECONDS:
            try:
                connection.ping()
            except connection.Error as error:
                raise DisconnectionError from error

    return engine


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        writes = conn.get_execution_options().get("sidecar_write", False)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
