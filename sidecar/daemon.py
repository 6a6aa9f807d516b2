"""The daemon: a scheduler, signals, leadership; one cycle of work at a time."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from sidecar.context import Context
from sidecar.duties import Duties
from sidecar.errors import (
    ConfigError,
    DatabaseError,
    LeaseLostError,
    MoodleError,
    SidecarError,
    StoreError,
)
from sidecar.garbage import collect_seldom
from sidecar.health import Health, Inside, Part
from sidecar.leader import Blocked, Leader
from sidecar.metrics.door import door
from sidecar.metrics.exporter import Exporter
from sidecar.metrics.facts import FACTS, NOW, FactsCollector
from sidecar.recorder import Recorder
from sidecar.rest import Rest
from sidecar.store.site import SiteRow
from sidecar.systemd import Service
from sidecar.teller import Teller
from sidecar.timetable import Timetable
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

KEPT_FACTS_SECONDS = 10.0
"""How long what the tables said is good enough for the next scrape."""


class Daemon:
    """Runs until it is told to stop; all work happens in scheduled jobs, one instance each.

    until_idle: stop when nothing is left to do. claim: whether to take mail over. watched:
    configuration files; when one changes and ``is_valid`` says that they can be read, the daemon
    ends, to be started anew, and ``changed`` says why; so it does after SIGHUP.
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
        self.changed = ""
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
        self._reload = threading.Event()
        self._idle = threading.Event()
        self._leader: Leader | None = None
        self._rest: Rest | None = None
        self._led_by = ""
        self._failure: SidecarError | None = None
        self._teller = Teller()
        self._service = Service()
        self._health = Health(context, self._inside)
        self._recorder = Recorder(context.database, context.lease, context.metrics)
        self._routes = context.routes(context.lease.guard)
        self._timetable = Timetable()
        self._duties = Duties(context, self._recorder, lambda: self._leader, self._resting)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, or until nothing is left; raises SidecarError."""
        sys.setswitchinterval(SWITCH_SECONDS)
        collect_seldom()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        settings = self._context.settings
        exporter = self._serve_metrics()
        self._timetable.every(settings.lease_seconds / 3, self._renew, "lease")
        self._timetable.every(settings.poll_interval, self._cycle, "cycle")
        self._duties.begin(self._timetable)
        self._timetable.start()
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

    def _on_hangup(self, _number: int, _frame: FrameType | None) -> None:
        self._reload.set()

    def _watch(self) -> None:
        """Wait for the end."""
        ready = False
        while not self._stop.wait(0.2) and not self._idle.is_set():
            if self._health.begun and not ready:
                ready = True
                self._service.ready()
            if self._health.alive():
                self._service.alive()
                self._service.status(self._health.line())
            self.changed = self._files.changed(asked=self._reload.is_set())
            self._reload.clear()
            if self.changed:
                log.info("%s: starting anew", self.changed)
                self._service.reloading()
                return
            self._timetable.keep()

    def _serve_metrics(self) -> Exporter | None:
        settings = self._context.settings
        if not settings.metrics_port:
            return None
        try:
            registry, health = self._context.metrics.registry, self._health
            exporter = Exporter(registry, health.alive, health.ready, door(settings))
        except OSError as error:
            log.warning("metrics_port %d cannot be served: %s", settings.metrics_port, error)
            return None
        registry.register(FactsCollector("process", NOW, health.now))
        registry.register(FactsCollector("tables", FACTS, health.tables, KEPT_FACTS_SECONDS))
        return exporter

    def _inside(self) -> Inside | None:
        leader = self._leader
        return leader.inside() if leader else None

    def _shut_down(self) -> None:
        self._ending = True
        if not self.changed:
            self._service.stopping()
        self._timetable.remove("cycle")
        self._duties.end(self._timetable)
        if self._leader:
            self._leader.stop_claiming()
            self._leader.stop(STOP_SECONDS)
        self._recorder.stop(RECORD_SECONDS)
        self._duties.settle()
        self._timetable.stop()
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
        trouble: tuple[Part, str] | None = None
        try:
            if not self._resting():
                self._lead_and_work()
            done = True
        except Blocked as blocked:
            done, trouble = True, (Part.SWITCHES, str(blocked))
            self._stand_still("nothing may move: %s", blocked)
        except (StoreError, MoodleError, ConfigError) as error:
            trouble = (Part.SITE, str(error))
            self._stand_still("standing still: %s", error)
        except DatabaseError as error:
            trouble = (Part.DATABASE, str(error))
            log.warning("this cycle was given up: %s", error)
            self._lose_patience(error)
        except Exception as defect:
            trouble = (Part.SITE, f"a defect: {type(defect).__name__}, see the log")
            log.exception("this cycle was given up: a defect")
        if done:
            self._refused_since = None
        metrics.poll_success.labels("cycle").set(int(done))
        metrics.leader.set(int(self._leader is not None))
        self._health.cycle(trouble, self._led_by)

    def _lead_and_work(self) -> None:
        site = self._context.identify()
        leader = self._lead(site)
        if leader is None:
            waited = time.monotonic() - self._started
            if self._until_idle and waited > self._context.settings.lease_seconds + 5:
                raise StoreError(f"another sidecar ({site.instance}) leads this site")
            return
        rest = self._rest = self._rest or Rest(self._context.pulse())
        rest.begin()
        next_at = leader.work(site, claim=self._claim)
        rest.over(idle=leader.rests(next_at))
        if self._until_idle and leader.is_idle(next_at, claim=self._claim):
            self._idle.set()
        self._plan_next(next_at)

    def _resting(self) -> bool:
        """Whether a daemon that leads has nothing to do. Raises DatabaseError."""
        leads = self._leader is not None and self._context.lease.held()
        return leads and not self._until_idle and self._rest is not None and self._rest.lasts()

    def _lead(self, site: SiteRow) -> Leader | None:
        """Lead this site, if nobody else does."""
        context = self._context
        if not context.lease.held() and not context.lease.acquire():
            self._retire()
            self._led_by = site.instance
            return None
        self._led_by = ""
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
            self._timetable.soon("cycle", wait)
