"""Here every query on our tables runs on each kind of server."""

from collections.abc import Iterator

import pytest

from tests.support.books import Books
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="session")
def _postgres_books_url(postgres: PostgresServer) -> str:
    postgres.create_database("books")
    return postgres.url("books")


@pytest.fixture(params=["mariadb", "postgresql"])
def books(request: pytest.FixtureRequest) -> Iterator[Books]:
    """Our tables with nothing in them, and the lease on them."""
    if request.param == "mariadb":
        yield request.getfixturevalue("books")
        return
    with Books(request.getfixturevalue("_postgres_books_url")) as made:
        yield made
