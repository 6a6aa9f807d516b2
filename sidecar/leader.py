"""What the process that leads a site does in one cycle: answer, look, claim, dispatch, show."""

import logging
import time
from collections.abc import Callable
from functools import partial

from sidecar.context import Context, Observation
from sidecar.dispatch import Dispatcher, View
from sidecar.errors import SidecarError
from sidecar.health import Inside
from sidecar.holds import holds_now
from sidecar.lock_watch import LockWatch
from sidecar.moodle.mail_settings import MailSettingsError
from sidecar.pollers.base import Gate, Poller
from sidecar.pollers.depths import Depths
from sidecar.pollers.feedback import FeedbackPoller
from sidecar.pollers.requests import ASIDE, QUESTIONS, URGENT, answer_requests
from sidecar.pollers.results import Results
from sidecar.pollers.round import Round
from sidecar.questions import Questions
from sidecar.recall import Recall
from sidecar.recorder import Recorder
from sidecar.render_process import RenderProcess
from sidecar.reputation import standings
from sidecar.retention import Retention, retention_days
from sidecar.routes import Routes
from sidecar.store import asks, requests, results
from sidecar.store.companies import Companies
from sidecar.store.pauses import EVERYTHING, paused_jobs, unfinished_batches
from sidecar.store.site import SiteRow, read_site, update_state
from sidecar.teller import Teller

log = logging.getLogger(__name__)

COUNT_SECONDS = 10.0
"""How often what waits is written down for pages and `status`."""

SOON_SECONDS = 60.0
"""Mail that ripens within this time keeps ``--until-idle`` waiting."""


class Blocked(SidecarError):  # noqa: N818 - a state of the site
    """Nothing may move now."""


