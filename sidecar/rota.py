"""Whose turn it is. Pure."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Who = TypeVar("Who", bound=Hashable)


class Rota(Generic[Who]):
    """Who has waited longest for a turn is next, those that had none before all others."""

    def __init__(self) -> None:
        self._last: dict[Who, int] = {}
        self._number = 0

    def next(self, waiting: Iterable[Who]) -> Who | None:
        """Who of them is next, among equals the first; None if nobody waits."""
        return min(waiting, key=lambda who: self._last.get(who, 0), default=None)

    def took(self, who: Who) -> None:
        """This was his turn."""
        self._number += 1
        self._last[who] = self._number

    def had_turn(self, who: Who) -> bool:
        """Whether he had one since the rota was begun."""
        return who in self._last

    def clear(self) -> None:
        """Begin anew: nobody had a turn."""
        self._last.clear()
