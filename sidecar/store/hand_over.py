"""Giving our tables to the plugin, whose installer refuses tables that exist.

``begin`` renames ours; Moodle then makes its own; ``finish`` copies the rows back, checks that all
arrived, and drops ours. Interrupted at any point, a step can be repeated; ``undo`` goes back.
"""

from collections.abc import Collection

from sqlalchemy import (
    Column,
    Connection,
    Table,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.engine import Inspector
from sqlalchemy.schema import DropTable

from sidecar.errors import StoreError
from sidecar.store.database import Database, translated

KEPT = "_kept"
"""What is appended to a table's name while it waits to be copied."""

THEIRS = ("sidecar", "templates")
"""Tables that the plugin fills when it is installed. Of these two, the site's identity is ours."""


def begin(database: Database) -> list[str]:
    """Rename our tables; returns their names. The caller holds the lease."""
    with translated(), database.engine.begin() as conn:
        known = inspect(conn)
        ours = [t for t in _tables(database) if known.has_table(t.name)]
        # The site's row last: while it is there, the lease keeps other sidecars away.
        ours.sort(key=lambda table: table is database.tables.sidecar)
        for table in ours:
            if known.has_table(table.name + KEPT):
                raise StoreError(
                    f"both {table.name} and {table.name}{KEPT} exist: finish or undo first"
                )
            _rename(conn, table.name, table.name + KEPT)
    return [table.name for table in ours]


def undo(database: Database) -> list[str]:
    """Give our tables their names back; StoreError where the plugin has made its own."""
    with translated(), database.engine.begin() as conn:
        known = inspect(conn)
        kept = [t for t in _tables(database) if known.has_table(t.name + KEPT)]
        made = [t.name for t in kept if known.has_table(t.name)]
        if made:
            raise StoreError(
                f"the plugin has made {', '.join(made)}: finish, or uninstall the plugin first"
            )
        for table in kept:
            _rename(conn, table.name + KEPT, table.name)
        _free_lease(conn, database, kept)
    return [table.name for table in kept]


def finish(database: Database) -> dict[str, int]:
    """Copy our rows into the plugin's tables, then drop ours; returns rows by table.

    Raises StoreError if the plugin's tables are missing or in use, or if a row did not arrive:
    then nothing was changed.
    """
    with translated(), database.engine.connect() as conn:
        with conn.begin():
            known = inspect(conn)
            kept = [t for t in _tables(database) if known.has_table(t.name + KEPT)]
            missing = [t.name for t in kept if not known.has_table(t.name)]
            if missing:
                raise StoreError(f"{missing[0]} does not exist: install the plugin first")
            copied = {table.name: _copy(conn, database, known, table) for table in kept}
            _free_lease(conn, database, kept)
        with conn.begin():
            for table in kept:
                conn.execute(DropTable(_named(table, known, table.name + KEPT)))
    return copied


def _free_lease(conn: Connection, database: Database, tables: Collection[Table]) -> None:
    """The row came back with the lease of who began, and that has ended: nobody waits for it."""
    site = database.tables.sidecar
    if site in tables:
        conn.execute(update(site).values(lease_token="", lease_expires=0))


def _tables(database: Database) -> list[Table]:
    return list(database.tables.metadata.sorted_tables)


def _rename(conn: Connection, old: str, new: str) -> None:
    quote = conn.dialect.identifier_preparer.quote
    conn.execute(text(f"ALTER TABLE {quote(old)} RENAME TO {quote(new)}"))
    if conn.dialect.name != "postgresql":
        return
    # There the names of indexes and sequences are the schema's: the new table's own need them.
    known = inspect(conn)
    names = [known.get_pk_constraint(new)["name"], *(i["name"] for i in known.get_indexes(new))]
    for name in filter(None, names):
        other = name.removesuffix(KEPT) if new == old.removesuffix(KEPT) else name + KEPT
        conn.execute(text(f"ALTER INDEX {quote(name)} RENAME TO {quote(other)}"))
    sequence, moved = quote(f"{old}_id_seq"), quote(f"{new}_id_seq")
    conn.execute(text(f"ALTER SEQUENCE IF EXISTS {sequence} RENAME TO {moved}"))


def _named(table: Table, known: Inspector, name: str) -> Table:
    """The table under a name, with those of our columns that it has there."""
    there = {column["name"] for column in known.get_columns(name)}
    columns = [Column(c.name, c.type) for c in table.columns if c.name in there]
    return Table(name, type(table.metadata)(), *columns)


def _copy(conn: Connection, database: Database, known: Inspector, table: Table) -> int:
    kept, new = _named(table, known, table.name + KEPT), _named(table, known, table.name)
    short = table.name.removeprefix(f"{database.prefix}manireports_cloud_")
    wanted, there = _sums(conn, kept), _sums(conn, new)
    if there == wanted and short not in THEIRS:
        return wanted[0]  # copied before an interruption
    if there[0] and short == "templates":
        return 0  # the plugin's own texts are newer
    if there[0] and short not in THEIRS:
        raise StoreError(f"{table.name} is in use: {there[0]} rows are there already")
    conn.execute(delete(new))
    common = [column.name for column in kept.columns if column.name in new.columns]
    conn.execute(insert(new).from_select(common, select(*(kept.c[name] for name in common))))
    arrived = _sums(conn, new)
    if wanted != arrived:
        raise StoreError(f"{table.name}: {arrived[0]} of {wanted[0]} rows arrived")
    if conn.dialect.name == "postgresql" and wanted[0]:
        greatest = select(func.max(new.c.id)).scalar_subquery()
        conn.execute(select(func.setval(f"{table.name}_id_seq", greatest)))
    return wanted[0]


def _sums(conn: Connection, table: Table) -> tuple[int, int]:
    """Rows, and the sum of their ids."""
    row = conn.execute(select(func.count(), func.coalesce(func.sum(table.c.id), 0))).one()
    return int(row[0]), int(row[1])
