"""Mails of due batches, within the companies' quotas, the way that a connector takes them."""

from collections.abc import Mapping, Sequence

from sidecar.connectors.base import Connector
from sidecar.errors import MoodleError
from sidecar.handover import AtOnce, Desk, Handover
from sidecar.handover_later import Later
from sidecar.jobs import Source
from sidecar.mail import MailBatch
from sidecar.quotas import Quotas
from sidecar.store.companies import Companies, Company
from sidecar.store.queue import DueBatch

QUOTA_WAIT = 5
"""Seconds after which a batch is looked at again for which the daily quota had no room."""

BLOCKED_WAIT = 60
"""Seconds after which a batch is looked at again that cannot be sent as things are set up."""


class Preparing:
    """Makes batches ready; thread-safe. All raise DatabaseError and LeaseLostError."""

    def __init__(
        self, desk: Desk, later: Later, quotas: Quotas, sources: Mapping[str, Source]
    ) -> None:
        self._desk = desk
        self._at_once = AtOnce(desk)
        self._later = later
        self._quotas = quotas
        self._sources = sources

    def way(self, connector: Connector) -> Handover:
        """How batches pass to it."""
        return self._at_once if connector.learns_at_once else self._later

    def expect(
        self,
        batches: Sequence[DueBatch],
        connector: Connector,
        companies: Companies,
        *,
        start: bool,
    ) -> None:
        """These are next: begin with them elsewhere. start: even if nobody is at hand yet."""
        if connector.learns_at_once:
            return
        for batch in batches:
            if batch.source in self._sources:
                company = companies.get(batch.company_id)
                self._later.expect(batch, connector, company, start=start)

    def prepare(
        self, batch: DueBatch, connector: Connector, companies: Companies
    ) -> MailBatch | None:
        """What of a batch can leave now; None if nothing can, which is written down."""
        if batch.source not in self._sources:
            reason = f"source {batch.source} is not built yet"
            self._desk.put_back([batch.id], BLOCKED_WAIT, reason)
            return None
        company = companies.get(batch.company_id)
        try:
            if company.daily_quota:
                return self._within_quota(batch, connector, company)
            return self.way(connector).prepare(batch, connector, company)
        except MoodleError as error:  # as the site is set up now, nobody can render it
            self._desk.put_back([batch.id], BLOCKED_WAIT, str(error))
            return None

    def _within_quota(
        self, batch: DueBatch, connector: Connector, company: Company
    ) -> MailBatch | None:
        with self._quotas.turn(company.company_id):
            room = self._quotas.room(company)
            if room <= 0:
                self._desk.put_back([batch.id], QUOTA_WAIT, self._quotas.reason(company))
                return None
            ready = self.way(connector).prepare(batch, connector, company, room)
            if ready is not None:
                self._quotas.take(
                    company.company_id,
                    batch.id,
                    len(ready.packed.ids if ready.packed else ready.mails),
                    one_by_one=connector.learns_at_once,
                )
            return ready
