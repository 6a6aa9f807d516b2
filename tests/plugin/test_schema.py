"""The plugin's install.xml makes the very tables that the sidecar works with, on both servers."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from sqlalchemy import Column, Dialect, Table
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.schema import CreateTable

from sidecar.store.tables import SCHEMA_VERSION, our_tables

PLUGIN = Path(__file__).parents[2] / "moodle_plugin"
DIALECTS: tuple[Dialect, ...] = (MySQLDialect(), PGDialect())  # type: ignore[no-untyped-call]
PREFIX = "manireports_cloud_"
TABLES = {
    table.name: table
    for table in our_tables("").metadata.sorted_tables
    if table.name.startswith(PREFIX)
}

_TYPES = {
    "mysql": {"int": "BIGINT", "char": "VARCHAR({length})", "text": "LONGTEXT"},
    "postgresql": {"int": "BIGINT", "char": "VARCHAR({length})", "text": "TEXT"},
}
"""What XMLDB makes of a field: mysql_sql_generator and postgres_sql_generator of Moodle (an int of
10 digits is a bigint on both)."""


def _xml_tables() -> dict[str, ET.Element]:
    root = ET.parse(PLUGIN / "db" / "install.xml").getroot()
    return {table.attrib["NAME"]: table for table in root.iter("TABLE")}


XML = _xml_tables()


def test_the_same_tables() -> None:
    assert XML.keys() == TABLES.keys()


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("name", sorted(TABLES))
def test_the_same_columns_in_the_same_order(name: str, dialect: Dialect) -> None:
    fields = [field.attrib for field in XML[name].iter("FIELD")]
    ours = [_column(column, dialect) for column in TABLES[name].columns]
    assert [_field(field, dialect) for field in fields] == ours


def _field(field: dict[str, str], dialect: Dialect) -> tuple[object, ...]:
    """Name, type, whether NULL is allowed, default, whether it counts by itself."""
    kind = _TYPES[dialect.name][field["TYPE"]].format(length=field.get("LENGTH"))
    required = field["NOTNULL"] == "true"
    default = field.get("DEFAULT")
    if field["TYPE"] == "char" and required and default is None:
        default = ""  # default_for_char of both generators
    return field["NAME"], kind, not required, default, field["SEQUENCE"] == "true"


def _column(column: Column[object], dialect: Dialect) -> tuple[object, ...]:
    kind = column.type.compile(dialect)
    default = None if column.server_default is None else str(column.server_default.arg)  # type: ignore[attr-defined]
    counts = column.autoincrement is True
    return column.name, kind, column.nullable and not column.primary_key, default, counts


@pytest.mark.parametrize("name", sorted(TABLES))
def test_the_same_indexes(name: str) -> None:
    theirs = {
        (tuple(re.split(r",\s*", index.attrib["FIELDS"])), index.attrib["UNIQUE"] == "true")
        for index in XML[name].iter("INDEX")
    }
    assert theirs == _indexes(TABLES[name])
    (key,) = [key.attrib for key in XML[name].iter("KEY")]
    assert (key["TYPE"], key["FIELDS"]) == ("primary", "id")


def _indexes(table: Table) -> set[tuple[tuple[str, ...], bool]]:
    return {(tuple(c.name for c in index.columns), index.unique) for index in table.indexes}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_field_is_what_moodle_can_hold(name: str) -> None:
    """Rules of XMLDB that would only show on a real installation (xmldb_table, xmldb_field)."""
    assert len(name) <= 53
    for field in (element.attrib for element in XML[name].iter("FIELD")):
        assert len(field["NAME"]) <= 63
        assert field["NAME"] == field["NAME"].lower()
        assert field.get("DEFAULT") != "", "XMLDB complains about an empty default"
        if field["TYPE"] == "int":
            assert field["LENGTH"] == "10"
        if field["TYPE"] == "char":
            assert int(field["LENGTH"]) <= 1333
    for index in XML[name].iter("INDEX"):
        lengths = {f.attrib["NAME"]: f.attrib for f in XML[name].iter("FIELD")}
        for column in re.split(r",\s*", index.attrib["FIELDS"]):
            assert lengths[column]["TYPE"] != "text"
            assert int(lengths[column]["LENGTH"]) <= 255


def test_the_same_version() -> None:
    php = (PLUGIN / "classes" / "cloud" / "identity.php").read_text("utf-8")
    found = re.search(r"const SCHEMA_VERSION = (\d+);", php)
    assert found
    assert int(found[1]) == SCHEMA_VERSION


def test_versions_of_the_files_agree() -> None:
    version = re.search(r"\$plugin->version = (\d+);", (PLUGIN / "version.php").read_text("utf-8"))
    assert version
    text = (PLUGIN / "db" / "upgrade.php").read_text("utf-8")
    points = [int(n) for n in re.findall(r"upgrade_plugin_savepoint\(true, (\d+),", text)]
    assert points == sorted(points)
    assert points[-1] <= int(version[1])


def test_ddl_compiles() -> None:
    for table in TABLES.values():
        for dialect in DIALECTS:
            assert str(CreateTable(table).compile(dialect=dialect))
