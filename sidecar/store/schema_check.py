"""Whether the tables in the database are those that we work with, whoever made them."""

from sqlalchemy import BigInteger, Integer, String, Table, Text, inspect
from sqlalchemy.engine import Inspector
from sqlalchemy.types import TypeEngine

from sidecar.store.database import Database, translated


def differences(database: Database) -> list[str]:
    """What differs, in words; empty if all is as it should be. Raises DatabaseError.

    Columns that we do not know are somebody else's business.
    """
    with translated():
        known = inspect(database.engine)
        names = set(known.get_table_names())
        found: list[str] = []
        for table in database.tables.metadata.sorted_tables:
            if table.name not in names:
                found.append(f"{table.name} is missing")
                continue
            found += [f"{table.name}: {what}" for what in _columns(known, table)]
            found += [f"{table.name}: {what}" for what in _indexes(known, table)]
        return found


def _columns(known: Inspector, table: Table) -> list[str]:
    there = {column["name"]: column for column in known.get_columns(table.name)}
    found = []
    for column in table.columns:
        real = there.get(column.name)
        if real is None:
            found.append(f"column {column.name} is missing")
        elif not _fits(real["type"], column.type):
            found.append(f"column {column.name} is {real['type']}, not {column.type}")
        elif real["nullable"] != bool(column.nullable):
            may = "may not" if column.nullable else "may"
            found.append(f"column {column.name} {may} be NULL")
    return found


def _fits(real: TypeEngine[object], wanted: TypeEngine[object]) -> bool:
    if isinstance(wanted, Text):
        return isinstance(real, Text) or (isinstance(real, String) and real.length is None)
    if isinstance(wanted, String):
        return isinstance(real, String) and real.length == wanted.length
    return isinstance(real, BigInteger) or (
        isinstance(real, Integer) and not isinstance(wanted, BigInteger)
    )


def _indexes(known: Inspector, table: Table) -> list[str]:
    there = {
        (tuple(index["column_names"]), bool(index["unique"]))
        for index in known.get_indexes(table.name)
    }
    return [
        f"there is no {'unique ' if index.unique else ''}index on {', '.join(columns)}"
        for index in sorted(table.indexes, key=lambda index: str(index.name))
        if ((columns := tuple(c.name for c in index.columns)), bool(index.unique)) not in there
    ]
