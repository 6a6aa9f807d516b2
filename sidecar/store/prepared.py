"""A statement that runs for every mail: compiled once, then the driver's alone."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect, Insert, Select, Update
from sqlalchemy.sql.compiler import SQLCompiler


class Prepared:
    """A statement in the words of one database; its parameters are plain values, never lists.

    dialect: of an engine that has been connected, since servers of one kind differ.
    """

    def __init__(self, statement: Select[Any] | Insert | Update, dialect: Dialect) -> None:
        compiled: SQLCompiler = statement.compile(dialect=dialect)
        self._text = compiled.string
        self._fixed = dict(compiled.params)
        self._order = compiled.positiontup
        self._wanted = {n for n, bind in compiled.binds.items() if bind.required}

    def run(self, conn: Connection, **values: object) -> CursorResult[Any]:
        """Execute it with a value for each parameter; raises SQLAlchemyError, as execute does."""
        if values.keys() != self._wanted:
            names = ", ".join(sorted(values.keys() ^ self._wanted))
            raise TypeError(f"parameters that are missing or unknown: {names}")
        bound: Mapping[str, object] = self._fixed | values
        if self._order is None:
            return conn.exec_driver_sql(self._text, dict(bound))
        return conn.exec_driver_sql(self._text, tuple(bound[name] for name in self._order))
