"""What waits in IOMAD's queue: read from above the watermark, and by a slow walk below it."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from sqlalchemy import Connection

from sidecar.grouping import Group, Waiting, job_type
from sidecar.moodle import mail_queue
from sidecar.moodle.tables import MoodleTables
from sidecar.pollers.watermark import Watermark

PAGE = 5_000
"""Rows that one query reads."""

MAX_WAITING = 100_000
"""Rows that are remembered; while so many wait, no more are read."""

WALK_SHARE = 0.01
"""Part of the time that the walk may take once it has been all the way down."""

VERIFY_EVERY = 5.0
"""Seconds after which rows that were left to Moodle are looked at again."""


class Peek:
    """The rows that wait, by id; bounded in memory. Times are monotonic seconds."""

    def __init__(
        self,
        tables: MoodleTables,
        job_types: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.waiting: dict[int, Waiting] = {}
        self.looked = -math.inf
        self._tables = tables
        self._job_types = job_types
        self._clock = clock
        self._mark: Watermark | None = None
        self._walk_at = 0
        self._walked_once = False
        self._walk_not_before = 0.0
        self._verified = 0.0
        self._refused: dict[int, float] = {}

    def look(self, conn: Connection, wanted: Callable[[int], bool]) -> None:
        """Read what is new. wanted: whether a company's mail is claimed at all."""
        if self._mark is None:
            self._mark = Watermark(mail_queue.max_id(conn, self._tables))
            self._walk_at = self._mark.top
        now = self._clock()
        self._above(conn, self._mark, wanted, now)
        self._late(conn, self._mark, wanted, now)
        self._walk(conn, wanted, now)
        if len(self.waiting) < MAX_WAITING:
            self.looked = now
        if now - self._verified >= VERIFY_EVERY:
            self.verify(conn, list(self.waiting))
            self._verified = now

    def look_again(self) -> None:
        """Start the walk anew: a company was enabled, or old mail was released."""
        if self._mark is not None:
            self._walk_at = self._mark.top
        self._walked_once = False
        self._refused.clear()

    @property
    def walked(self) -> bool:
        """Whether the walk has been all the way down since it was started."""
        return self._walked_once

    def refuse(self, ids: Iterable[int]) -> None:
        """These rows stay with Moodle; do not bring them up again for a while."""
        now = self._clock()
        for row_id in ids:
            self.waiting.pop(row_id, None)
            self._refused[row_id] = now

    def forget(self, ids: Iterable[int]) -> None:
        """These rows wait no more."""
        for row_id in ids:
            self.waiting.pop(row_id, None)

    def verify(self, conn: Connection, ids: Collection[int]) -> None:
        """Drop those of the rows that Moodle has sent or removed meanwhile."""
        listed = list(ids)
        for start in range(0, len(listed), PAGE):
            page = listed[start : start + PAGE]
            entries = mail_queue.entries_by_id(conn, self._tables, page)
            still = {entry.id for entry in entries if entry.waiting}
            self.forget(row_id for row_id in page if row_id not in still)

    def _above(
        self, conn: Connection, mark: Watermark, wanted: Callable[[int], bool], now: float
    ) -> None:
        while len(self.waiting) < MAX_WAITING:
            entries = mail_queue.entries_above(conn, self._tables, mark.top, PAGE)
            mark.passed((entry.id for entry in entries), now)
            self._add(entries, wanted, now)
            if len(entries) < PAGE:
                break

    def _late(
        self, conn: Connection, mark: Watermark, wanted: Callable[[int], bool], now: float
    ) -> None:
        mark.forget_old(now)
        gaps = mark.gaps
        if gaps:
            entries = mail_queue.entries_by_id(conn, self._tables, gaps)
            mark.found(entry.id for entry in entries)
            self._add(entries, wanted, now)

    def _walk(self, conn: Connection, wanted: Callable[[int], bool], now: float) -> None:
        if now < self._walk_not_before or len(self.waiting) >= MAX_WAITING:
            return
        entries, self._walk_at = mail_queue.waiting_below(conn, self._tables, self._walk_at, PAGE)
        self._add(entries, wanted, now)
        if self._walk_at <= 0 and self._mark is not None:
            self._walked_once = True
            self._walk_at = self._mark.top
            self._refused = {i: at for i, at in self._refused.items() if now - at < 600}
        if self._walked_once:
            self._walk_not_before = now + (self._clock() - now) / WALK_SHARE

    def _add(
        self, entries: Iterable[mail_queue.QueueEntry], wanted: Callable[[int], bool], now: float
    ) -> None:
        for entry in entries:
            known = entry.id in self.waiting or entry.id in self._refused
            if known or not entry.waiting or not wanted(entry.company_id):
                continue
            group = Group(job_type(entry.templatename, self._job_types), entry.company_id)
            self.waiting[entry.id] = Waiting(entry.id, group, entry.due, entry.modified, now)
