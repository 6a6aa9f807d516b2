"""What pollers of Moodle's own queues share: plan, claim in chunks under cron's lock, close."""

import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from sidecar.errors import LockBusyError, LockUnusableError
from sidecar.grouping import Group, Plan, Rules, Waiting, is_too_old, plan_claims
from sidecar.jobs import Prepared, close_jobs
from sidecar.metrics.registry import Metrics
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.locks import TaskLock
from sidecar.operations import Operations
from sidecar.pollers.base import Claimed, Claiming, Gate, Peeking
from sidecar.pollers.looking import LOOK_SECONDS, next_look
from sidecar.pollers.turns import Turns
from sidecar.settings import Settings
from sidecar.store import capture
from sidecar.store.companies import Companies
from sidecar.store.database import Database, translated
from sidecar.store.engines import reason_of
from sidecar.store.operations import read_operations
from sidecar.store.queue import DueBatch, PendingMail
from sidecar.store.site import Lease

log = logging.getLogger(__name__)

CHUNK = 500
"""Rows that one transaction claims."""

VERIFIED = 1_000
"""Rows of a group that are looked at again before a job is opened for it; the claim reads every row
again anyway."""

VERIFIED_SECONDS = 5.0
"""How long it is good enough that the rows of a group were looked at again."""

INCOMPLETE_SECONDS = 60.0
"""How long a row may wait for its facts before it is Moodle's."""


Chunk = tuple[Group, Sequence[int]]
"""Rows of a group that one transaction claims."""


