"""Is there one database server behind our connections, and is it the one that writes?

A lock is shared with cron, and a claim seen by it, only if every connection to the database meets
at one server. The facts are read here and judged by a pure function, a doubt a fact.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, Select, func, select, text

_VARIABLES = (
    "read_only",
    "innodb_read_only",
    "binlog_format",
    "version_comment",
    "wsrep_on",
    "group_replication_group_name",
    "group_replication_single_primary_mode",
)
_SEVERAL_WRITERS = ("bdr", "pgactive", "spock")
"""Extensions of PostgreSQL that replicate between several nodes which all write."""

Backend = tuple[object, ...]
"""Which connection of which server served a transaction."""


@dataclass(frozen=True, slots=True)
class Backends:
    """Who served the transactions of one of our connections, and one of a second, open beside it.

    Only a proxy that gives a connection away between transactions can mix them up.
    """

    own: frozenset[Backend]
    other: Backend

    @property
    def doubts(self) -> list[str]:
        """What speaks against one server that keeps connections apart."""
        if len(self.own) == 1 and self.other not in self.own:
            return []
        return ["a proxy shares or spreads our connections: connect to the database directly"]


@dataclass(frozen=True, slots=True)
class MysqlFacts:
    """What MariaDB or MySQL says of itself. variables: without what the server does not know."""

    version: str
    backends: Backends
    variables: Mapping[str, str] = field(default_factory=dict)
    galera_nodes: int = 0


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    """What PostgreSQL says of itself."""

    version: str
    number: int
    backends: Backends
    in_recovery: bool = False
    read_only: bool = False
    extensions: frozenset[str] = frozenset()


def server_doubts(conn: Connection) -> list[str]:
    """Why a lock on this server may not be shared, in the admin's words; empty: it is."""
    match conn.dialect.name:
        case "mysql":
            return judge_mysql(_read_mysql(conn))
        case "postgresql":
            return judge_postgres(_read_postgres(conn))
        case _:
            return []


def judge_mysql(facts: MysqlFacts) -> list[str]:
    """The doubts that MariaDB's or MySQL's answers leave."""
    doubts = list(facts.backends.doubts)
    value = {name: said.upper() for name, said in facts.variables.items()}
    number = tuple(int(part) for part in facts.version.split("-", maxsplit=1)[0].split(".")[:2])
    if number < ((10, 6) if "mariadb" in facts.version.lower() else (8, 0)):
        doubts.append(f"database {facts.version} is too old: MariaDB 10.6 or MySQL 8.0 is needed")
    if "ON" in (value.get("read_only"), value.get("innodb_read_only")):
        doubts.append("this database server is read-only (a replica?): use the primary")
    if value.get("binlog_format") == "STATEMENT":
        doubts.append("binlog_format is STATEMENT: READ COMMITTED needs ROW or MIXED")
    if value.get("wsrep_on") == "ON" or facts.galera_nodes > 1:
        doubts.append("Galera cluster: cron's lock is not shared between its nodes")
    replicates = value.get("group_replication_group_name")
    if replicates and value.get("group_replication_single_primary_mode") == "OFF":
        doubts.append("group replication with several primaries: cron's lock is not shared by them")
    if "PROXYSQL" in value.get("version_comment", ""):
        doubts.append("ProxySQL answers in place of the server: connect to the server directly")
    return doubts


def judge_postgres(facts: PostgresFacts) -> list[str]:
    """The doubts that PostgreSQL's answers leave."""
    doubts = list(facts.backends.doubts)
    if not facts.version.startswith("PostgreSQL ") or "-YB-" in facts.version:
        doubts.append(f"{facts.version} is not PostgreSQL itself: its advisory locks may differ")
    if facts.number < 13_00_00:
        doubts.append(f"database {facts.version} is too old: PostgreSQL 13 is needed")
    if facts.in_recovery:
        doubts.append("this database server is a replica (in recovery): use the primary")
    elif facts.read_only:
        doubts.append("transactions are read-only here (default_transaction_read_only)")
    several = sorted(facts.extensions.intersection(_SEVERAL_WRITERS))
    if several:
        doubts.append(
            f"several nodes may write (extension {several[0]}): no lock is shared by them"
        )
    return doubts


def _read_mysql(conn: Connection) -> MysqlFacts:
    ask = select(func.connection_id(), text("@@server_id"), text("@@hostname"), text("@@port"))
    names = ", ".join(f"'{name}'" for name in _VARIABLES)
    variables = conn.execute(text(f"SHOW VARIABLES WHERE Variable_name IN ({names})"))
    size = conn.execute(text("SHOW GLOBAL STATUS LIKE 'wsrep_cluster_size'")).first()
    return MysqlFacts(
        version=str(conn.execute(select(func.version())).scalar_one()),
        variables={str(row[0]): str(row[1]) for row in variables},
        galera_nodes=int(size[1] or 0) if size else 0,
        backends=_backends(conn, ask),
    )


def _read_postgres(conn: Connection) -> PostgresFacts:
    said = conn.execute(
        select(
            func.version(),
            func.current_setting("server_version_num"),
            func.pg_is_in_recovery(),
            func.current_setting("transaction_read_only"),
        )
    ).one()
    extensions: Iterable[str] = conn.scalars(text("SELECT extname FROM pg_extension"))
    return PostgresFacts(
        version=str(said[0]),
        number=int(said[1]),
        in_recovery=bool(said[2]),
        read_only=said[3] == "on",
        extensions=frozenset(extensions),
        backends=_backends(conn, select(func.pg_backend_pid(), func.pg_postmaster_start_time())),
    )


def _backends(conn: Connection, ask: Select[*tuple[object, ...]]) -> Backends:
    """Ends the open transaction."""

    def served_by(connection: Connection) -> Backend:
        return tuple(connection.execute(ask).one())

    own = {served_by(conn)}
    conn.commit()
    with conn.engine.connect() as beside:
        other = served_by(beside)
        for _ in range(2):
            own.add(served_by(conn))
            conn.commit()
    return Backends(frozenset(own), other)
