"""Whose mail is claimed next."""

from collections.abc import Collection, Mapping, Sequence

from sidecar.grouping import Group
from sidecar.rota import Rota

FEWEST = 50
"""Rows of a group's first chunk, if so many wait."""


class Turns:
    """Chunks of what is to be claimed; the group is next that has waited longest for its turn."""

    def __init__(self, first: int, size: int) -> None:
        """first: most rows that all groups' first chunks have together, but for FEWEST each: where
        many wait, each has something to send soon. size: most rows of any later chunk."""
        self._first = first
        self._size = size
        self._claims: dict[Group, list[int]] = {}
        self._rota: Rota[Group] = Rota()

    def plan(self, claims: Mapping[Group, Collection[int]]) -> None:
        """These rows are to be claimed now, and no others; who had a turn is remembered."""
        self._claims = {group: list(ids) for group, ids in claims.items() if ids}

    def next(self) -> tuple[Group, Sequence[int]] | None:
        """The next chunk; None if nothing is left."""
        group = self._rota.next(self._claims)
        if group is None:
            self._rota.clear()
            return None
        size = self._size
        if not self._rota.had_turn(group):
            size = min(size, max(FEWEST, self._first // len(self._claims)))
        self._rota.took(group)
        ids = self._claims.pop(group)
        if rest := ids[size:]:
            self._claims[group] = rest
        return group, ids[:size]

    @property
    def new(self) -> bool:
        """Whether any group had no turn yet."""
        return not all(map(self._rota.had_turn, self._claims))

    def ahead(self, chunks: int) -> int:
        """How many rows the next so many chunks have at most."""
        return min(sum(map(len, self._claims.values())), chunks * self._size)
