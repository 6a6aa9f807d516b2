"""A round: each source has its turn, and the others theirs while one has much to claim."""

import time
from collections.abc import Callable, Collection
from functools import partial

from sidecar.errors import DatabaseError
from sidecar.metrics.registry import Metrics
from sidecar.pollers.base import Poller

OTHERS_SECONDS = 1.0
"""After so long a source that drains lets each of the others claim one chunk."""


class Round:
    """One round over some sources; used once.

    poll: ``Poller.poll`` of a source, given what to call after each chunk. tick: called after every
    chunk of any source.
    """

    def __init__(
        self,
        pollers: Collection[Poller],
        metrics: Metrics,
        poll: Callable[[Poller, Callable[[], None]], float | None],
        tick: Callable[[], None],
    ) -> None:
        self._pollers = pollers
        self._metrics = metrics
        self._poll = poll
        self._tick = tick
        self._others_at = time.monotonic() + OTHERS_SECONDS
        self._moments: list[float] = []
        self._troubles: list[DatabaseError] = []

    def run(self) -> float | None:
        """Poll all; returns the monotonic time at which more will be ripe.

        Raises the first DatabaseError of a source once all were polled; what ``tick`` raises at
        once.
        """
        for poller in self._pollers:
            moment = self._turn(poller, partial(self._between, poller))
            if moment is not None:
                self._moments.append(moment)
        if self._troubles:
            raise self._troubles[0]
        return min(self._moments, default=None)

    def _between(self, drains: Poller) -> None:
        self._tick()
        if time.monotonic() < self._others_at:
            return
        for poller in self._pollers:
            if poller is not drains:
                self._one_chunk(poller)
        self._others_at = time.monotonic() + OTHERS_SECONDS

    def _one_chunk(self, poller: Poller) -> None:
        def enough() -> None:
            self._tick()
            poller.hurried = True

        try:
            self._turn(poller, enough)
        finally:
            poller.hurried = False

    def _turn(self, poller: Poller, claimed: Callable[[], None]) -> float | None:
        success = self._metrics.poll_success.labels(poller.name)
        try:
            with self._metrics.poll_seconds.labels(poller.name).time():
                moment = self._poll(poller, claimed)
        except DatabaseError as error:  # such as a right that only this source needs
            success.set(0)
            self._troubles.append(error)
            return None
        success.set(1)
        return moment
