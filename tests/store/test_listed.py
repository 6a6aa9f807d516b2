"""Rows of ours as a table that a statement can join, on each kind of server and on SQLite."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Connection, String, create_engine, select, text

from sidecar.store.listed import listed, rows_json
from tests.support.books import Books

ROWS = st.lists(
    st.tuples(
        st.integers(-(2**63) + 1, 2**63 - 1),
        st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=255),
    )
)


def read(conn: Connection, rows: list[tuple[int, str]]) -> list[tuple[int, str]]:
    told = listed("told", id=BigInteger(), word=String(255))
    found = conn.execute(select(told.c.id, told.c.word), {"told": rows_json(rows)})
    return [(row.id, row.word) for row in found]


@pytest.fixture
def sqlite() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as conn:
        yield conn
    engine.dispose()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ROWS)
def test_rows_are_read_as_they_were_given(books: Books, rows: list[tuple[int, str]]) -> None:
    with books.write() as tx:
        assert sorted(read(tx.conn, rows)) == sorted(rows)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ROWS)
def test_sqlite_reads_them_too(sqlite: Connection, rows: list[tuple[int, str]]) -> None:
    assert sorted(read(sqlite, rows)) == sorted(rows)


@pytest.mark.parametrize("books", ["mariadb"], indirect=True)
def test_mariadb_looks_up_what_is_listed_by_key(books: Books) -> None:
    books.capture(50)
    r = books.database.tables.recipients.name
    rows = rows_json([(1, "x"), (2, "y")])
    query = text(
        f"EXPLAIN UPDATE {r}, JSON_TABLE(:told, '$[*]' COLUMNS (id BIGINT PATH '$[0]')) told"
        f" SET {r}.tries = 1 WHERE {r}.id = told.id"
    )
    with books.write() as tx:
        plan = {row["table"]: row for row in tx.conn.execute(query, {"told": rows}).mappings()}
    assert (plan[r]["type"], plan[r]["key"]) == ("eq_ref", "PRIMARY")
