"""The callback page of the demo."""

from collections.abc import Iterator
from http import HTTPStatus

import pytest
from sqlalchemy import delete

from sidecar.demo.callback import CallbackPage
from tests.plugin.callback_contract import KEYS, CallbackContract, Rig, headers
from tests.support.books import Books
from tests.support.mariadb import MariaDBServer

Demo = tuple[Rig, CallbackPage]


@pytest.fixture(scope="module")
def demo(_server: MariaDBServer) -> Iterator[Demo]:
    if not _server.alive():
        _server.start()
    _server.create_database("callback_page")
    with Books(_server.url("callback_page")) as books:
        page = CallbackPage(books.database, lambda: KEYS)
        yield Rig(books, page.url), page
        page.close()


@pytest.fixture
def rig(mariadb: MariaDBServer, demo: Demo) -> Rig:
    """The page, with an empty inbox behind it."""
    made, _ = demo
    with made.books.database.write(None) as tx:
        tx.conn.execute(delete(made.books.tables.callbacks))
    return made


class TestDemo(CallbackContract):
    """The page as it is."""


def test_a_good_report_may_be_refused_for_now_and_is_not_stored(rig: Rig, demo: Demo) -> None:
    _, page = demo
    payload = rig.payload()
    page.refuse = lambda _delivery: HTTPStatus.SERVICE_UNAVAILABLE
    assert rig.post(payload, headers(payload)) == HTTPStatus.SERVICE_UNAVAILABLE
    assert rig.post("{}", headers("{}")) == HTTPStatus.BAD_REQUEST
    assert rig.stored() == 0
    page.refuse = lambda _delivery: None
    assert rig.post(payload, headers(payload)) == HTTPStatus.ACCEPTED


def test_no_other_page_is_there(rig: Rig) -> None:
    payload = rig.payload()
    assert rig.post(payload, headers(payload), "/") == HTTPStatus.NOT_FOUND
    assert rig.stored() == 0
