"""The plugin's observers, run by PHP over the real tables: what they note, and what they cost."""

import json
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, text

from tests.support.books import Books
from tests.support.mariadb import MariaDBServer
from tests.support.php_site import PhpSite

SCRIPT = Path(__file__).parent / "observers.php"

Note = tuple[str, int, int, int, int]


class Rig:
    """A site at which events are fired."""

    def __init__(self, books: Books, site: PhpSite) -> None:
        self.books = books
        self.site = site

    def fire(self, user: int, *orders: str) -> dict[str, list[float]]:
        """One request; milliseconds of each event."""
        found: dict[str, list[float]] = json.loads(self.site.run(SCRIPT, str(user), *orders))
        return found

    def rows(self) -> list[Any]:
        """The notes, oldest first."""
        t = self.books.tables.operations
        with self.books.database.read() as conn:
            return list(conn.execute(t.select().order_by(t.c.id)))

    def notes(self) -> list[Note]:
        """Type, company, user, count, finished."""
        return [
            (r.type, r.company_id, r.userid, r._mapping["count"], r.finished) for r in self.rows()
        ]


@pytest.fixture(scope="module")
def _rig(_server: MariaDBServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    if not _server.alive():
        _server.start()
    name = "plugin_observers"
    _server.create_database(name)
    _server.execute("CREATE TABLE mdl_config (name VARCHAR(255), value TEXT)", database=name)
    _server.execute("CREATE TABLE mdl_companylicense (id BIGINT, companyid BIGINT)", database=name)
    _server.execute("INSERT INTO mdl_companylicense VALUES (5, 3)", database=name)
    folder = tmp_path_factory.mktemp("observers")
    with Books(_server.url(name)) as books, PhpSite(folder, _server.url(name), folder) as site:
        yield Rig(books, site)


@pytest.fixture
def rig(mariadb: MariaDBServer, _rig: Rig) -> Rig:
    """The site without notes."""
    with _rig.books.database.write(None) as tx:
        tx.conn.execute(delete(_rig.books.tables.operations))
    return _rig


def test_a_request_leaves_one_note_of_each_operation(rig: Rig) -> None:
    before = rig.books.now()
    rig.fire(7, "users=500", "licences=200")
    assert rig.notes() == [
        ("csv_import", 0, 7, 500, 1),
        ("license_allocation", 3, 7, 200, 1),
    ]
    for row in rig.rows():
        assert before <= row.first_at <= row.last_at <= rig.books.now()
    rig.fire(8, "users=1")
    assert rig.notes()[2:] == [("csv_import", 0, 8, 1, 1)]


def test_a_long_operation_is_seen_while_it_runs_and_a_crash_leaves_it_open(rig: Rig) -> None:
    with pytest.raises(AssertionError):
        rig.fire(7, "users=3", "pause=1100", "users=2", "crash=1")
    assert rig.notes() == [("csv_import", 0, 7, 4, 0)]  # the fifth came within a second
    (row,) = rig.rows()
    assert row.last_at > row.first_at


def test_what_goes_wrong_breaks_nothing_and_is_said_once(rig: Rig) -> None:
    with rig.books.database.write(None) as tx:
        tx.conn.execute(text("RENAME TABLE mdl_manireports_cloud_operations TO mdl_hidden"))
    try:
        command = ["php", "-d", "display_errors=0", "-d", "log_errors=0", str(SCRIPT)]
        done = subprocess.run(
            [*command, str(rig.site.folder), "7", "users=50", "licences=50"],
            capture_output=True,
            text=True,
            check=False,
            env=rig.site.environment,
        )
    finally:
        with rig.books.database.write(None) as tx:
            tx.conn.execute(text("RENAME TABLE mdl_hidden TO mdl_manireports_cloud_operations"))
    assert done.returncode == 0
    assert {name: len(times) for name, times in json.loads(done.stdout).items()} == {
        "users": 50,
        "licences": 50,
    }
    assert done.stderr.count("could not be noted") == 1
    assert rig.notes() == []


def test_an_event_costs_nearly_nothing(rig: Rig) -> None:
    with rig.books.database.write(None) as tx:
        rows = [
            {"type": "csv_import", "userid": n, "count": 1, "finished": 1} for n in range(2_000)
        ]
        tx.conn.execute(insert(rig.books.tables.operations), rows)
    times = rig.fire(7, "users=500")["users"]
    assert statistics.median(times) < 0.1
    assert sum(times) < 100
