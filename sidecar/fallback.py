"""What becomes of mail whose provider has been down for too long (DESIGN §7)."""

import logging
from collections.abc import Collection, Mapping

from sidecar.jobs import Source, release
from sidecar.store import asks
from sidecar.store.companies import Company
from sidecar.store.database import Database
from sidecar.store.jobs import unfinished_jobs
from sidecar.store.site import Lease

log = logging.getLogger(__name__)


class Fallback:
    """Does what the company's ``fallback`` says: hold, moodle or smtp."""

    def __init__(self, database: Database, lease: Lease, sources: Mapping[str, Source]) -> None:
        self._database = database
        self._lease = lease
        self._sources = sources
        self._handed_back: set[int] = set()

    def take(self, company: Company, provider: str) -> None:
        """For mails that ``provider`` never took. Raises DatabaseError and LeaseLostError."""
        if company.fallback == "moodle":
            self._hand_back(company.company_id)
        elif provider != "smtp":
            sources = [name for name in self._sources if company.fallback_for(name) == "smtp"]
            if sources:
                self._send_by_smtp(company.company_id, provider, sources)

    def _hand_back(self, company_id: int) -> None:
        with self._database.read() as conn:
            job_ids = unfinished_jobs(conn, self._database, company_id, roots_only=True)
        for job_id in job_ids:
            if job_id in self._handed_back:
                continue
            with self._database.write(self._lease.token) as tx:
                returned = release(tx, self._database, job_id, self._sources)
            self._handed_back.add(job_id)
            log.warning(
                "job %d: %d mails handed back to Moodle, the provider is down for too long",
                job_id,
                returned.mails,
            )

    def _send_by_smtp(self, company_id: int, provider: str, sources: Collection[str]) -> None:
        with self._database.write(self._lease.token) as tx:
            batch_ids = asks.refused_batches(tx.conn, self._database, company_id, provider, sources)
            asks.send_by_smtp(tx, self._database, batch_ids)
        if batch_ids:
            log.warning(
                "company %d: %d batches go by SMTP, %s is down for too long",
                company_id,
                len(batch_ids),
                provider,
            )