class QueuePoller(ABC):
    """A source whose rows wait in a table of Moodle's, for a scheduled task that sends them."""

    name: str
    task: str

    def __init__(
        self,
        database: Database,
        peek: Peeking,
        claim: Claiming,
        settings: Settings,
        lease: Lease,
        lock: TaskLock,
        metrics: Metrics,
    ) -> None:
        self.peek = peek
        self.stopping = False
        self.hurried = False
        self.settled = False
        self.resting = False
        self._database = database
        self._claim = claim
        self._settings = settings
        self._lease = lease
        self._lock = lock
        self._metrics = metrics
        self._rules = Rules(
            min_age=settings.min_age,
            max_age=settings.max_age,
            flush_after=settings.flush_after,
            batch_size=settings.batch_size,
        )
        self._left: Counter[tuple[str, int]] = Counter()
        self._shown_left: set[tuple[str, int]] = set()
        self._claiming: frozenset[int] = frozenset()
        self._free_until = 0.0
        self._busy_since: float | None = None
        self._old_until: dict[int, int] = {}
        self._operations = Operations()
        self._turns = Turns(settings.batch_size, CHUNK)
        self._looked = 0.0
        self._verified: dict[Group, float] = {}

    @abstractmethod
    def newest(self, conn: Connection) -> int:
        """``Poller.newest``."""

    @abstractmethod
    def prepare(
        self, conn: Connection, batch: DueBatch, waiting: Sequence[PendingMail]
    ) -> Prepared:
        """``jobs.Source.prepare``."""

    @abstractmethod
    def give_back(self, conn: Connection, originals: Mapping[int, int], stamp: int) -> set[int]:
        """``jobs.Source.give_back``."""

    @abstractmethod
    def still_wait(
        self, conn: Connection, rows: Collection[tuple[int, int]]
    ) -> set[tuple[int, int]]:
        """``jobs.Source.still_wait``."""

    def poll(
        self, config: MoodleConfig, companies: Companies, gate: Gate, claimed: Callable[[], None]
    ) -> float | None:
        """``Poller.poll``."""
        claiming = frozenset(company.company_id for company in companies if company.claims)
        if claiming - self._claiming:
            self.peek.look_again()
        self._claiming = claiming
        plan, jobs, now = self._look(companies, gate)
        if plan.claims and time.monotonic() >= self._free_until:
            self._turns.plan(plan.claims)
            look = partial(self._look, companies, gate)
            self._drain(look, config, companies, claimed)
        elif not plan.claims and self._busy_since:
            self._lock_busy(busy=False)
        seen_all = self.peek.walked and self.peek.looked >= self._looked
        self._close_done(jobs, now, companies if seen_all else None)
        self._show_left(plan, now)
        self.settled = self.peek.walked and not plan.claims
        self.resting = self.peek.resting
        if self._free_until > time.monotonic():
            plan.wait_until(self._free_until)
        return plan.next_at

    def _look(
        self, companies: Companies, gate: Gate
    ) -> tuple[Plan, Collection[capture.OpenJob], int]:
        """What to do now, the open jobs, and the database's time."""
        self._looked = time.monotonic()
        with self._database.read() as conn:
            # Before the look: what an operation has queued that is over by now is seen by it.
            self._operations = read_operations(conn, self._database, self._settings.quiet_period)
            now = self._database.now(conn)
            self.peek.look(conn, self._claiming.__contains__, partial(self._too_old, now))
            jobs = capture.open_jobs(conn, self._database, self.name)
        plan = self._plan(companies, gate, jobs, now)
        long_ago = time.monotonic() - VERIFIED_SECONDS
        opening = [g for g in plan.opening if self._verified.get(g, 0.0) < long_ago]
        if opening:
            with self._database.read() as conn:
                for group in opening:
                    self.peek.verify(conn, plan.claims[group][:VERIFIED])
            self._verified.update(dict.fromkeys(opening, time.monotonic()))
            plan = self._plan(companies, gate, jobs, now)
        return plan, jobs, now

    def _plan(
        self, companies: Companies, gate: Gate, jobs: Collection[capture.OpenJob], now: int
    ) -> Plan:
        reasons: dict[int, str] = {}
        open_to: list[Waiting] = []
        held: Counter[tuple[str, int]] = Counter()
        for mail in self.peek.waiting.values():
            company = mail.group.company_id
            if company not in reasons:
                reasons[company] = gate(company)
            if reasons[company]:
                held[reasons[company], company] += 1
            else:
                open_to.append(mail)
        plan = plan_claims(
            open_to,
            open_groups=frozenset(Group(job.type, job.company_id) for job in jobs),
            threshold=lambda company: companies.get(company).bulk_threshold,
            may_take_old=self._may_take_old,
            rules=self._rules,
            now=now,
            monotonic=time.monotonic(),
        )
        plan.left.update(held)
        plan.left.update({("too_old", company): n for company, n in self.peek.old.items()})
        return plan

    def _may_take_old(self, mail: Waiting) -> bool:
        return mail.id <= self._old_until.get(mail.group.company_id, -1)

    def _too_old(self, now: int, mail: Waiting) -> bool:
        return is_too_old(mail, now, self._rules.max_age) and not self._may_take_old(mail)

    def _drain(
        self,
        look: Callable[[], tuple[Plan, object, int]],
        config: MoodleConfig,
        companies: Companies,
        claimed: Callable[[], None],
    ) -> None:
        """Claim chunk after chunk, each group in its turn, as long as the lock can be had."""

        def chunks() -> Iterator[Chunk]:
            look_at = time.monotonic() + LOOK_SECONDS
            while chunk := self._turns.next():
                yield chunk
                claimed()
                if (began := time.monotonic()) >= look_at and not self._turns.new:
                    plan, _, _ = look()
                    self._turns.plan(plan.claims)
                    ended, walked = time.monotonic(), self.peek.walked
                    look_at = next_look(began, ended, plan.next_at, walked=walked)

        with translated(), self._database.connection_for_writing() as conn:
            try:
                self._claim_chunks(conn, chunks(), config, companies)
                self._lock_busy(busy=False)
            except (LockBusyError, LockUnusableError) as busy:
                self._lock_busy(busy=True)
                log.info("nothing more is claimed now: %s", busy)

    def _lock_busy(self, *, busy: bool) -> None:
        now = time.monotonic()
        self._busy_since = (self._busy_since or now) if busy else None
        self._metrics.lock_busy.labels(self.name).inc(int(busy))
        waited = now - self._busy_since if self._busy_since else 0.0
        self._metrics.lock_wait.labels(self.name).set(waited)

    @abstractmethod
    def _claim_chunks(
        self,
        conn: Connection,
        chunks: Iterable[Chunk],
        config: MoodleConfig,
        companies: Companies,
    ) -> None:
        """Take the lock and claim, unless ``stopping`` or ``hurried``; raises LockBusyError."""

    def _chunk_or_rows(
        self,
        conn: Connection,
        group: Group,
        ids: Sequence[int],
        config: MoodleConfig,
        companies: Companies,
    ) -> None:
        """A row that cannot be stored stays with Moodle; it must not stop the others."""
        try:
            self._chunk(conn, group, ids, config, companies)
        except (IntegrityError, DataError) as error:
            if len(ids) == 1:
                log.warning(
                    "row %d stays with Moodle: it cannot be stored: %s", *ids, reason_of(error)
                )
                self.peek.refuse(ids)
                self._left["cannot_be_stored", group.company_id] += 1
                return
            for row_id in ids:
                self._chunk_or_rows(conn, group, [row_id], config, companies)

    def _chunk(
        self,
        conn: Connection,
        group: Group,
        ids: Sequence[int],
        config: MoodleConfig,
        companies: Companies,
    ) -> None:
        company = companies.get(group.company_id)
        with self._metrics.claim_seconds.time(), conn.begin():
            tx = self._database.enter(conn, self._lease.token)
            with self._lock.transaction(conn):
                by = self._operations.who(group, company.bulk_threshold)
                claimed = self._claim.claim(tx, group, ids, config, company, by)
        self.peek.forget(claimed.gone)
        self.peek.forget(claimed.rows)
        self._leave(group, claimed)
        if claimed.rows:
            number = len(claimed.rows)
            log.info("claimed %d rows: %s, company %d", number, group.type, group.company_id)
            self._metrics.claimed.labels(str(group.company_id), group.type).inc(number)

    def _leave(self, group: Group, claimed: Claimed) -> None:
        for row_id, left in claimed.left.items():
            mail = self.peek.waiting.get(row_id)
            young = mail and time.monotonic() - mail.first_seen < INCOMPLETE_SECONDS
            if left.again and young:
                continue
            self.peek.refuse([row_id])
            self._left[left.reason, group.company_id] += 1
            log.info("row %d stays with Moodle: %s", row_id, left.reason.replace("_", " "))

    def _close_done(
        self, jobs: Collection[capture.OpenJob], now: int, companies: Companies | None
    ) -> None:
        """Close the jobs that nothing has joined for a while, or whose operation is over.

        companies: None if not all is seen that operations have queued which are over.
        """
        busy = {mail.group for mail in self.peek.waiting.values()}

        def done(job: capture.OpenJob, group: Group) -> bool:
            if now - job.last_joined > self._settings.quiet_period:
                return True
            if companies is None:
                return False
            threshold = companies.get(job.company_id).bulk_threshold
            return self._operations.ended(group, job.opened, threshold)

        grouped = [(job, Group(job.type, job.company_id)) for job in jobs]
        self._close([job.id for job, group in grouped if group not in busy and done(job, group)])

    def release_old(self, company_id: int, up_to: int) -> None:
        """``Poller.release_old``."""
        if self._old_until.get(company_id) != up_to:
            self._old_until[company_id] = up_to
            self.peek.look_again()

    def close_all(self) -> None:
        """``Poller.close_all``."""
        with self._database.read() as conn:
            jobs = capture.open_jobs(conn, self._database, self.name)
        self._close([job.id for job in jobs])

    def _close(self, job_ids: Collection[int]) -> None:
        if job_ids:
            with self._database.write(self._lease.token) as tx:
                close_jobs(tx, self._database, job_ids)

    def _show_left(self, plan: Plan, now: int) -> None:
        gauge, left = self._metrics.left, self._left + plan.left
        for reason, company in self._shown_left - left.keys():
            gauge.remove(self.name, reason, str(company))
        for (reason, company), number in left.items():
            gauge.labels(self.name, reason, str(company)).set(number)
        self._shown_left = set(left)
        waiting = self.peek.waiting.values()
        oldest = min((max(mail.due, mail.modified) for mail in waiting), default=now)
        self._metrics.backlog.labels(self.name).set(len(waiting))
        self._metrics.backlog_age.labels(self.name).set(max(0, now - oldest))
