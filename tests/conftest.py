"""Fixtures for tests on a real MariaDB or PostgreSQL with the real daemon."""

import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from sidecar.demo.site import Site
from tests.support.books import Books
from tests.support.config import write_config
from tests.support.mariadb import MariaDBServer
from tests.support.postgres import PostgresServer

FIXTURES = Path(__file__).parent / "fixtures"

_numbers = itertools.count(1)

ConfigFile = Callable[..., Path]

on_every_database = pytest.mark.parametrize("iomad_db", ["mariadb", "postgresql"], indirect=True)
"""Runs a test of ``iomad_db``, and so of the e2e tests' ``world``, on PostgreSQL as well."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: the processes share the rest, and none is left alone with a slow one."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's environment configures the sidecar under test."""
    for name in [name for name in os.environ if name.startswith("MANIREPORTS_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def _server() -> Iterator[MariaDBServer]:
    with MariaDBServer() as server:
        yield server


@pytest.fixture
def mariadb(_server: MariaDBServer) -> MariaDBServer:
    """The session's server; running, whatever the test before did to it."""
    if not _server.alive():
        _server.start()
    return _server


@pytest.fixture(scope="session")
def _templates(_server: MariaDBServer) -> None:
    _server.create_database("template_installed", FIXTURES / "iomad_schema.sql")
    Site(_server.url("template_installed")).install()
    _server.clone_database("template_installed", "template_small")
    _server.load("template_small", FIXTURES / "small_iomad.sql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's PostgreSQL, with the template ``template_installed``."""
    with PostgresServer() as server:
        server.create_database("template_installed")
        server.load_mariadb_schema("template_installed", FIXTURES / "iomad_schema.sql")
        Site(server.url("template_installed")).install()
        yield server


def _cloned(mariadb: MariaDBServer, template: str) -> Iterator[str]:
    name = f"moodle{next(_numbers)}"
    mariadb.clone_database(template, name)
    yield mariadb.url(name)
    if not mariadb.alive():
        mariadb.start()
    mariadb.drop_database(name)


@pytest.fixture
def postgres_db(postgres: PostgresServer) -> Iterator[str]:
    """``iomad_db`` on PostgreSQL."""
    name = f"moodle{next(_numbers)}"
    postgres.create_database(name, "template_installed")
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def iomad_db(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a fresh, installed site without companies and mail: fill it with ``Site(url)``."""
    if getattr(request, "param", "mariadb") == "postgresql":
        yield request.getfixturevalue("postgres_db")
        return
    request.getfixturevalue("_templates")
    yield from _cloned(request.getfixturevalue("mariadb"), "template_installed")


@pytest.fixture
def small_iomad_db(mariadb: MariaDBServer, _templates: None) -> Iterator[str]:
    """The URL of a fresh site as fixtures/small_iomad.sql describes it, mail in its queue."""
    yield from _cloned(mariadb, "template_small")


@pytest.fixture(scope="session")
def _books_url(_server: MariaDBServer) -> str:
    if not _server.alive():
        _server.start()
    _server.create_database("books")
    return _server.url("books")


@pytest.fixture
def books(mariadb: MariaDBServer, _books_url: str) -> Iterator[Books]:
    """Our tables on a real MariaDB with nothing in them, and the lease on them."""
    with Books(_books_url) as made:
        yield made


@pytest.fixture
def config_file(tmp_path: Path) -> ConfigFile:
    """``config_file(database_url, name="sidecar", **settings)`` writes a TOML file, gives its path.

    State and data directories are the test's own; times are short; a setting of None is left out.
    """

    return partial(write_config, tmp_path)
