"""Asking many providers at the same time, so that one that hangs keeps no other waiting."""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from sidecar.errors import ConnectorError

log = logging.getLogger(__name__)

AT_ONCE = 16
"""The most errands at the same time, those not counted that take long."""
SUSPECTS = 4
"""The most that are begun, while so many take long, of those that failed last time."""
MOST = 64
"""The most of all."""
LONG_SECONDS = 5.0
"""What an errand may take before it is not counted among those that will soon be done."""

Name = TypeVar("Name", bound=Hashable)


@dataclass(slots=True)
class _Errand:
    """What is known of one. error: not raised yet; moments are monotonic seconds."""

    began: float = 0.0
    running: bool = False
    failed: bool = False
    quiet_until: float = 0.0
    found: int = 0
    error: Exception | None = None

    def is_suspect(self, now: float) -> bool:
        """Whether it is not to be expected to end soon."""
        return self.failed or (self.running and now - self.began > LONG_SECONDS)


class Errands(Generic[Name]):
    """Errands of one kind, each in a thread of its own, none twice at the same time.

    trouble: what a ConnectorError means, in the admin's words. rest: seconds that one is left alone
    after that. Used by one thread at a time.
    """

    def __init__(self, trouble: str, rest: float) -> None:
        self._trouble, self._rest = trouble, rest
        self._news = threading.Condition()
        self._errands: dict[Name, _Errand] = {}

    def begin(self, wanted: Mapping[Name, Callable[[], int]]) -> None:
        """Begin each that is not running; what finds no room now comes first next time.

        The callable says how much it found. What is wanted no more is forgotten.
        """
        now = time.monotonic()
        with self._news:
            for gone in [name for name in self._errands if name not in wanted]:
                if not (self._errands[gone].running or self._errands[gone].error):
                    del self._errands[gone]
            known = [(name, self._errands.setdefault(name, _Errand())) for name in wanted]
            due = [(name, e) for name, e in known if not e.running and e.quiet_until <= now]
            chosen = [name for name, e in sorted(due, key=_began) if self._has_room(e, now)]
        for name in chosen:
            threading.Thread(
                target=self._run, args=(name, wanted[name]), name=f"errand {name}"[:60], daemon=True
            ).start()

    def _has_room(self, errand: _Errand, now: float) -> bool:
        """Whether one more may begin; then it counts as running."""
        running = [each for each in self._errands.values() if each.running]
        suspects = sum(each.is_suspect(now) for each in running)
        mine, limit = (suspects, SUSPECTS) if errand.failed else (len(running) - suspects, AT_ONCE)
        if mine >= limit or len(running) >= MOST:
            return False
        errand.running, errand.began = True, now
        return True

    def _run(self, name: Name, target: Callable[[], int]) -> None:
        errand, found, failed, error = self._errands[name], 0, False, None
        try:
            found = target()
        except ConnectorError as trouble:
            failed = True
            log.warning("%s: %s", self._trouble, trouble)
        except Exception as trouble:  # noqa: BLE001 - whoever asks for what was found is told
            error = trouble
        with self._news:
            errand.running, errand.failed = False, failed
            errand.quiet_until = time.monotonic() + self._rest if failed else 0.0
            errand.found += found
            errand.error = error or errand.error
            self._news.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for the next to end; whether any runs that is no suspect."""
        with self._news:
            if self._lively():
                self._news.wait(seconds)
            return self._lively()

    def wait_for_all(self, seconds: float) -> None:
        """Wait at most so long for all but suspects."""
        until = time.monotonic() + seconds
        while self.wait(until - time.monotonic()) and time.monotonic() < until:
            continue

    def _lively(self) -> bool:
        now = time.monotonic()
        return any(each.running and not each.is_suspect(now) for each in self._errands.values())

    def take(self) -> int:
        """How much was found since this was asked last. Raises what an errand has raised."""
        with self._news:
            number = sum(each.found for each in self._errands.values())
            errors = [each.error for each in self._errands.values() if each.error]
            for each in self._errands.values():
                each.found, each.error = 0, None
        if errors:
            raise errors[0]
        return number


def _began(one: tuple[object, _Errand]) -> float:
    return one[1].began