class Leader:
    """Exists only while this process leads."""

    def __init__(
        self,
        context: Context,
        recorder: Recorder,
        routes: Routes,
        site: SiteRow,
        teller: Teller,
        started_at: int,
    ) -> None:
        """Take over what a process before us left in flight. Raises DatabaseError, ConfigError.

        started_at: when this process first could lead, Unix seconds of the database's clock; a
        drain that was asked for since then goes on.
        """
        self._context = context
        self._routes = routes
        self._teller = teller
        self._locks = LockWatch(context, teller)
        self._shown: dict[str, object] = {}
        self.listens = True
        """Whether providers have to be asked for results, as of the last cycle."""
        self._backlog: dict[str, list[int]] = {}
        self._counted_at = -COUNT_SECONDS
        self._started_at = started_at
        self._used_up: dict[int, str] = {}
        routes.site_uid = site.site_uid
        self._draining = False
        self._held_sources: frozenset[str] = frozenset()
        self._pollers = context.pollers(site.site_uid)
        self._actions = context.actions(self._pollers, routes)
        self._questions = Questions(context)
        self._renderer = RenderProcess(context.settings, site.site_uid)
        self._recall = Recall(context.database, routes, context.companies)
        self.dispatcher = Dispatcher(
            context.database,
            context.lease,
            recorder,
            routes,
            self._pollers,
            context.metrics,
            context.settings,
            self._renderer,
            lambda job_id: self._recall.job(job_id).mails,
        )
        self._results = Results(
            context.database,
            context.lease,
            recorder,
            routes,
            context.vault,
            context.metrics,
            site.site_uid,
        )
        self._depths = Depths(routes, context.metrics)
        self._retention = Retention(context.database, context.lease, self._pollers)
        self._feedback = FeedbackPoller(
            context.database,
            context.lease,
            recorder,
            routes,
            context.metrics,
            site.site_uid,
            lambda company: self._actions.perform("pause", {"what": "company", "id": company}),
        )
        context.state_dir.remember(site.site_uid)
        self.dispatcher.recover()
        with context.database.read() as conn:
            recorder.touch(results.unsettled_batches(conn, context.database))
        log.info("leading this site")

    def work(self, site: SiteRow, *, claim: bool) -> float | None:
        """One cycle; returns the monotonic time at which more will be ripe.

        Raises Blocked with the reasons while an off switch is on; DatabaseError.
        """
        context = self._context
        self._renderer.rest()
        self._read_wishes(site)
        observation = context.observe()
        for poller in self._pollers.values():
            poller.hurried = False
        answer_requests(context.database, context.lease.token, self._actions, leave=ASIDE)
        blocked = [*observation.blocked]
        if all(poller.task in observation.off for poller in self._pollers.values()):
            blocked += observation.off.values()
        context.metrics.blocked.set(len(blocked))
        self._show_state(observation)
        if blocked:
            self.dispatcher.halt()
            raise Blocked("; ".join(blocked))
        for reason in observation.off.values():
            self._teller.tell("some mail stays with Moodle: %s", reason)
        companies = context.companies()
        self.listens = bool(self._routes.reporting(companies))
        self.look_at_holds()
        self._locks.check()
        held = frozenset(p.name for p in self._pollers.values() if p.task in observation.off)
        tick = partial(self.dispatcher.tick, View(observation.config, companies, held))
        self._held_sources = held
        claims = self._pollers.values() if claim and not self._draining else ()

        def poll(poller: Poller, claimed: Callable[[], None]) -> float | None:
            gate = self._gate(poller, observation, companies)
            return poller.poll(observation.config, companies, gate, claimed)

        try:
            return Round(claims, context.metrics, poll, tick).run()
        finally:  # what was claimed goes on, whatever the queues hold
            tick()

    def inside(self) -> Inside:
        """What /readyz and the metrics show; from another thread."""
        doubts = tuple(self._locks.doubts())
        return Inside(self.dispatcher.breakers.all(), self.dispatcher.holds, doubts)

    def show_depths(self) -> None:
        """Ask each provider that has queues how much waits there. Raises DatabaseError."""
        self._depths.show(self._context.companies())

    def take_results(self) -> int:
        """Settle what providers reported; returns how many reports. Raises DatabaseError."""
        return self._results.poll(self._context.companies)

    def tidy(self) -> bool:
        """Forget what finished long ago, while nothing keeps mail from moving.

        Returns whether more is left. Raises DatabaseError and LeaseLostError.
        """
        observation = self._context.observe()
        if observation.blocked:
            return False
        return self._retention.run(retention_days(observation.config))

    def take_feedback(self) -> int:
        """Take in bounces, complaints and deliveries; returns how many messages of providers.

        Raises DatabaseError.
        """
        return self._feedback.poll(self._context.companies())

    def show_rates(self) -> None:
        """Set the gauges of bounces and complaints. Raises DatabaseError."""
        companies = self._context.companies()
        self._feedback.show_rates(c.company_id for c in companies if c.feedback_queue_url)

    def is_idle(self, next_at: float | None, *, claim: bool) -> bool:
        """Whether nothing is left to do; then open jobs are closed. Raises DatabaseError."""
        soon = next_at is not None and next_at - time.monotonic() < SOON_SECONDS
        unsettled = (
            claim
            and not self._draining
            and not all(poller.settled for poller in self._pollers.values())
        )
        if soon or unsettled or self.dispatcher.busy():
            return False
        holds, database = self.dispatcher.holds, self._context.database
        if not holds.everything:
            with database.read() as conn:
                for company_id in self._used_up:  # what left before is still to be told of
                    if asks.awaits_results(conn, database, company_id):
                        return False
                if unfinished_batches(
                    conn,
                    database,
                    held_jobs=holds.jobs,
                    held_companies=holds.companies,
                    held_sources=self._held_sources,
                ):
                    return False
        for poller in self._pollers.values():
            poller.close_all()
        return True

    def rests(self, next_at: float | None) -> bool:
        """Whether there will be nothing to do before something changes."""
        sources = all(poller.resting for poller in self._pollers.values())
        return next_at is None and sources and not self.dispatcher.busy()

    def look_at_holds(self) -> None:
        """Hold what an admin has paused, and what is outside its hours. Raises DatabaseError."""
        context, site = self._context, read_site(self._context.database)
        companies = context.companies()
        used_up = self.dispatcher.quotas.used_up(companies)
        if used_up != self._used_up:
            told: dict[str, object] = {"used_up": {str(c): why for c, why in used_up.items()}}
            with context.database.write(context.lease.token) as tx:
                update_state(tx, context.database, told)
            self._used_up = used_up
        with context.database.read() as conn:
            jobs = paused_jobs(conn, context.database)
        holds = holds_now(
            companies,
            jobs,
            site.now,
            everything=bool(site.state.get(EVERYTHING)),
            stopped=standings(site.state),
            used_up=used_up,
        )
        if holds != self.dispatcher.holds:
            self.dispatcher.holds = holds
            for company, reason in holds.companies.items():
                self._teller.tell(f"mail of company {company} is held: %s", reason)
            if holds.everything:
                self._teller.tell("%s", "all mail is held: `resume all` lets it go on")

    def answer_urgent(self) -> None:
        """Pause and resume as asked: often, and from a thread of its own, so that a pause need not
        wait for the end of a long drain. Raises DatabaseError, StoreError."""
        context = self._context
        self.look_at_holds()
        if answer_requests(context.database, context.lease.token, self._actions, only=URGENT):
            self.look_at_holds()
        if requests.waits(context.database, leave=ASIDE):  # a drain would let them wait a minute
            for poller in self._pollers.values():
                poller.hurried = True

    def answer_questions(self) -> None:
        """Answer what changes nothing: from a thread of its own. Raises DatabaseError."""
        context = self._context
        answer_requests(context.database, context.lease.token, self._questions, only=QUESTIONS)

    def retire(self) -> None:
        """Lead no more; what is in flight ends by itself, because the lease is gone."""
        self.dispatcher.halt()
        self._renderer.close()

    def stop(self, seconds: float) -> None:
        """Finish what is in flight, take nothing new."""
        self.dispatcher.stop(seconds)
        self._renderer.close()

    def stop_claiming(self) -> None:
        """From another thread: claim nothing more."""
        for poller in self._pollers.values():
            poller.stopping = True

    def _read_wishes(self, site: SiteRow) -> None:
        """What admins confirmed: old mail to take, and draining, until we are started anew."""
        for key, value in site.state.items():
            match key.split(":"):
                case ["backlog", name, company] if name in self._pollers:
                    if isinstance(value, int):
                        self._pollers[name].release_old(int(company), value)
        drained_at = site.state.get("draining")
        self._draining = isinstance(drained_at, int) and drained_at >= self._started_at

    def _gate(self, poller: Poller, observation: Observation, companies: Companies) -> Gate:
        """Why a company's mail may not be claimed now; '' if it may."""

        def gate(company_id: int) -> str:
            company = companies.get(company_id)
            if not company.claims:
                return "company_not_enabled"
            if poller.task in observation.off:
                return "task_disabled"
            if self._locks.is_in_doubt(poller.task):
                return "lock_in_doubt"
            breaker = self.dispatcher.breakers.of((company_id, company.provider))
            if company.fallback == "moodle" and breaker.is_open(time.monotonic()):
                return "provider_down"
            try:
                self._routes.find(observation.config, company, company.provider)
            except MailSettingsError as error:
                self._teller.tell(f"company {company_id}: %s", str(error))
                return "no_route"
            return ""

        return gate

    def _show_state(self, observation: Observation) -> None:
        """Write what blocks and what waits into our row, for the pages, when it has changed."""
        troubles = {str(c): reason for c, reason in self.dispatcher.breakers.troubles().items()}
        if time.monotonic() - self._counted_at >= COUNT_SECONDS:
            self._counted_at = time.monotonic()
            self._backlog = {
                name: [int(rows), int(age)]
                for name, (rows, age) in self._context.metrics.waiting().items()
            }
        shown: dict[str, object] = {
            "backlog": self._backlog,
            "blocked": [*observation.blocked, *observation.off.values()],
            "lock_doubts": self._locks.doubts(),
            "troubles": troubles,
        }
        if shown == self._shown:
            return
        self._shown = shown
        with self._context.database.write(self._context.lease.token) as tx:
            update_state(tx, self._context.database, shown)
