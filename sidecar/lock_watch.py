"""Whether the lock of Moodle's cron is really shared, proved now and then."""

import time

from sidecar.context import Context
from sidecar.moodle.lock_check import lock_doubts
from sidecar.store.database import translated
from sidecar.teller import Teller

CHECK_SECONDS = 3600.0
"""How often the proof that cron's lock is shared is made anew."""

DOUBT_SECONDS = 5.0
"""How often, while it is in doubt."""


class LockWatch:
    """What speaks against each task's lock; read from any thread."""

    def __init__(self, context: Context, teller: Teller) -> None:
        self._context = context
        self._teller = teller
        self._doubts: dict[str, list[str]] = {}
        self._checked: float | None = None

    def is_in_doubt(self, task: str) -> bool:
        """Whether nothing of this task may be claimed."""
        return bool(self._doubts.get(task))

    def doubts(self) -> list[str]:
        """All that is in doubt, sorted."""
        return sorted({doubt for found in dict(self._doubts).values() for doubt in found})

    def check(self) -> None:
        """Make the proof anew if its time has come. Raises DatabaseError."""
        now = time.monotonic()
        wait = DOUBT_SECONDS if any(self._doubts.values()) else CHECK_SECONDS
        if self._checked is not None and now - self._checked < wait:
            return
        context = self._context
        for task in context.tasks:
            with translated(), context.database.connection_for_writing() as conn:
                doubts = lock_doubts(conn, context.tables, context.lock(task), task)
            self._doubts[task] = doubts
            if doubts:
                self._teller.tell(f"nothing is claimed of {task}: %s", "; ".join(doubts))
        self._checked = now
