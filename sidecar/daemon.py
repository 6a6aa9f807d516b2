"""The daemon: a scheduler, signals, leadership; one cycle of work at a time."""

import logging
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from apscheduler.schedulers.background import BackgroundScheduler

from sidecar import settle
from sidecar.context import Context
from sidecar.errors import (
    ConfigError,
    DatabaseError,
    LeaseLostError,
    MoodleError,
    SidecarError,
    StoreError,
)
from sidecar.leader import Blocked, Leader, Teller
from sidecar.lifecycle import Recipient
from sidecar.metrics.exporter import Exporter
from sidecar.recorder import Recorder
from sidecar.store import results, retention
from sidecar.store.site import SiteRow
from sidecar.watched import WatchedFiles

log = logging.getLogger(__name__)

SWITCH_SECONDS = 0.0005
"""How long a thread that computes may keep one waiting that only wants its answer from the
database; Python's default, 5 ms, is ten such answers."""

STOP_SECONDS = 20.0
"""How long what is in flight may take to finish after SIGTERM."""

RECORD_SECONDS = 3.0
"""How long outcomes may then still wait for the database; mails left so are recovered later."""

GIVE_UP_SECONDS = 30.0
"""How long ``--until-idle`` waits for a database that refuses."""

HEALTHY_SECONDS = 120.0
"""How old the last cycle may be before /healthz says no."""

RESULTS_SECONDS = 0.5
"""Pause between looks at the results inbox, when the last look found nothing."""

SETTLE_SECONDS = 1.0
FACTS_SECONDS = 60.0
TIDY_SECONDS = 15.0
"""Pause between looks for jobs to forget, while there are any."""

RESTING_SECONDS = 3_600.0
"""The same, once there are none."""

CLOCK_JUMP_SECONDS = 2.0


