"""How much waits in the providers' queues, for the metrics."""

import math
from collections.abc import Iterable
from functools import partial

from sidecar.connectors.base import WatchedConnector
from sidecar.errands import Errands
from sidecar.errors import ConnectorError
from sidecar.metrics.registry import Metrics
from sidecar.moodle.mail_settings import MailSettingsError
from sidecar.routes import Routes
from sidecar.store.companies import Company

PATIENCE = 2.0
"""How long is waited for those that answer; what the others say is shown when they do."""


class Depths:
    """Sets the gauge ``provider_queue``; used by one thread at a time."""

    def __init__(self, routes: Routes, metrics: Metrics) -> None:
        self._routes, self._gauge = routes, metrics.provider_queue
        self._errands: Errands[Company] = Errands("the depth of the queues is not known", 0)
        self._shown: dict[tuple[str, str], frozenset[str]] = {}

    def show(self, companies: Iterable[Company]) -> None:
        """Ask each provider that has queues how much waits there; one that hangs stops no other."""
        asked = {c: partial(self._ask, c) for c in companies if c.claims and c.provider != "smtp"}
        self._errands.begin(asked)
        self._errands.wait_for_all(PATIENCE)
        self._errands.take()

    def _ask(self, company: Company) -> int:
        who = (str(company.company_id), company.provider)
        try:
            connector = self._routes.connector(self._routes.cloud(company, company.provider))
            if isinstance(connector, WatchedConnector):
                found: dict[str, float] = dict(connector.depths())
            else:
                depth = connector.depth()
                found = {"jobs": math.nan if depth is None else depth}
        except MailSettingsError:
            found = {}
        except ConnectorError:
            self._set(who, {})
            raise
        self._set(who, found)
        return len(found)

    def _set(self, who: tuple[str, str], found: dict[str, float]) -> None:
        """Show what was found; what was shown before and is not known now is NaN."""
        before = self._shown.get(who, frozenset({"jobs"}))
        self._shown[who] = before | found.keys()
        for queue in self._shown[who]:
            self._gauge.labels(*who, queue).set(found.get(queue, math.nan))
