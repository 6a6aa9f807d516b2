"""IOMAD's mail queue, ``{email}``: peek, claim, give back."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection

from sidecar.jobs import Prepared
from sidecar.metrics.registry import Metrics
from sidecar.moodle import mail_queue
from sidecar.moodle.config import MoodleConfig, RecentConfig
from sidecar.moodle.locks import TaskLock
from sidecar.moodle.switches import EMAIL_TASK
from sidecar.moodle.tables import MoodleTables
from sidecar.pollers.iomad_claim import SOURCE, Claim
from sidecar.pollers.iomad_prepare import prepare
from sidecar.pollers.peek import Peek
from sidecar.pollers.queue_poller import Chunk, QueuePoller
from sidecar.settings import Settings
from sidecar.store.companies import Companies
from sidecar.store.database import Database
from sidecar.store.queue import DueBatch, PendingMail
from sidecar.store.site import Lease

DRAIN_SECONDS = 60.0
"""How long the cron lock may be kept over the chunks of one drain (DESIGN §3)."""

FREE_SECONDS = 1.0
"""How long the cron lock then stays free at least."""


class IomadMail(QueuePoller):
    """The source ``iomad_mail``."""

    name = SOURCE
    task = EMAIL_TASK

    def __init__(
        self,
        database: Database,
        tables: MoodleTables,
        settings: Settings,
        lease: Lease,
        lock: TaskLock,
        site_uid: str,
        metrics: Metrics,
    ) -> None:
        super().__init__(
            database,
            Peek(tables, settings.job_types),
            Claim(database, tables, settings, site_uid),
            settings,
            lease,
            lock,
            metrics,
        )
        self._tables = tables
        self._config = RecentConfig(tables, settings)

    def _claim_chunks(
        self,
        conn: Connection,
        chunks: Iterable[Chunk],
        config: MoodleConfig,
        companies: Companies,
    ) -> None:
        """The lock spans the chunks."""
        started = time.monotonic()
        with self._lock.session(conn):
            for group, chunk in chunks:
                if self.stopping or self.hurried:
                    return
                if time.monotonic() - started > DRAIN_SECONDS:
                    self._free_until = time.monotonic() + FREE_SECONDS
                    return
                self._chunk_or_rows(conn, group, chunk, config, companies)

    def newest(self, conn: Connection) -> int:
        """``Poller.newest``."""
        return mail_queue.max_id(conn, self._tables)

    def prepare(
        self, conn: Connection, batch: DueBatch, waiting: Sequence[PendingMail]
    ) -> Prepared:
        """``jobs.Source.prepare``."""
        config = self._config.read(conn)
        return prepare(conn, self._tables, self._settings, config, batch, waiting)

    def give_back(self, conn: Connection, originals: Mapping[int, int], stamp: int) -> set[int]:
        """``jobs.Source.give_back``."""
        return mail_queue.give_back(conn, self._tables, originals, stamp)

    def still_wait(
        self, conn: Connection, rows: Collection[tuple[int, int]]
    ) -> set[tuple[int, int]]:
        """``jobs.Source.still_wait``."""
        found = mail_queue.entries_by_id(conn, self._tables, {row_id for row_id, _ in rows})
        return {(entry.id, entry.modified) for entry in found if entry.waiting} & set(rows)
