"""Whose mail is claimed next."""

from collections.abc import Collection, Mapping, Sequence

from sidecar.grouping import Group

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
        self._last: dict[Group, int] = {}
        self._number = 0

    def plan(self, claims: Mapping[Group, Collection[int]]) -> None:
        """These rows are to be claimed now, and no others; who had a turn is remembered."""
        self._claims = {group: list(ids) for group, ids in claims.items() if ids}

    def next(self) -> tuple[Group, Sequence[int]] | None:
        """The next chunk; None if nothing is left."""
        if not self._claims:
            self._last.clear()
            return None
        group = min(self._claims, key=lambda group: self._last.get(group, 0))
        size = self._size
        if group not in self._last:
            size = min(size, max(FEWEST, self._first // len(self._claims)))
        self._number += 1
        self._last[group] = self._number
        ids = self._claims.pop(group)
        if rest := ids[size:]:
            self._claims[group] = rest
        return group, ids[:size]

    @property
    def new(self) -> bool:
        """Whether any group had no turn yet."""
        return not self._claims.keys() <= self._last.keys()

    def ahead(self, chunks: int) -> int:
        """How many rows the next so many chunks have at most."""
        return min(sum(map(len, self._claims.values())), chunks * self._size)
