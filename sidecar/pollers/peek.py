"""What waits in IOMAD's queue: read from above the watermark, and by a slow walk below it.

The walk comes from both ends in turn: what has waited longest lies at the lower one.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from sqlalchemy import Connection

from sidecar.grouping import Group, Waiting, job_type
from sidecar.moodle import mail_queue
from sidecar.moodle.tables import MoodleTables
from sidecar.pollers.base import TooOld, Wanted
from sidecar.pollers.watermark import Watermark

PAGE = 5_000
"""Rows that one query reads."""

MAX_WAITING = 100_000
"""Rows that are remembered; while so many wait, no more are read."""

MAX_OF_GROUP = 10_000
"""Rows of one group that are remembered: a company with a million must not hide the others."""

LONG_PAGE = 50_000
"""Ids that one query passes where it leaves out what is full, and reads little."""

MAX_LEFT_OUT = 50
"""Kinds of mail that one query leaves out at most."""

LOOK_SECONDS = 1.0
"""What one look spends on the first walk, or on what was passed over."""

WALK_SHARE = 0.01
"""Part of the time that the walk may take once it has been all the way down."""

MAX_REST = 30.0
"""Seconds of rest that a walk may make up for, when looks are rare."""

VERIFY_EVERY = 5.0
"""Seconds after which rows that were left to Moodle are looked at again."""

VERIFY_SHARE = 0.02
"""Part of the time that this may take, however many rows wait."""


Add = Callable[[Iterable[mail_queue.QueueEntry]], None]


class Peek:
    """The rows that wait, by id; bounded in memory. Times are monotonic seconds."""

    def __init__(
        self,
        tables: MoodleTables,
        job_types: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.waiting: dict[int, Waiting] = {}
        self.old: Counter[int] = Counter()
        self.looked = -math.inf
        self._tables = tables
        self._job_types = job_types
        self._clock = clock
        self._sizes: Counter[Group] = Counter()
        self._passed: dict[Group, int] = {}
        self._kinds: dict[Group, set[tuple[int, str]]] = {}
        self._old_on_the_way: Counter[int] = Counter()
        self._mark: Watermark | None = None
        self._low = self._high = 0
        self._from_below = True
        self._walked_once = False
        self._walk_not_before = 0.0
        self._verify_not_before = 0.0
        self._refused: dict[int, float] = {}

    def look(self, conn: Connection, wanted: Wanted, too_old: TooOld) -> None:
        """``base.Peeking``."""
        if self._mark is None:
            self._mark = Watermark(mail_queue.max_id(conn, self._tables))
            self._high = self._mark.top
        now = self._clock()
        add = partial(self._add, wanted=wanted, too_old=too_old, now=now)
        self._above(conn, self._mark, add, now)
        self._late(conn, self._mark, add, now)
        self._walk(conn, self._mark, add, now)
        self._refill(conn, add, now)
        if len(self.waiting) < MAX_WAITING:
            self.looked = now
        if now >= self._verify_not_before:
            began = self._clock()
            self.forget([row_id for row_id, mail in self.waiting.items() if too_old(mail)])
            self.verify(conn, list(self.waiting))
            spent = self._clock() - began
            self._verify_not_before = now + max(VERIFY_EVERY, spent / VERIFY_SHARE)

    def look_again(self) -> None:
        """Start the walk anew: a company was enabled, or old mail was released."""
        if self._mark is not None:
            self._low, self._high = 0, self._mark.top
        self._walked_once = False
        self._walk_not_before = 0.0
        self._old_on_the_way.clear()
        self._passed.clear()
        self._kinds.clear()
        self._refused.clear()

    @property
    def walked(self) -> bool:
        """Whether the walk has been all the way down since it was started."""
        return self._walked_once

    @property
    def resting(self) -> bool:
        """``base.Peeking``."""
        late = self._mark is not None and self._mark.gaps
        return self._walked_once and not self.waiting and not late and not self._passed

    def refuse(self, ids: Iterable[int]) -> None:
        """These rows stay with Moodle; do not bring them up again for a while."""
        refused = list(ids)
        self.forget(refused)
        self._refused.update(dict.fromkeys(refused, self._clock()))

    def forget(self, ids: Iterable[int]) -> None:
        """These rows wait no more."""
        for row_id in ids:
            if mail := self.waiting.pop(row_id, None):
                self._sizes[mail.group] -= 1

    def verify(self, conn: Connection, ids: Collection[int]) -> None:
        """Drop those of the rows that Moodle has sent or removed meanwhile."""
        listed = list(ids)
        for start in range(0, len(listed), PAGE):
            page = listed[start : start + PAGE]
            entries = mail_queue.entries_by_id(conn, self._tables, page)
            still = {entry.id for entry in entries if entry.waiting}
            self.forget(row_id for row_id in page if row_id not in still)

    def _above(self, conn: Connection, mark: Watermark, add: Add, now: float) -> None:
        while len(self.waiting) < MAX_WAITING:
            entries = mail_queue.entries_above(conn, self._tables, mark.top, PAGE)
            mark.passed((entry.id for entry in entries), now)
            add(entries)
            if len(entries) < PAGE:
                break

    def _late(self, conn: Connection, mark: Watermark, add: Add, now: float) -> None:
        mark.forget_old(now)
        gaps = mark.gaps
        if gaps:
            entries = mail_queue.entries_by_id(conn, self._tables, gaps)
            mark.found(entry.id for entry in entries)
            add(entries)

    def _walk(self, conn: Connection, mark: Watermark, add: Add, now: float) -> None:
        """All rows below the mark: at once the first time, then again and again, bit by bit."""
        while len(self.waiting) < MAX_WAITING and now >= self._walk_not_before:
            began = self._clock()
            add(self._next_slice(conn))
            whole = self._low >= self._high
            if whole:
                self._walked_once = True
                self._low, self._high = 0, mark.top
                self.old, self._old_on_the_way = self._old_on_the_way, Counter()
                self._refused = {i: at for i, at in self._refused.items() if now - at < 600}
            ended = self._clock()
            if self._walked_once:
                rested = max(self._walk_not_before, ended - MAX_REST)
                self._walk_not_before = rested + (ended - began) / WALK_SHARE
            if ended - now > LOOK_SECONDS or whole:
                return

    def _refill(self, conn: Connection, add: Add, now: float) -> None:
        """Read what was passed over of groups that were full, and have room now."""
        groups = [group for group in self._passed if self._sizes[group] <= MAX_OF_GROUP // 2]
        at = max((self._passed.pop(group) for group in groups), default=0)
        while (
            at > 0
            and len(self.waiting) < MAX_WAITING
            and any(self._sizes[group] < MAX_OF_GROUP for group in groups)
            and self._clock() - now <= LOOK_SECONDS
        ):
            page, left_out = self._page(at)
            entries, at = mail_queue.waiting_below(conn, self._tables, at, page, left_out)
            add(entries)
        if at > 0:
            for group in groups:
                self._passed[group] = max(self._passed.get(group, 0), at)

    def _next_slice(self, conn: Connection) -> list[mail_queue.QueueEntry]:
        """Read at the end whose turn it is; what lies between the ends becomes less."""
        page, left_out = self._page(self._high)
        page = min(page, self._high - self._low)
        if self._from_below:
            entries, self._low = mail_queue.waiting_above(
                conn, self._tables, self._low, page, left_out
            )
        else:
            entries, self._high = mail_queue.waiting_below(
                conn, self._tables, self._high, page, left_out
            )
        self._from_below = not self._from_below
        return entries

    def _page(self, top: int) -> tuple[int, list[tuple[int, str]]]:
        """How many ids to read, up to ``top`` at most, and the kinds of mail to leave out.

        Those are full: it is only noted that there may be more of them. What of them is too old is
        not counted on this way.
        """
        full = [g for g in self._kinds if g in self._passed and self._sizes[g] >= MAX_OF_GROUP]
        left_out = [kind for group in full for kind in self._kinds[group]][:MAX_LEFT_OUT]
        for group in full:
            self._passed[group] = max(self._passed[group], top)
        return (LONG_PAGE if left_out else PAGE), left_out

    def _add(
        self,
        entries: Iterable[mail_queue.QueueEntry],
        *,
        wanted: Wanted,
        too_old: TooOld,
        now: float,
    ) -> None:
        for entry in entries:
            known = entry.id in self.waiting or entry.id in self._refused
            if known or not entry.waiting or not wanted(entry.company_id):
                continue
            group = Group(job_type(entry.templatename, self._job_types), entry.company_id)
            mail = Waiting(entry.id, group, entry.due, entry.modified, now)
            if too_old(mail):
                self._old_on_the_way[entry.company_id] += 1
            elif self._sizes[group] >= MAX_OF_GROUP:
                self._passed[group] = max(self._passed.get(group, 0), entry.id)
                if entry.company_id and entry.templatename:
                    self._kinds.setdefault(group, set()).add((entry.company_id, entry.templatename))
            else:
                self._sizes[group] += 1
                self.waiting[entry.id] = mail
