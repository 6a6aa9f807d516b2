"""Which row ids of a growing queue have been seen, and which may still appear below. Pure."""

from collections.abc import Iterable

LATE_COMMIT = 600.0
"""Seconds for which an id that was skipped may still be committed by its transaction."""

MAX_GAPS = 1000
"""Skipped ids that are remembered; older ones are left to the slow walk."""


class Watermark:
    """``top``: every id up to it was read, except ``gaps``, ids that were not there yet."""

    def __init__(self, top: int) -> None:
        self.top = top
        self._gaps: dict[int, float] = {}

    @property
    def gaps(self) -> list[int]:
        """Ids below ``top`` that may still appear."""
        return list(self._gaps)

    def passed(self, ids: Iterable[int], monotonic: float) -> None:
        """Rows with these ids, ascending and above ``top``, were read."""
        for row_id in ids:
            first = max(self.top + 1, row_id - MAX_GAPS)
            for missing in range(first, row_id):
                self._gaps[missing] = monotonic
            self.top = row_id
        while len(self._gaps) > MAX_GAPS:
            del self._gaps[next(iter(self._gaps))]

    def found(self, ids: Iterable[int]) -> None:
        """Rows with these ids have appeared."""
        for row_id in ids:
            self._gaps.pop(row_id, None)

    def forget_old(self, monotonic: float) -> None:
        """Give up on ids that were skipped too long ago: their transactions were rolled back."""
        self._gaps = {i: at for i, at in self._gaps.items() if monotonic - at < LATE_COMMIT}