class Daemon:
    """Runs until it is told to stop; all work happens in scheduled jobs, one instance each.

    until_idle: stop when nothing is left to do. claim: whether to take mail over. watched:
    configuration files; when one changes and ``is_valid`` says that they can be read, the daemon
    ends, to be started anew, and ``changed`` names it.
    """

    def __init__(
        self,
        context: Context,
        *,
        until_idle: bool = False,
        claim: bool = True,
        watched: Sequence[Path] = (),
        is_valid: Callable[[], bool] = lambda: True,
    ) -> None:
        self.changed: Path | None = None
        self._context = context
        self._until_idle = until_idle
        self._claim = claim
        self._files = WatchedFiles(watched, is_valid)
        self._started = time.monotonic()
        self._started_at: int | None = None
        self._retired: Leader | None = None
        self._refused_since: float | None = None
        self._ending = False
        self._stop = threading.Event()
        self._idle = threading.Event()
        self._leader: Leader | None = None
        self._failure: SidecarError | None = None
        self._teller = Teller()
        self._cycle_at = time.monotonic()
        self._tidy_at = 0.0
        self._recorder = Recorder(context.database, context.lease, context.metrics)
        self._routes = context.routes(context.lease.guard)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, or until nothing is left; raises SidecarError."""
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        sys.setswitchinterval(SWITCH_SECONDS)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        settings = self._context.settings
        exporter = self._serve_metrics()
        self._every(settings.lease_seconds / 3, self._renew, "lease")
        self._every(settings.poll_interval, self._cycle, "cycle")
        self._every(RESULTS_SECONDS, self._take_results, "results")
        self._every(SETTLE_SECONDS, self._settle, "settle")
        self._every(FACTS_SECONDS, self._facts, "facts")
        self._every(TIDY_SECONDS, self._tidy, "tidy")
        self._scheduler.start()
        log.info("started")
        try:
            self._watch()
        finally:
            self._shut_down()
            if exporter:
                exporter.close()
        if self._failure:
            raise self._failure

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        log.info("%s: finishing what is in flight", signal.Signals(number).name)
        self._stop.set()

    def _every(self, seconds: float, work: Callable[[], None], name: str) -> None:
        now = datetime.now(UTC)
        self._scheduler.add_job(work, "interval", seconds=seconds, id=name, next_run_time=now)

    def _watch(self) -> None:
        """Wait for the end; wake the jobs when the wall clock was set, they are planned by it."""
        offset = time.time() - time.monotonic()
        while not self._stop.wait(0.2) and not self._idle.is_set():
            self.changed = self._files.changed()
            if self.changed:
                log.info("%s has changed: starting anew", self.changed)
                return
            moved = time.time() - time.monotonic() - offset
            if abs(moved) > CLOCK_JUMP_SECONDS:
                log.warning("the clock was set by %+.0f s", moved)
                offset += moved
                for job in self._scheduler.get_jobs():
                    job.modify(next_run_time=datetime.now(UTC))

    def _serve_metrics(self) -> Exporter | None:
        settings = self._context.settings
        if not settings.metrics_port:
            return None
        try:
            return Exporter(
                self._context.metrics.registry,
                lambda: time.monotonic() - self._cycle_at < HEALTHY_SECONDS,
                settings.metrics_host,
                settings.metrics_port,
            )
        except OSError as error:
            log.warning("metrics_port %d cannot be served: %s", settings.metrics_port, error)
            return None

    def _shut_down(self) -> None:
        self._ending = True
        for name in ("cycle", "facts", "results", "tidy"):
            self._scheduler.remove_job(name)
        if self._leader:
            self._leader.stop_claiming()
            self._leader.stop(STOP_SECONDS)
        self._recorder.stop(RECORD_SECONDS)
        self._settle()
        self._scheduler.shutdown(wait=True)
        try:
            self._context.lease.release()
        except DatabaseError as error:
            log.warning("the lease could not be given up: %s", error)
        log.info("stopped")

    def _renew(self) -> None:
        if self._leader is None:
            return
        try:
            if not self._context.lease.acquire():
                log.error("another sidecar leads this site now")
        except DatabaseError as error:
            log.warning("the lease could not be renewed: %s", error)

    def _cycle(self) -> None:
        metrics, done = self._context.metrics, False
        try:
            self._lead_and_work()
            done = True
        except Blocked as blocked:
            done = True
            self._stand_still("nothing may move: %s", blocked)
        except (StoreError, MoodleError, ConfigError) as error:
            self._stand_still("standing still: %s", error)
        except DatabaseError as error:
            log.warning("this cycle was given up: %s", error)
            self._lose_patience(error)
        except Exception:
            log.exception("this cycle was given up: a defect")
        if done:
            self._refused_since = None
        metrics.poll_success.set(int(done))
        metrics.leader.set(int(self._leader is not None))
        self._cycle_at = time.monotonic()

    def _lead_and_work(self) -> None:
        site = self._context.identify()
        leader = self._lead(site)
        if leader is None:
            waited = time.monotonic() - self._started
            if self._until_idle and waited > self._context.settings.lease_seconds + 5:
                raise StoreError(f"another sidecar ({site.instance}) leads this site")
            return
        next_at = leader.work(site, claim=self._claim)
        if self._until_idle and leader.is_idle(next_at, claim=self._claim):
            self._idle.set()
        self._plan_next(next_at)

    def _lead(self, site: SiteRow) -> Leader | None:
        """Lead this site, if nobody else does."""
        context = self._context
        if not context.lease.held() and not context.lease.acquire():
            self._retire()
            return None
        if self._retired is not None and self._retired.dispatcher.busy():
            return None  # what it had in flight is not ours to recover before it has ended
        if self._leader is None:
            self._started_at = self._started_at or site.now
            self._leader = Leader(
                context, self._recorder, self._routes, site, self._teller, self._started_at
            )
        return self._leader

    def _retire(self) -> None:
        """Another leads, or nobody."""
        if self._leader is not None:
            self._leader.retire()
            self._retired, self._leader = self._leader, None

    def _stand_still(self, text: str, error: SidecarError) -> None:
        """Nothing can be done as things are; say so, and look again with the next cycle."""
        if self._leader is not None:
            self._leader.dispatcher.halt()
        if isinstance(error, LeaseLostError):
            self._retire()
        self._teller.tell(text, str(error))
        if self._until_idle:
            self._failure = error
            self._idle.set()

    def _lose_patience(self, error: DatabaseError) -> None:
        """A daemon waits for its database for ever; a command does not."""
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        if self._until_idle and now - self._refused_since > GIVE_UP_SECONDS:
            self._failure = error
            self._idle.set()

    def _plan_next(self, next_at: float | None) -> None:
        """A claim happens when a row is ripe, not with the next tick."""
        if next_at is None:
            return
        wait = max(0.02, next_at - time.monotonic())
        if wait < self._context.settings.poll_interval and not self._ending:
            soon = datetime.now(UTC) + timedelta(seconds=wait)
            self._scheduler.modify_job("cycle", next_run_time=soon)

    def _take_results(self) -> None:
        leader = self._leader
        if leader is None or not self._context.lease.held():
            return
        try:
            while leader.take_results() and not self._ending:
                pass
        except (DatabaseError, StoreError) as error:
            log.warning("results wait: %s", error)
        except Exception:
            log.exception("results wait: a defect")

    def _settle(self) -> None:
        leader = self._leader
        if leader is None or not self._context.lease.held():
            return
        dirty = self._recorder.take_dirty()
        try:
            leader.answer_urgent()
            settle.refresh(self._context.database, self._context.lease, dirty)
        except SidecarError as error:
            self._recorder.touch(dirty)
            log.warning("jobs could not be brought up to date: %s", error)

    def _tidy(self) -> None:
        leader = self._leader
        if leader is None or not self._context.lease.held() or time.monotonic() < self._tidy_at:
            return
        more = False
        try:
            more = leader.tidy()
        except SidecarError as error:
            log.warning("old jobs are not deleted now: %s", error)
        except Exception:
            log.exception("old jobs are not deleted now: a defect")
        if not more:
            self._tidy_at = time.monotonic() + RESTING_SECONDS

    def _facts(self) -> None:
        if self._leader is None:
            return
        metrics, database = self._context.metrics, self._context.database
        try:
            with database.read() as conn:
                states = Counter(results.ledger(conn, database))
                difference = results.ledger_difference(conn, database)
            purged = retention.purged(database)
        except (DatabaseError, StoreError) as error:
            log.warning("the ledger could not be read: %s", error)
            return
        for state in Recipient:
            kept = states[state] + purged.get(state.value, 0)
            metrics.states.labels(state.value).set(kept)
        metrics.ledger_difference.set(difference)
        if difference:
            log.error("ledger difference %d: captured mails and their states disagree", difference)
