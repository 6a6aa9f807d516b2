"""What is done again and again, and when next: APScheduler, kept right when the clock is set."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler

log = logging.getLogger(__name__)

CLOCK_JUMP_SECONDS = 2.0


class Timetable:
    """Runs each work in turn with itself; works of different names run beside each other."""

    def __init__(self) -> None:
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._seconds: dict[str, float] = {}
        self._offset = time.time() - time.monotonic()
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def every(self, seconds: float, work: Callable[[], None], name: str) -> None:
        """Do this at once when the timetable is started, then after each so many seconds."""
        self._seconds[name] = seconds
        self._scheduler.add_job(
            work, "interval", seconds=seconds, id=name, next_run_time=datetime.now(UTC)
        )

    def start(self) -> None:
        """Begin, in threads of its own."""
        self._scheduler.start()

    def soon(self, name: str, seconds: float) -> None:
        """Do it after so many seconds, then as often as always."""
        self._scheduler.modify_job(name, next_run_time=_after(seconds))

    def keep(self) -> None:
        """Do at once what a clock that was set has planned wrong. To be called again and again:
        a work may be planned by the old clock a moment after the new one was noticed."""
        moved = time.time() - time.monotonic() - self._offset
        jumped = abs(moved) > CLOCK_JUMP_SECONDS
        if jumped:
            self._offset += moved
            log.warning("the clock was set by %+.0f s", moved)
        for job in self._scheduler.get_jobs():
            latest = _after(self._seconds[job.id] + CLOCK_JUMP_SECONDS)
            if jumped or job.next_run_time > latest:
                job.modify(next_run_time=datetime.now(UTC))

    def remove(self, name: str) -> None:
        """Do it no more; what is being done is finished."""
        self._scheduler.remove_job(name)

    def stop(self) -> None:
        """Do nothing more; returns when all that is being done is finished."""
        self._scheduler.shutdown(wait=True)


def _after(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
