"""Cloudflare's limit of requests: 1,200 in five minutes for all that use one API token.

Whoever goes beyond it is refused everything for five minutes, so we stay below, and when Cloudflare
names a time to wait, nothing is asked before. Kept by token in this process: a second process with
the same token (`check`) has a budget of its own, for which the rest is left.
"""

import threading
import time
from collections.abc import Callable
from hashlib import sha256
from weakref import WeakValueDictionary

REFILL = 3.0
"""Requests a second in the long run: 900 in five minutes."""
BURST = 60.0
"""Requests that may follow each other at once."""
LONGEST_BLOCK = 3600.0
"""Seconds that a named time to wait is believed."""

_limits: "WeakValueDictionary[str, Limit]" = WeakValueDictionary()
_lock = threading.Lock()


class Limit:
    """The budget of one token. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._at = BURST, clock()
        self._blocked_until = 0.0

    def take(self) -> float:
        """Take a request from the budget: 0, or the seconds after which to ask again."""
        with self._lock:
            now = self._clock()
            self._left = min(BURST, self._left + (now - self._at) * REFILL)
            self._at = now
            if self._left > 1 - 1e-6:  # what a wait of that length leaves, rounded
                self._left = max(0.0, self._left - 1)
                return 0.0
            return (1 - self._left) / REFILL

    def block(self, seconds: float) -> None:
        """Cloudflare has named a time to wait."""
        with self._lock:
            until = self._clock() + min(max(0.0, seconds), LONGEST_BLOCK)
            self._blocked_until = max(self._blocked_until, until)

    def blocked(self) -> float:
        """Seconds that nothing may be asked."""
        with self._lock:
            return max(0.0, self._blocked_until - self._clock())


def limit_of(token: str) -> Limit:
    """The one budget of a token, shared by all connectors that use it."""
    name = sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
    with _lock:
        found = _limits.get(name)
        if found is None:
            found = _limits[name] = Limit()
        return found
