"""How to connect to each kind of database: the limits and guarantees that all of them share.

Every transaction is READ COMMITTED, waits only so long for a row that Moodle has locked, and ends
by the server's hand when our process stands still in the middle of it.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError

from sidecar.errors import DatabaseError

LOCK_WAIT_SECONDS = 10
"""How long a transaction waits for a row that Moodle has locked, before it is given up."""

IDLE_SECONDS = 15
"""How long the server bears a transaction of ours in which nothing happens, before it rolls it
back: a process that is frozen inside one must not keep the lease row locked from the next leader.
MySQL knows only a limit for every idle connection (``wait_timeout``)."""

STATEMENT_SECONDS = 45
"""How long PostgreSQL works on one statement. It notices only afterwards that its client is dead,
and within 60 s Moodle's task has to get the lock that a killed process held (DESIGN §3)."""

RESTED_SECONDS = 1.0
"""After so long a pooled connection is asked whether it still lives, before it is used."""

FAMILIES = ("mysql", "mariadb", "postgresql", "sqlite")

PORTS: Mapping[str, int] = MappingProxyType({"mysql": 3306, "mariadb": 3306, "postgresql": 5432})
"""The port of each kind of server where the URL names none."""

_POOL: Mapping[str, Any] = MappingProxyType(
    {
        "isolation_level": "READ COMMITTED",
        "pool_recycle": 300,
        "pool_reset_on_return": None,
        "pool_size": 5,
        "max_overflow": 15,
        "pool_timeout": 30,
        "hide_parameters": True,
    }
)


POOL_LIMIT: int = _POOL["pool_size"] + _POOL["max_overflow"]


def connect_to(url: URL) -> Engine:
    """The engine for a URL of one of FAMILIES; raises DatabaseError if its driver is missing."""
    family = url.get_backend_name()
    makers = {"sqlite": _sqlite, "postgresql": _postgres}
    try:
        return makers.get(family, _mariadb)(url)
    except ImportError as error:
        extra = "postgres" if family == "postgresql" else "mysql"
        raise DatabaseError(
            f"database_url: the driver for {family} cannot be loaded ({error}):"
            f" install manireports-sidecar[{extra}]"
        ) from None


def reason_of(error: SQLAlchemyError) -> str:
    """What the server said, in one line. PostgreSQL's details are left out: they show values."""
    original = getattr(error, "orig", None) or error
    said = getattr(getattr(original, "diag", None), "message_primary", None) or str(original)
    return " ".join(said.split())


def _mariadb(url: URL) -> Engine:
    url = url.set(drivername="mysql+mysqldb")
    if "charset" not in url.query:
        url = url.update_query_dict({"charset": "utf8mb4"})
    engine = create_engine(
        url,
        **_POOL,
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

    def still_lives(connection: Any) -> None:
        connection.ping()

    _ask_after_rest(engine, still_lives)
    return engine


def _postgres(url: URL) -> Engine:
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        **_POOL,
        connect_args={
            "connect_timeout": 10,
            "tcp_user_timeout": 60_000,
            "keepalives_idle": 30,
            "application_name": "manireports-sidecar",
            "client_encoding": "utf8",
            # A prepared statement outlives the table it was prepared for: an upgrade of Moodle.
            "prepare_threshold": None,
        },
    )
    limits = {
        "lock_timeout": LOCK_WAIT_SECONDS,
        "statement_timeout": STATEMENT_SECONDS,
        "idle_in_transaction_session_timeout": IDLE_SECONDS,
    }
    # By statement and not by startup option, which a pooler between us and the server refuses.
    settings = "; ".join(f"SET SESSION {name} = '{value}s'" for name, value in limits.items())

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.execute(settings)
        connection.commit()

    def still_lives(connection: Any) -> None:
        connection.execute("")
        connection.rollback()

    _ask_after_rest(engine, still_lives)
    return engine


def _ask_after_rest(engine: Engine, ask: Callable[[Any], None]) -> None:
    """Ask a connection that has rested whether it still lives; one just used surely does."""

    @event.listens_for(engine, "checkin")
    def rest(_connection: Any, record: Any) -> None:
        record.info["resting_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def wake(connection: Any, record: Any, _proxy: object) -> None:
        if time.monotonic() - record.info.get("resting_since", math.inf) > RESTED_SECONDS:
            try:
                ask(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise DisconnectionError from error


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
