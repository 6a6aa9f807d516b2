"""Due batches → mails → connector; back-off, breaker, fallback."""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from sidecar.breakers import Breakers, Way
from sidecar.connectors.base import Connector, Submission, Verdict
from sidecar.errands import Errands
from sidecar.errors import SidecarError
from sidecar.fallback import Fallback, Recall
from sidecar.handover import Desk
from sidecar.handover_later import Later
from sidecar.holds import Holds
from sidecar.jobs import Source
from sidecar.lanes import Lane
from sidecar.lifecycle import Recipient
from sidecar.mail import MailBatch, Outcome
from sidecar.metrics.registry import Metrics
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.mail_settings import MailSettingsError, diversion
from sidecar.preparing import BLOCKED_WAIT, Preparing
from sidecar.quotas import Quotas
from sidecar.recorder import Recorder
from sidecar.render import Elsewhere
from sidecar.routes import Route, Routes
from sidecar.settings import Settings
from sidecar.store import asks, queue
from sidecar.store.companies import Companies
from sidecar.store.database import Database
from sidecar.store.site import Lease

log = logging.getLogger(__name__)

MANY = 3
"""If so many batches wait in a lane, another process is started that renders them."""

LOOKAHEAD = 40
"""Due batches that one look at the queue takes for all lanes."""

IN_LINE = 8
"""Batches of a company that wait in a lane: what comes later for others is not behind all of it."""

WORK_AT_PROVIDER = 180
"""Seconds of work, by a company's own rate, that a provider has at most."""


@dataclass(frozen=True, slots=True)
class View:
    """What one tick knows of the site. held: sources whose mail may not leave now."""

    config: MoodleConfig
    companies: Companies
    held: frozenset[str] = frozenset()


