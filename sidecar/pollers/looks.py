"""Looking at many providers at the same time, so that one that hangs keeps no other waiting."""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from sidecar.errors import ConnectorError

log = logging.getLogger(__name__)

AT_ONCE = 16
"""The most looks at the same time, those not counted that take long."""
SUSPECTS = 4
"""The most that are begun, while so many take long, at places whose last look failed."""
MOST = 64
"""The most of all."""
LONG_SECONDS = 5.0
"""What a look may take before its place is not counted among those that answer."""

Place = TypeVar("Place", bound=Hashable)


@dataclass(slots=True)
class _Look:
    """What is known of a place. error: not raised yet; moments are monotonic seconds."""

    began: float = 0.0
    running: bool = False
    failed: bool = False
    quiet_until: float = 0.0
    found: int = 0
    error: Exception | None = None

    def is_suspect(self, now: float) -> bool:
        """Whether it is not to be expected to answer soon."""
        return self.failed or (self.running and now - self.began > LONG_SECONDS)


class Looks(Generic[Place]):
    """Looks at places of one kind, each in a thread of its own, none twice at the same time.

    what: they are, in the admin's words. rest: seconds that a place is left alone after a
    ConnectorError. Used by one thread at a time.
    """

    def __init__(self, what: str, rest: float) -> None:
        self._what, self._rest = what, rest
        self._news = threading.Condition()
        self._looks: dict[Place, _Look] = {}

    def begin(self, places: Mapping[Place, Callable[[], int]]) -> None:
        """Begin to look at each place that is not being looked at; those left out come first next.

        The callable says how much it found. Places that are no more are forgotten.
        """
        now = time.monotonic()
        with self._news:
            for gone in [p for p, look in self._looks.items() if p not in places]:
                if not (self._looks[gone].running or self._looks[gone].error):
                    del self._looks[gone]
            looks = [(place, self._looks.setdefault(place, _Look())) for place in places]
            due = [(p, look) for p, look in looks if not look.running and look.quiet_until <= now]
            chosen = [p for p, look in sorted(due, key=_last) if self._has_room(look, now)]
        for place in chosen:
            target, name = places[place], f"look-{self._what}"
            thread = threading.Thread(
                target=self._run, args=(place, target), name=name, daemon=True
            )
            thread.start()

    def _has_room(self, look: _Look, now: float) -> bool:
        """Whether one more may begin; then it counts as running."""
        running = [each for each in self._looks.values() if each.running]
        suspects = sum(each.is_suspect(now) for each in running)
        mine, limit = (suspects, SUSPECTS) if look.failed else (len(running) - suspects, AT_ONCE)
        if mine >= limit or len(running) >= MOST:
            return False
        look.running, look.began = True, now
        return True

    def _run(self, place: Place, target: Callable[[], int]) -> None:
        look, found, failed, error = self._looks[place], 0, False, None
        try:
            found = target()
        except ConnectorError as trouble:
            failed = True
            log.warning("the %s cannot be read: %s", self._what, trouble)
        except Exception as trouble:  # noqa: BLE001 - whoever asks for what was found is told
            error = trouble
        with self._news:
            look.running, look.failed = False, failed
            look.quiet_until = time.monotonic() + self._rest if failed else 0.0
            look.found += found
            look.error = error or look.error
            self._news.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for the next look to end; whether any runs that is no suspect."""
        with self._news:
            if self._lively():
                self._news.wait(seconds)
            return self._lively()

    def _lively(self) -> bool:
        now = time.monotonic()
        return any(look.running and not look.is_suspect(now) for look in self._looks.values())

    def take(self) -> int:
        """How much was found since this was asked last. Raises what a look has raised."""
        with self._news:
            number = sum(look.found for look in self._looks.values())
            errors = [look.error for look in self._looks.values() if look.error]
            for look in self._looks.values():
                look.found, look.error = 0, None
        if errors:
            raise errors[0]
        return number


def _last(one: tuple[object, _Look]) -> float:
    return one[1].began
