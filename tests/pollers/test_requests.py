"""Who answers what was asked: pauses at once, the rest with the cycle."""

from collections.abc import Mapping
from typing import cast

from sidecar.pollers.requests import URGENT, Actions, answer_requests
from sidecar.store import requests
from tests.support.books import Books


class Listening:
    """Remembers what it was told to do."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def perform(self, action: str, params: Mapping[str, object]) -> dict[str, object]:
        self.done.append(action)
        return {}


def test_each_request_is_answered_once_by_whoever_takes_it(books: Books) -> None:
    for action in ("cancel", "pause", "drain", "resume"):
        requests.ask(books.database, action, {}, "anna")
    urgent, cycle = Listening(), Listening()
    token = books.lease.token
    assert answer_requests(books.database, token, cast("Actions", urgent), only=URGENT) == 2
    assert answer_requests(books.database, token, cast("Actions", cycle), leave=URGENT) == 2
    assert (urgent.done, cycle.done) == (["pause", "resume"], ["cancel", "drain"])
    assert answer_requests(books.database, token, cast("Actions", cycle)) == 0
