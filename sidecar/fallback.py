"""What becomes of mail whose provider has been down for too long (DESIGN §7)."""

import logging
import time
from collections.abc import Callable, Collection, Mapping

from sidecar.jobs import Source, release
from sidecar.store import asks
from sidecar.store.companies import Company
from sidecar.store.database import Database
from sidecar.store.jobs import read_job, unfinished_jobs
from sidecar.store.site import Lease

log = logging.getLogger(__name__)


RECALL_SECONDS = 60.0
"""How long a job is left alone of which the provider would not give everything back."""

Recall = Callable[[int], Collection[int]]
"""Has a provider give up what it has of a job: the ids of mails that it surely never sends."""


class Fallback:
    """Does what the company's ``fallback`` says: hold, moodle or smtp.

    Only mails move that the provider never took, or has given up; what it may still send stays
    its own.
    """

    def __init__(
        self, database: Database, lease: Lease, sources: Mapping[str, Source], recall: Recall
    ) -> None:
        self._database = database
        self._lease = lease
        self._sources = sources
        self._recall = recall
        self._next: dict[int, float] = {}

    def take(self, company: Company, provider: str) -> int:
        """The provider has been down for too long; returns how many mails were taken back.

        Raises DatabaseError and LeaseLostError.
        """
        if company.fallback == "moodle":
            return self._hand_back(company.company_id)
        if provider == "smtp":
            return 0
        sources = [name for name in self._sources if company.fallback_for(name) == "smtp"]
        return self._send_by_smtp(company.company_id, provider, sources) if sources else 0

    def _jobs(self, company_id: int, *, roots_only: bool) -> list[int]:
        """Jobs of the company whose turn it is."""
        now = time.monotonic()
        with self._database.read() as conn:
            jobs = unfinished_jobs(conn, self._database, company_id, roots_only=roots_only)
        chosen = [job_id for job_id in jobs if now >= self._next.get(job_id, 0.0)]
        self._next.update(dict.fromkeys(chosen, now + RECALL_SECONDS))
        return chosen

    def _hand_back(self, company_id: int) -> int:
        number = 0
        for job_id in self._jobs(company_id, roots_only=True):
            recalled = self._recall(job_id)
            with self._database.write(self._lease.token) as tx:
                returned = release(tx, self._database, job_id, self._sources, recalled)
            number += returned.mails
            if returned.mails:
                log.warning(
                    "job %d: %d mails handed back to Moodle, the provider is down for too long",
                    job_id, returned.mails,
                )  # fmt: skip
        return number

    def _send_by_smtp(self, company_id: int, provider: str, sources: Collection[str]) -> int:
        with self._database.write(self._lease.token) as tx:
            batch_ids = asks.refused_batches(tx.conn, self._database, company_id, provider, sources)
            asks.send_by_smtp(tx, self._database, batch_ids)
        if batch_ids:
            log.warning(
                "company %d: %d batches go by SMTP, %s is down for too long",
                company_id, len(batch_ids), provider,
            )  # fmt: skip
        number = 0
        for job_id in self._jobs(company_id, roots_only=False):
            with self._database.read() as conn:
                job = read_job(conn, self._database, job_id)
            if job is None or job.source not in sources:
                continue
            recalled = self._recall(job_id)
            number += len(recalled)
            if recalled:
                with self._database.write(self._lease.token) as tx:
                    asks.reroute(tx, self._database, recalled, "smtp")
                log.warning(
                    "job %d: %d mails taken back from %s go by SMTP, it is down for too long",
                    job_id, len(recalled), provider,
                )  # fmt: skip
        return number
