"""Configuration files that may change while we run."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

UNCHANGED_SECONDS = 2.0
"""A changed file counts once it has stayed as it is for so long."""


class WatchedFiles:
    """Notices when one of some files changes; ``is_valid`` says whether all can be read."""

    def __init__(self, paths: Sequence[Path], is_valid: Callable[[], bool]) -> None:
        self._known = {path: _changed_at(path) for path in paths}
        self._seen: dict[Path, tuple[float, int]] = {}
        self._is_valid = is_valid

    def changed(self, *, asked: bool = False) -> str:
        """Why to start anew, '' if there is no reason: a file has changed, is there, and is no
        longer being written; or somebody asked, and all of them can be read."""
        if asked and self._is_valid():
            return "a reload was asked for"
        for path, known in self._known.items():
            now = _changed_at(path)
            if now in (known, 0):
                self._seen.pop(path, None)
                continue
            since, as_it_was = self._seen.get(path, (time.monotonic(), now))
            if as_it_was != now:
                since = time.monotonic()
            self._seen[path] = (since, now)
            if time.monotonic() - since >= UNCHANGED_SECONDS:
                if self._is_valid():
                    return f"{path} has changed"
                self._known[path] = now
        return ""


def _changed_at(path: Path) -> int:
    """When a file was last changed, in nanoseconds; 0 if it cannot be read."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
