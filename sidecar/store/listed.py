"""Rows of ours as a table that a statement can join: many values, one parameter, one short text.

A ``CASE`` with a branch for each row costs both sides time that grows with its square.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, TableValuedAlias, Text, bindparam, column, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine


def listed(parameter: str, **columns: TypeEngine[Any]) -> TableValuedAlias:
    """A table of these columns, whose rows are bound as ``parameter``: ``rows_json`` of them."""
    fields = [literal_column(name, type_) for name, type_ in columns.items()]
    table = _Listed(bindparam(parameter, type_=Text()), *fields)
    return table.table_valued(*(column(name, type_) for name, type_ in columns.items()))


def rows_json(rows: Iterable[Sequence[int | str | None]]) -> str:
    """Rows as ``listed`` takes them, each with a value for every column."""
    return json.dumps(list(rows), separators=(",", ":"))


class _Listed(FunctionElement[Any]):
    """The parameter, then a literal column for each column of the table."""

    name = "listed"
    inherit_cache = True


def _parts(element: _Listed, compiler: SQLCompiler, **kw: Any) -> tuple[str, list[tuple[str, str]]]:
    """SQL of the parameter; name and type of each column."""
    parameter, *fields = element.clauses
    types = compiler.dialect.type_compiler_instance
    named: list[ColumnElement[Any]] = list(fields)
    columns = [(compiler.process(field), types.process(field.type)) for field in named]
    return compiler.process(parameter, **kw), columns


@compiles(_Listed, "mysql", "mariadb")
def _mysql(element: _Listed, compiler: SQLCompiler, **kw: Any) -> str:
    parameter, columns = _parts(element, compiler, **kw)
    fields = (f"{name} {type_} PATH '$[{n}]'" for n, (name, type_) in enumerate(columns))
    return f"JSON_TABLE({parameter}, '$[*]' COLUMNS ({', '.join(fields)}))"


@compiles(_Listed, "postgresql")
def _postgresql(element: _Listed, compiler: SQLCompiler, **kw: Any) -> str:
    parameter, columns = _parts(element, compiler, **kw)
    fields = (
        f"CAST(value ->> {n} AS {type_}) AS {name}" for n, (name, type_) in enumerate(columns)
    )
    rows = f"json_array_elements(CAST({parameter} AS JSON))"
    return f"(SELECT {', '.join(fields)} FROM {rows})"  # noqa: S608 - names are ours, rows bound


@compiles(_Listed, "sqlite")
def _sqlite(element: _Listed, compiler: SQLCompiler, **kw: Any) -> str:
    parameter, columns = _parts(element, compiler, **kw)
    fields = (f"json_extract(value, '$[{n}]') AS {name}" for n, (name, _) in enumerate(columns))
    rows = f"json_each({parameter})"
    return f"(SELECT {', '.join(fields)} FROM {rows})"  # noqa: S608 - names are ours, rows bound
