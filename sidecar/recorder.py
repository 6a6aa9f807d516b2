"""The one writer of outcomes that a connector learns at once (smtp)."""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection

from sidecar.errors import DatabaseError, LeaseLostError, SidecarError
from sidecar.lifecycle import Recipient
from sidecar.mail import Outcome
from sidecar.metrics.registry import Metrics
from sidecar.store import results
from sidecar.store.database import Database, Transaction, translated
from sidecar.store.engines import IDLE_SECONDS
from sidecar.store.outcomes import apply_outcomes
from sidecar.store.site import Lease

log = logging.getLogger(__name__)

RETRY_WRITE = 0.5
"""Seconds between attempts to write outcomes while the database is away."""


@dataclass(slots=True)
class _Waiting:
    """One call of ``report`` that waits for its commit."""

    outcomes: Sequence[Outcome]
    is_done: bool = False
    refused: frozenset[int] = frozenset()
    error: SidecarError | None = None


KNOWN_BATCHES = 2_000
"""Batches whose company is remembered: far more than are ever sent at the same time."""


class _Known(NamedTuple):
    company_id: int
    provider: str
    claimed_at: int


class Recorder:
    """The one writer of outcomes: each commit takes everything that waits (DESIGN §3).

    Whoever reports waits for its turn to write; what others have reported by then is written too.

    While the database is away the writer keeps trying as long as the lease lasts. What it could
    not write by then it keeps, and writes first when this process leads again, so that a mail
    that was sent is not sent once more.
    """

    def __init__(self, database: Database, lease: Lease, metrics: Metrics) -> None:
        self._database = database
        self._lease = lease
        self._metrics = metrics
        self._queue: list[_Waiting] = []
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._until = math.inf
        self._unwritten: list[Outcome] = []
        self._started: set[int] = set()
        self._dirty: set[int] = set()
        self._known: dict[int, _Known] = {}
        self._conn: Connection | None = None
        self._used_at = 0.0

    def report(self, outcomes: Sequence[Outcome]) -> frozenset[int]:
        """``connectors.base.Report``."""
        waiting = _Waiting(outcomes)
        with self._lock:
            self._queue.append(waiting)
        with self._turn:
            if not waiting.is_done:
                self._settle_all()
        if waiting.error is not None:
            raise waiting.error
        return waiting.refused

    def introduce(self, batch_id: int, company_id: int, provider: str, claimed_at: int) -> None:
        """Whose mails the outcomes of a batch are, for the metrics. claimed_at: Unix seconds."""
        with self._lock:
            self._known.pop(batch_id, None)
            self._known[batch_id] = _Known(company_id, provider, claimed_at)
            while len(self._known) > KNOWN_BATCHES:
                del self._known[next(iter(self._known))]

    def dropped(self, company_id: int, provider: str, outcomes: Sequence[Outcome]) -> None:
        """Count mails that end without having been handed to a connector."""
        for outcome in outcomes:
            self._metrics.ended(company_id, provider, outcome.status.value, outcome.error_code)

    def stop(self, seconds: float) -> None:
        """Write what waits, for at most so long, and let go of the connection."""
        self._until = time.monotonic() + seconds
        if self._turn.acquire(timeout=seconds + 2 * RETRY_WRITE):
            try:
                self._settle_all()
            finally:
                self._turn.release()
        if self._conn is not None:
            self._conn.close()

    def take_dirty(self) -> set[int]:
        """Batches whose mails have changed since the last call."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
        return dirty

    def touch(self, batch_ids: Collection[int]) -> None:
        """Have these batches recomputed with the next refresh."""
        with self._lock:
            self._dirty |= set(batch_ids)

    def write_kept(self) -> None:
        """After taking the lease again: write what could not be written; raises DatabaseError."""
        with self._lock:
            kept, self._unwritten = self._unwritten, []
            self._started.clear()
        finals = [outcome for outcome in kept if outcome.status is not Recipient.PROCESSING]
        if not finals:
            return
        try:
            with self._turn:
                self._write(finals)
        except SidecarError:
            with self._lock:
                self._unwritten = finals + self._unwritten
            raise
        log.warning("wrote %d outcomes that the database had missed", len(finals))

    def _settle_all(self) -> None:
        """Write all that waits; called by whose turn it is."""
        with self._lock:
            taken, self._queue = self._queue, []
        if not taken:
            return
        outcomes = [outcome for waiting in taken for outcome in waiting.outcomes]
        error: SidecarError | None = None
        refused: frozenset[int] = frozenset()
        try:
            refused = self._write_while_leading(outcomes)
        except SidecarError as lost:
            error = lost
        except Exception as defect:
            log.exception("outcomes cannot be written: a defect")
            error = SidecarError(f"outcomes cannot be written: {type(defect).__name__}")
        if error is not None:
            with self._lock:
                self._unwritten += outcomes
        for waiting in taken:
            waiting.refused, waiting.error, waiting.is_done = refused, error, True

    def _write_while_leading(self, outcomes: Sequence[Outcome]) -> frozenset[int]:
        while True:
            self._lease.guard()
            if time.monotonic() > self._until:
                raise LeaseLostError("the sidecar stops while the database is away")
            try:
                return self._write(outcomes)
            except DatabaseError as error:
                log.warning("outcomes wait for the database: %s", error)
                time.sleep(RETRY_WRITE)

    def _write(self, outcomes: Sequence[Outcome]) -> frozenset[int]:
        batch_ids = {outcome.batch_id for outcome in outcomes}
        new = batch_ids - self._started
        with translated(), self._transaction() as tx:
            if new:
                results.start_batches(tx, self._database, new)
            wrong = apply_outcomes(tx, self._database, outcomes)
        self._started |= new
        with self._lock:
            self._dirty |= batch_ids
        refused = {outcome.mail_id for outcome in wrong}
        ended = Counter(
            (outcome.batch_id, outcome.status, outcome.error_code)
            for outcome in outcomes
            if outcome.status is not Recipient.PROCESSING and outcome.mail_id not in refused
        )
        for (batch_id, status, code), number in ended.items():
            self._count(batch_id, status, code, number)
        for outcome in wrong:
            if outcome.status is not Recipient.PROCESSING:
                log.error("mail %d: the result %s was refused", outcome.mail_id, outcome.status)
        return frozenset(o.mail_id for o in wrong if o.status is Recipient.PROCESSING)

    def _count(self, batch_id: int, status: Recipient, code: str, number: int) -> None:
        with self._lock:
            known = self._known.get(batch_id)
        if known is None:  # kept back until this process led again
            self._metrics.ended(None, "smtp", status.value, code, number=number)
            return
        seconds = time.time() - known.claimed_at
        self._metrics.ended(known.company_id, known.provider, status.value, code, seconds, number)

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        """A transaction on the writer's own connection, made anew after an error or a long rest."""
        if self._conn is not None and time.monotonic() - self._used_at > IDLE_SECONDS / 2:
            self._conn.close()
            self._conn = None
        if self._conn is None:
            self._conn = self._database.connection_for_writing()
        self._used_at = time.monotonic()
        try:
            with self._conn.begin():
                yield self._database.enter(self._conn, self._lease.token)
        except BaseException:
            broken, self._conn = self._conn, None
            broken.invalidate()
            broken.close()
            raise
