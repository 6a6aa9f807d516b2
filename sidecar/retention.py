"""Jobs that finished long ago are forgotten, with all that belongs to them; counters are kept."""

import logging
import time
from collections import defaultdict
from collections.abc import Mapping

from sidecar.jobs import Source
from sidecar.moodle.config import MoodleConfig
from sidecar.store import retention as store
from sidecar.store.database import Database
from sidecar.store.site import Lease

log = logging.getLogger(__name__)

DEFAULT_DAYS = 180
LEAST_DAYS = 30
"""As long as workers keep their ledger: until then a late report may still tell of a mail."""

PAGE = 1_000
"""Rows that one transaction deletes."""

JOBS = 100
RUN_SECONDS = 5.0
"""How long one run may delete before the database is left alone for a while."""

DAY = 86_400


def retention_days(config: MoodleConfig) -> int:
    """For how many days finished jobs are kept; 0: for ever."""
    text = config.plugins.get(("local_manireports", "retentiondays"), "").strip()
    if not text.isdecimal():
        return DEFAULT_DAYS
    days = int(text)
    return max(LEAST_DAYS, days) if days else 0


class Retention:
    """Deletes for one site; ``sources`` say which rows still wait in Moodle."""

    def __init__(self, database: Database, lease: Lease, sources: Mapping[str, Source]) -> None:
        self._database = database
        self._lease = lease
        self._sources = sources
        self._after = 0

    def run(self, days: int) -> bool:
        """Delete what has been finished for more than ``days``; True if more is left to look at.

        Raises DatabaseError and LeaseLostError; what was deleted by then is.
        """
        if not days:
            return False
        until = time.monotonic() + RUN_SECONDS
        with self._database.read() as conn:
            before = self._database.now(conn) - days * DAY
        jobs = 0
        while ids := self._candidates(before):
            for job_id in ids:
                if time.monotonic() > until:
                    return True
                jobs += self._forget(job_id, before)
                self._after = job_id
        self._after = 0
        if jobs:
            log.info("%d jobs that finished more than %d days ago were deleted", jobs, days)
        while time.monotonic() < until:
            with self._database.write(self._lease.token) as tx:
                if not store.delete_notes(tx, self._database, before, PAGE):
                    return False
        return True

    def _candidates(self, before: int) -> list[int]:
        with self._database.read() as conn:
            return store.candidates(conn, self._database, before, self._after, JOBS)

    def _forget(self, job_id: int, before: int) -> int:
        """Delete a job and those that repeat its mails; returns how many jobs that were.

        None of them, if one is not over or if a row of theirs waits in Moodle: it is known as
        Moodle's by its recipients, and without them would be claimed again.
        """
        with self._database.read() as conn:
            family = store.family(conn, self._database, job_id)
            if not store.all_over(conn, self._database, family, before):
                return 0
        if any(map(self._waits, family)):
            return 0
        for member in family:
            number = PAGE
            while number == PAGE:
                with self._database.write(self._lease.token) as tx:
                    number = store.delete_recipients(tx, self._database, member, PAGE)
                    if number < PAGE:
                        store.delete_job(tx, self._database, member)
        return len(family)

    def _waits(self, job_id: int) -> bool:
        """Whether Moodle still holds a row of this job, unsent, as it was before the claim."""
        after = 0
        with self._database.read() as conn:
            while rows := store.queue_rows(conn, self._database, job_id, after, PAGE):
                by_source: dict[str, set[tuple[int, int]]] = defaultdict(set)
                for _, name, source_id, stamp in rows:
                    by_source[name].add((source_id, stamp))
                for name, known in by_source.items():
                    source = self._sources.get(name)
                    if source is not None and source.still_wait(conn, known):
                        return True
                after = rows[-1][0]
        return False
