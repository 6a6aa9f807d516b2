"""Companies that may send no more than ``daily_quota`` mails within 24 hours."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.send_window import in_words
from sidecar.store import quota
from sidecar.store.companies import Company
from sidecar.store.database import Database

COUNT_SECONDS = 10.0
"""How long a count is good enough, while there is room."""
SOON_SECONDS = 3.0
"""The same, when there seems to be none."""
SHARE = 10
"""Of the quota, or a batch if that is less: so much must be free before mail goes on. Else what was
sent in a burst yesterday would leave today in messages of one mail."""


@dataclass(slots=True)
class _Count:
    """mails: that left by the tables, at monotonic ``at``; since: given to providers after that."""

    mails: int
    now: int
    at: float
    since: int = 0


class Quotas:
    """What may leave yet; thread-safe. Only companies with a quota are counted.

    batch_size: the most mails of a message.
    """

    def __init__(self, database: Database, batch_size: int) -> None:
        self._database, self._batch_size = database, batch_size
        self._lock = threading.RLock()
        self._turns: dict[int, threading.Lock] = {}
        self._counts: dict[int, _Count] = {}
        self._reserved: dict[int, tuple[int, int]] = {}
        self._told: dict[int, tuple[object, str]] = {}

    def turn(self, company_id: int) -> threading.Lock:
        """Held from asking for room until what left is taken from it."""
        with self._lock:
            return self._turns.setdefault(company_id, threading.Lock())

    def room(self, company: Company) -> int:
        """How many mails may leave now; 0 or less: none. Raises DatabaseError."""
        with self._lock:
            count = self._count(company)
            reserved = sum(n for c, n in self._reserved.values() if c == company.company_id)
            return company.daily_quota - count.mails - count.since - reserved

    def take(self, company_id: int, batch_id: int, mails: int, *, one_by_one: bool) -> None:
        """So many mails of a batch leave now; one_by_one: until ``let_go``, as the tables say."""
        with self._lock:
            if one_by_one:
                self._reserved[batch_id] = (company_id, mails)
            elif company_id in self._counts:
                self._counts[company_id].since += mails

    def let_go(self, batch_id: int) -> None:
        """What has left of a batch is in the tables, the rest leaves later."""
        with self._lock:
            company_id, _ = self._reserved.pop(batch_id, (0, 0))
            if company_id in self._counts:
                self._counts[company_id].at = 0.0

    def used_up(self, companies: Iterable[Company]) -> dict[int, str]:
        """Companies of which nothing may leave now, and why. Raises DatabaseError."""
        with self._lock:
            found = {c.company_id: self._told_of(c) for c in companies if c.daily_quota}
            self._told = {company_id: told for company_id, told in found.items() if told}
            return {company_id: why for company_id, (_, why) in self._told.items()}

    def reason(self, company: Company) -> str:
        """Why nothing of the company may leave now, in words. Raises DatabaseError."""
        with self._lock:
            count, limit = self._count(company), company.daily_quota
            need = count.mails - limit + self._step(company)
        with self._database.read() as conn:
            at = quota.free_at(conn, self._database, company.company_id, count.now, need)
        return (
            f"its quota of {limit} mails a day is used up ({count.mails} left within 24 hours):"
            f" goes on at {in_words(at)}"
        )

    def _told_of(self, company: Company) -> tuple[object, str] | None:
        """What a reason rests on, and the reason: the same words as long as nothing has changed."""
        before, count = self._told.get(company.company_id), self._count(company)
        need = self._step(company) if before else 1
        if company.daily_quota - count.mails >= need:
            return None
        facts = (company.daily_quota, count.mails)
        return before if before and before[0] == facts else (facts, self.reason(company))

    def _step(self, company: Company) -> int:
        return max(1, min(self._batch_size, company.daily_quota // SHARE))

    def _count(self, company: Company) -> _Count:
        count, now = self._counts.get(company.company_id), time.monotonic()
        if count is not None:
            short = count.mails + count.since >= company.daily_quota
            if now - count.at < (SOON_SECONDS if short else COUNT_SECONDS):
                return count
        with self._database.read() as conn:
            used = quota.used(conn, self._database, company.company_id)
        self._counts[company.company_id] = count = _Count(used.mails, used.now, now)
        return count