class Dispatcher:
    """Runs one lane a route; every batch is in at most one lane."""

    def __init__(
        self,
        database: Database,
        lease: Lease,
        recorder: Recorder,
        routes: Routes,
        sources: Mapping[str, Source],
        metrics: Metrics,
        settings: Settings,
        elsewhere: Elsewhere,
        recall: Recall,
    ) -> None:
        self._database = database
        self._lease = lease
        self._recorder = recorder
        self._routes = routes
        self._metrics = metrics
        self._give_up_after = settings.give_up_after
        self._batch_size = settings.batch_size
        self.quotas = Quotas(database, settings.batch_size)
        self._desk = Desk(database, lease, recorder, sources)
        self._later = Later(self._desk, settings.result_timeout, settings.batch_size, elsewhere)
        self._preparing = Preparing(self._desk, self._later, self.quotas, sources)
        self._lock = threading.Lock()
        self._lanes: dict[Route, Lane] = {}
        self._interrupted: set[int] = set()
        self._fallback = Fallback(database, lease, sources, recall)
        self._falling: Errands[Way] = Errands("the fallback waits", 0)
        self._stop = threading.Event()
        self._view: View | None = None
        self.breakers = Breakers()
        self.holds = Holds()
        """What an admin holds back; replaced as a whole, also from another thread."""

    def recover(self) -> None:
        """On taking the lease: free all that a process before us left in flight."""
        with self._database.read() as conn:
            running = queue.running_batches(conn, self._database, "smtp")
        self._free(running)
        self._later.recover(None)

    def _free(self, batch_ids: Sequence[int]) -> None:
        """Write what was kept back, then make what was in flight sendable again."""
        self._recorder.write_kept()
        self._later.recover(batch_ids)
        with self._database.write(self._lease.token) as tx:
            freed = queue.recover_interrupted(tx, self._database, batch_ids)
        self._recorder.touch(batch_ids)
        if freed:
            log.warning("%d mails were in flight when sending was interrupted: sent again", freed)

    def tick(self, view: View) -> None:
        """Put every due batch into a lane. Raises DatabaseError, also of the last fallback."""
        self._view = view
        with self._lock:
            interrupted = sorted(self._interrupted)
        if interrupted:
            self._free(interrupted)
            with self._lock:
                self._interrupted.difference_update(interrupted)
        self._try_what_is_set_up_anew(view)
        self._fill(view)
        self._fall_back(view)

    def _try_what_is_set_up_anew(self, view: View) -> None:
        """A way that was refused is tried at once when its settings, such as its keys, change."""
        for way, before in self.breakers.refused().items():
            company_id, provider = way
            company = view.companies.get(company_id)
            try:
                now = self._routes.find(view.config, company, provider), company.provider
            except MailSettingsError:
                continue
            if now == before:
                continue
            with self._database.write(self._lease.token) as tx:
                queue.make_due(tx, self._database, company_id, provider)
            self.breakers.accept(way)
            log.info("company %d: %s is set up anew: what waits is tried now", company_id, provider)

    def halt(self) -> None:
        """Nothing may leave now; batches that a connector has not asked for yet stay."""
        self._view = None

    def busy(self) -> bool:
        """Whether any lane is at work."""
        with self._lock:
            return any(lane.holding or lane.thread for lane in self._lanes.values())

    def stop(self, seconds: float) -> None:
        """Finish what is in flight, take nothing new, close the connections."""
        self._stop.set()
        deadline = time.monotonic() + seconds
        self._routes.close(seconds)
        with self._lock:
            threads = [lane.thread for lane in self._lanes.values() if lane.thread]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _fill(self, view: View) -> None:
        if self.holds.everything:
            return
        shut = self.breakers.shut()
        with self._lock:
            held = {i for lane in self._lanes.values() for i in lane.holding} | self._interrupted
            ways = Counter((batch.company_id, batch.provider) for batch in self._in_line())
            shut |= {way for way, number in ways.items() if number >= IN_LINE}
        with self._database.read() as conn:
            due = queue.due_batches(
                conn,
                self._database,
                exclude=held,
                exclude_ways=shut,
                exclude_sources=view.held,
                exclude_companies=self.holds.companies,
                limit=LOOKAHEAD,
            )
            room = self._room(conn, view, due)
        refused: dict[str, list[int]] = {}
        for batch in due:
            company = view.companies.get(batch.company_id)
            way = (batch.company_id, batch.provider)
            if room.get(batch.company_id, 1) <= 0 or ways[way] >= IN_LINE:
                continue
            ways[way] += 1
            provider = batch.provider
            if batch.never_submitted and provider != "smtp":
                provider = company.provider
            try:
                route = self._routes.find(view.config, company, provider)
            except MailSettingsError as error:
                refused.setdefault(str(error), []).append(batch.id)
                continue
            self._enqueue(route, batch)
            if batch.company_id in room:
                room[batch.company_id] -= self._batch_size
        for reason, batch_ids in refused.items():
            self._desk.put_back(batch_ids, BLOCKED_WAIT, reason)

    def _in_line(self) -> list[queue.DueBatch]:
        """All that wait in a lane; called under the lock."""
        return [batch for lane in self._lanes.values() for batch in lane.waiting.batches()]

    def _room(
        self, conn: Connection, view: View, due: Collection[queue.DueBatch]
    ) -> dict[int, int]:
        """Companies with a rate, and how many mails their provider may still get for now."""
        with self._lock:
            held = Counter(batch.company_id for batch in self._in_line())
        room = {}
        for company_id in {batch.company_id for batch in due}:
            company = view.companies.get(company_id)
            if company.max_send_rate and company.provider != "smtp":
                there = asks.mails_at_provider(conn, self._database, company_id, company.provider)
                there += held[company_id] * self._batch_size
                room[company_id] = company.max_send_rate * WORK_AT_PROVIDER - there
        return room

    def _enqueue(self, route: Route, batch: queue.DueBatch) -> None:
        probing = self.breakers.is_probing((batch.company_id, route.provider))
        with self._lock:
            held = [b for lane in self._lanes.values() for b in lane.holding.values()]
            if self._stop.is_set() or any(b.id == batch.id for b in held):
                return
            if probing and any(b.company_id == batch.company_id for b in held):
                return
            lane = self._lanes.setdefault(route, Lane(route))
            lane.waiting.put(batch)
            lane.holding[batch.id] = batch
            if lane.thread is None:
                lane.thread = threading.Thread(
                    target=self._run,
                    args=(lane,),
                    name=f"lane-{len(self._lanes)}",
                    daemon=True,
                )
                lane.thread.start()

    def _run(self, lane: Lane) -> None:
        connector = self._routes.connector(lane.route)
        try:
            report = partial(self._report, lane)
            for submission in connector.submit(self._feed(lane, connector), report):
                self._finish(lane, connector, submission)
        except SidecarError as error:
            log.warning("sending was interrupted: %s", error)
        except Exception:
            log.exception("sending was interrupted by a defect")
        finally:
            with self._lock:
                untouched = {batch.id for batch in lane.waiting.batches()}
                ended = list(lane.holding)
                self._interrupted |= set(lane.holding) - untouched
                lane.waiting.clear()
                lane.holding.clear()
                lane.handed_at.clear()
                lane.thread = None
            for batch_id in ended:
                self.quotas.let_go(batch_id)

    def _report(self, lane: Lane, outcomes: Sequence[Outcome]) -> Collection[int]:
        """``connectors.base.Report``: also holds back what may not leave any more."""
        held = {
            outcome.mail_id
            for outcome in outcomes
            if outcome.status is Recipient.PROCESSING and self._must_wait(lane, outcome.batch_id)
        }
        rest = [outcome for outcome in outcomes if outcome.mail_id not in held]
        return held | set(self._recorder.report(rest)) if rest else held

    def _must_wait(self, lane: Lane, batch_id: int) -> bool:
        """Whether an off switch, a pause or another diversion came after a batch was rendered."""
        view, batch = self._view, lane.holding.get(batch_id)
        if view is None or batch is None or self._stop.is_set():
            return True
        if batch.source in view.held or self.holds.reason(batch.company_id, batch.job_id):
            return True
        return lane.diverted.get(batch_id) != diversion(view.config)

    def _feed(self, lane: Lane, connector: Connector) -> Iterator[MailBatch]:
        """Batches of a lane, prepared one at a time, as the connector has room for them."""
        while not self._stop.is_set() and (view := self._view) is not None:
            if not lane.waiting:
                self._fill(view)
            with self._lock:
                batch = lane.waiting.take()
                if batch is None:
                    return
                soon = [batch, *filter(None, [lane.waiting.next()])]
                many = len(lane.waiting) >= MANY
            lane.diverted[batch.id] = diversion(view.config)
            if self._must_wait(lane, batch.id):
                self._let_go(lane, batch.id)
                continue
            self._preparing.expect(soon, connector, view.companies, start=many)
            with self._metrics.dispatch_seconds.labels(connector.name).time():
                ready = self._preparing.prepare(batch, connector, view.companies)
            if ready is not None:
                lane.handed_at[batch.id] = time.monotonic()
                self._recorder.introduce(
                    batch.id, batch.company_id, connector.name, batch.created_at
                )
                yield ready
            else:
                self._let_go(lane, batch.id)

    def _finish(self, lane: Lane, connector: Connector, submission: Submission) -> None:
        batch = lane.holding[submission.batch_id]
        way = batch.company_id, lane.route.provider
        handover = self._preparing.way(connector)
        self._count(lane, batch, submission)
        if submission.verdict in (Verdict.ACCEPTED, Verdict.UNCERTAIN):
            if submission.verdict is Verdict.ACCEPTED:
                self.breakers.accept(way)
            else:
                log.warning(
                    "job %d batch %d counts as accepted, its results will tell: %s",
                    batch.job_id, batch.id, submission.reason,
                )  # fmt: skip
            handover.accept(batch, submission)
        else:
            if submission.progressed:
                self.breakers.accept(way)
            reason = f"{submission.code} {submission.reason}".strip()
            for_good = submission.verdict is Verdict.REFUSED_FOR_GOOD
            wait = self.breakers.refuse(way, reason, for_good=for_good)
            if view := self._view:
                set_up = lane.route, view.companies.get(batch.company_id).provider
                self.breakers.refused_as(way, set_up)
            log.warning("job %d batch %d waits %.0f s: %s", batch.job_id, batch.id, wait, reason)
            handover.refuse(batch, math.ceil(wait), reason)
        self._let_go(lane, batch.id)

    def _count(self, lane: Lane, batch: queue.DueBatch, submission: Submission) -> None:
        metrics, who = self._metrics, (str(batch.company_id), lane.route.provider)
        metrics.submissions.labels(*who, submission.verdict.value).inc()
        if batch.first_issued_at is not None:
            metrics.retries.labels(*who).inc()
        if (handed_at := lane.handed_at.get(batch.id)) is not None:
            elapsed = time.monotonic() - handed_at
            metrics.provider_seconds.labels(lane.route.provider).observe(elapsed)

    def _let_go(self, lane: Lane, batch_id: int) -> None:
        with self._lock:
            lane.holding.pop(batch_id, None)
            lane.diverted.pop(batch_id, None)
            lane.handed_at.pop(batch_id, None)
        self.quotas.let_go(batch_id)

    def _fall_back(self, view: View) -> None:
        """Mail whose provider has been down too long goes as its company says.

        In a thread of its own: the provider is asked for what it has, and may not answer.
        """
        down = self.breakers.down_for(self._give_up_after)
        self._falling.begin(
            {
                (company_id, provider): partial(
                    self._fallback.take, view.companies.get(company_id), provider
                )
                for company_id, provider in down
            }
        )
        self._falling.take()
