"""The sidecar's tables on a real MariaDB, one database for all tests of a directory."""

from collections.abc import Iterator

import pytest

from tests.support.books import Books
from tests.support.mariadb import MariaDBServer


@pytest.fixture(scope="package")
def _books_url(_server: MariaDBServer) -> str:
    name = f"books_{__name__.replace('.', '_')}"
    if not _server.alive():
        _server.start()
    _server.create_database(name)
    return _server.url(name)


@pytest.fixture
def books(mariadb: MariaDBServer, _books_url: str) -> Iterator[Books]:
    """Tables with nothing in them, and the lease on them."""
    with Books(_books_url) as made:
        yield made
