"""The one way to the site's database: short reads, and writes that the lease guards."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Connection,
    CursorResult,
    Integer,
    bindparam,
    cast,
    extract,
    func,
    inspect,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.elements import ColumnElement

from sidecar.errors import DatabaseError, LeaseLostError, SchemaMissingError
from sidecar.store import engines
from sidecar.store.engines import FAMILIES, connect_to, reason_of
from sidecar.store.prepared import Prepared
from sidecar.store.tables import Tables, our_tables


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
                f"database_url: {family} is not supported; use MariaDB, MySQL or PostgreSQL"
                " (sqlite: demo only)"
            )
        self.prefix = prefix
        self.tables: Tables = our_tables(prefix)
        self.is_sqlite = family == "sqlite"
        self.engine = connect_to(self.url)
        self._lease_check: Prepared | None = None

    def close(self) -> None:
        """Let go of every pooled connection."""
        self.engine.dispose()

    def connections(self) -> tuple[int, int, int]:
        """Pooled connections in use, those at rest, and the most that there may be."""
        pool = self.engine.pool
        if not isinstance(pool, QueuePool):
            return 0, 0, 0
        return pool.checkedout(), pool.checkedin(), engines.POOL_LIMIT

    def clock(self) -> ColumnElement[int]:
        """SQL for the database's clock in Unix seconds."""
        if self.is_sqlite:
            return cast(func.strftime("%s", "now"), Integer)
        if self.url.get_backend_name() == "postgresql":
            seconds = extract("epoch", func.statement_timestamp())
            return cast(func.floor(seconds), BigInteger)
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
        if self._lease_check is None:
            self._lease_check = self._prepare_lease_check(conn)
        row = self._lease_check.run(conn, token=token).first()
        if row is None:
            raise LeaseLostError
        return Transaction(conn, int(row[0]))

    def _prepare_lease_check(self, conn: Connection) -> Prepared:
        sidecar = self.tables.sidecar
        query = (
            select(self.clock())
            .select_from(sidecar)
            .where(sidecar.c.lease_token == bindparam("token"))
            .where(sidecar.c.lease_expires >= self.clock())
            .with_for_update(read=True)
        )
        return Prepared(query, conn.dialect)

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


def any_of(column: ColumnElement[int], ids: Iterable[int]) -> ColumnElement[bool]:
    """``column IN (ids)`` for any number of ids.

    They are written into the statement, because PostgreSQL takes at most 65,535 bound values.
    """
    return column.in_(bindparam(None, list(ids), expanding=True, literal_execute=True))


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLAlchemy's errors into DatabaseError, without the values."""
    try:
        yield
    except SQLAlchemyError as error:
        raise DatabaseError(f"database: {reason_of(error)}") from error
