"""What the process that leads does beside its cycle: results, feedback, settling, facts."""

import logging
import time
from collections.abc import Callable

from sidecar import settle
from sidecar.context import Context
from sidecar.errors import SidecarError
from sidecar.leader import Leader
from sidecar.recorder import Recorder
from sidecar.store import results
from sidecar.timetable import Timetable

log = logging.getLogger(__name__)

RESULTS_SECONDS = 0.5
"""Pause between looks at the results inbox, when the last look found nothing."""

FEEDBACK_SECONDS = 5.0
"""Pause between looks for bounces and complaints."""

SETTLE_SECONDS = 1.0
FACTS_SECONDS = 60.0
TIDY_SECONDS = 15.0
"""Pause between looks for jobs to forget, while there are any."""

RESTING_SECONDS = 3_600.0
"""The same, once there are none."""

LEDGER_SHARE = 100
"""Of so many seconds the ledger takes at most one: on a long history it is proved less often."""


class Duties:
    """Each is done again and again, beside the others; what fails is logged and done again.

    leader: who leads in this process, if anybody; resting: whether there is nothing to do, raises
    DatabaseError.
    """

    def __init__(
        self,
        context: Context,
        recorder: Recorder,
        leader: Callable[[], Leader | None],
        resting: Callable[[], bool],
    ) -> None:
        self._context = context
        self._recorder = recorder
        self._leader = leader
        self._resting = resting
        self._ending = False
        self._tidy_at = 0.0
        self._ledger_due = 0.0

    def begin(self, timetable: Timetable) -> None:
        """Put all of them into the timetable."""
        timetable.every(RESULTS_SECONDS, self._take_results, "results")
        timetable.every(FEEDBACK_SECONDS, self._take_feedback, "feedback")
        timetable.every(SETTLE_SECONDS, self.settle, "settle")
        timetable.every(SETTLE_SECONDS, self._answer_questions, "questions")
        timetable.every(FACTS_SECONDS, self._facts, "facts")
        timetable.every(TIDY_SECONDS, self._tidy, "tidy")

    def end(self, timetable: Timetable) -> None:
        """Take in nothing new; what is in flight is still settled."""
        self._ending = True
        for name in ("facts", "results", "feedback", "questions", "tidy"):
            timetable.remove(name)

    def settle(self) -> None:
        """Bring what has changed up to date, and answer what does not wait."""
        self._perform(self._settle, "jobs could not be brought up to date")

    def _perform(self, duty: Callable[[Leader], object], trouble: str) -> None:
        leader = self._leader()
        if leader is None or not self._context.lease.held():
            return
        try:
            duty(leader)
        except SidecarError as error:
            log.warning("%s: %s", trouble, error)
        except Exception:
            log.exception("%s: a defect", trouble)

    def _take_results(self) -> None:
        def take(leader: Leader) -> None:
            if self._resting() and not leader.listens:
                return
            while leader.take_results() and not self._ending:
                pass

        self._perform(take, "results wait")

    def _take_feedback(self) -> None:
        self._perform(Leader.take_feedback, "feedback waits")

    def _settle(self, leader: Leader) -> None:
        dirty = self._recorder.take_dirty()
        seconds = self._context.metrics.settle_seconds.labels("refresh")
        try:
            if not dirty and self._resting():
                return
            leader.answer_urgent()
            with seconds.time():
                settle.refresh(self._context.database, self._context.lease, dirty)
        except Exception:
            self._recorder.touch(dirty)
            raise

    def _answer_questions(self) -> None:
        def answer(leader: Leader) -> None:
            if not self._resting():
                leader.answer_questions()

        self._perform(answer, "questions wait")

    def _tidy(self) -> None:
        if time.monotonic() < self._tidy_at:
            return

        def tidy(leader: Leader) -> None:
            self._tidy_at = time.monotonic() + RESTING_SECONDS
            if leader.tidy():
                self._tidy_at = 0.0

        self._perform(tidy, "old jobs are not deleted now")

    def _facts(self) -> None:
        def show(leader: Leader) -> None:
            leader.show_depths()
            leader.show_rates()
            self._prove_ledger()

        self._perform(show, "facts are missing")

    def _prove_ledger(self) -> None:
        """Show whether captured mails and their states agree. Raises DatabaseError."""
        started, database = time.monotonic(), self._context.database
        if started < self._ledger_due:
            return
        with database.read() as conn:
            difference = results.ledger_difference(conn, database)
        now = time.monotonic()
        self._ledger_due = now + LEDGER_SHARE * (now - started)
        self._context.metrics.ledger_difference.set(difference)
        if difference:
            log.error("ledger difference %d: captured mails and their states disagree", difference)
