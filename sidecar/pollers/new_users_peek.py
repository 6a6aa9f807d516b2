"""The users who wait for a password from Moodle's task."""

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from sqlalchemy import Connection

from sidecar.grouping import Group, Waiting
from sidecar.moodle import new_users
from sidecar.moodle.tables import MoodleTables
from sidecar.pollers.base import TooOld, Wanted

JOB_TYPE = "csv_import"

MAX_WAITING = 100_000
"""Users that one look sees at most."""

MIN_USER_AGE = 5
"""Seconds, by the database's clock, before which a new user is nobody's: IOMAD shows the preference
for some milliseconds while it makes a user whose password it mails itself (FACTS §2a)."""

LOOK_SHARE = 0.05
"""Part of the time that looking may take."""


class NewUsersPeek:
    """``base.Peeking``: one look sees everybody, by the index on the preference's name."""

    def __init__(self, tables: MoodleTables, clock: Callable[[], float] = time.monotonic) -> None:
        self.waiting: dict[int, Waiting] = {}
        self.old: Counter[int] = Counter()
        self.walked = False
        self.looked = -math.inf
        self._tables = tables
        self._clock = clock
        self._first_seen: dict[int, float] = {}
        self._refused: set[int] = set()
        self._not_before = 0.0

    def look(self, conn: Connection, wanted: Wanted, too_old: TooOld) -> None:
        """``Peeking.look``."""
        started = self._clock()
        if started < self._not_before:
            return
        found = new_users.waiting(conn, self._tables, MAX_WAITING)
        company_of = new_users.companies_of(conn, self._tables, {each.user_id for each in found})
        seen = {each.id: self._first_seen.get(each.id, started) for each in found}
        self._first_seen = seen
        self._refused &= seen.keys()
        self.waiting = {
            each.id: Waiting(
                id=each.id,
                group=Group(JOB_TYPE, company),
                due=each.created + MIN_USER_AGE,
                modified=each.modified,
                first_seen=seen[each.id],
            )
            for each in found
            if each.id not in self._refused and wanted(company := company_of.get(each.user_id, 0))
        }
        old = [mail for mail in self.waiting.values() if too_old(mail)]
        self.old = Counter(mail.group.company_id for mail in old)
        self.forget(mail.id for mail in old)
        self.walked = True
        if len(found) < MAX_WAITING:
            self.looked = started
        self._not_before = started + (self._clock() - started) / LOOK_SHARE

    @property
    def resting(self) -> bool:
        """``Peeking.resting``."""
        return self.walked and not self.waiting

    def look_again(self) -> None:
        """``Peeking.look_again``."""
        self._refused.clear()
        self._not_before = 0.0
        self.walked = False

    def refuse(self, ids: Iterable[int]) -> None:
        """These users stay with Moodle, as long as they wait."""
        refused = set(ids)
        self._refused |= refused
        self.forget(refused)

    def forget(self, ids: Iterable[int]) -> None:
        """``Peeking.forget``."""
        for row_id in ids:
            self.waiting.pop(row_id, None)

    def verify(self, conn: Connection, ids: Collection[int]) -> None:
        """``Peeking.verify``."""
        listed = list(ids)
        for start in range(0, len(listed), new_users.PAGE):
            page = listed[start : start + new_users.PAGE]
            still = new_users.read_waiting(conn, self._tables, page, lock=False)
            self.forget(row_id for row_id in page if row_id not in still)
