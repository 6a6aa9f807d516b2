"""When nothing is to do, only the pulse is asked for."""

import time

from sidecar.pulse import Beat, Pulse

REST_SECONDS = 15.0
"""How long a full cycle may be left out; what the pulse does not show waits so long at most."""


class Rest:
    """Begins with a full cycle that found nothing to do, and lasts while the pulse stays the same.

    ``begin`` and ``over`` belong to one thread; ``lasts`` may be asked from any.
    """

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._before: Beat | None = None
        self._still: tuple[Beat, float] | None = None

    def begin(self) -> None:
        """A full cycle begins: what comes from now on ends a rest. Raises DatabaseError."""
        self._still = None
        self._before = self._pulse.beat()

    def over(self, *, idle: bool) -> None:
        """The full cycle is over. idle: it found nothing to do, and nothing that may ripen."""
        before = self._before
        if idle and before is not None and not before.busy:
            self._still = before, time.monotonic() + REST_SECONDS

    def lasts(self) -> bool:
        """Whether nothing has to be done now. Raises DatabaseError."""
        still = self._still
        return still is not None and time.monotonic() < still[1] and self._pulse.beat() == still[0]
