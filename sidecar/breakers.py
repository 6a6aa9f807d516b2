"""The breakers of all companies, and with which settings a provider refused."""

import threading
import time
from collections.abc import Collection, Mapping

from sidecar.breaker import Breaker
from sidecar.routes import Route

Way = tuple[int, str]
"""A company and a provider."""

SetUp = tuple[Route, str]
"""How mail would go a way, and what the company's provider is."""


class Breakers:
    """One breaker a way; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._breakers: dict[Way, Breaker] = {}
        self._refused: dict[Way, SetUp] = {}

    def of(self, way: Way) -> Breaker:
        """The breaker of a way."""
        with self._lock:
            return self._breakers.setdefault(way, Breaker())

    def all(self) -> dict[Way, Breaker]:
        """Every breaker that was asked for."""
        with self._lock:
            return dict(self._breakers)

    def shut(self) -> set[Way]:
        """Ways that nothing should be tried on now."""
        now = time.monotonic()
        return {way for way, breaker in self.all().items() if breaker.is_open(now)}

    def is_probing(self, way: Way) -> bool:
        """Whether a way's last try was refused: one batch at a time, then."""
        breaker = self.all().get(way)
        return breaker is not None and breaker.failures > 0

    def down_for(self, seconds: float) -> Collection[Way]:
        """Ways that have been in trouble for longer."""
        now = time.monotonic()
        return [way for way, breaker in self.all().items() if breaker.down_for(now) > seconds]

    def troubles(self) -> dict[int, str]:
        """Company → why its mail waits, for those whose provider refused last."""
        return {company: b.reason for (company, _), b in self.all().items() if b.failures}

    def accept(self, way: Way) -> None:
        """The provider took something."""
        self.of(way).accept()
        with self._lock:
            self._refused.pop(way, None)

    def refuse(self, way: Way, reason: str, *, for_good: bool) -> float:
        """The provider refused; returns how many seconds to wait."""
        return self.of(way).refuse(time.monotonic(), reason, for_good)

    def refused_as(self, way: Way, set_up: SetUp) -> None:
        """How a way is set up that refused: it is tried anew when that changes."""
        with self._lock:
            self._refused[way] = set_up

    def refused(self) -> Mapping[Way, SetUp]:
        """Ways that refused, and how they were set up then (``refused_as``)."""
        with self._lock:
            return dict(self._refused)
