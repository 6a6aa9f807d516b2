"""What the tables and the process say at the moment of a scrape, as metrics.

Who reads it is passed in: this module knows neither the tables nor the leader.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.errors import SidecarError

log = logging.getLogger(__name__)

Values = Mapping[tuple[str, ...], float]
"""Values of the labels, in the order of the metric's, → number."""

Reader = Callable[[], Mapping[str, Values]]
"""Numbers by the name of their metric, one of FACTS; raises SidecarError when it cannot know."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A metric of this module."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


FACTS = (
    Fact(
        "manireports_jobs",
        "Jobs that have not ended, and those that were closed in the last 24 hours.",
        ("company", "type", "status"),
    ),
    Fact(
        "manireports_batches_in_flight",
        "Batches that have not ended.",
        ("company", "provider", "status"),
    ),
    Fact(
        "manireports_waiting_mails",
        "Claimed mails whose batch has not ended, and that have no result yet.",
        ("company", "provider"),
    ),
    Fact(
        "manireports_waiting_oldest_age_seconds",
        "Age of the oldest batch that has not ended, by its claim; without paused jobs.",
        ("company", "provider"),
    ),
    Fact(
        "manireports_recent_mails",
        "Mails of jobs that have not ended or were closed in the last 24 hours, by state.",
        ("company", "provider", "status"),
    ),
    Fact(
        "manireports_recent_failures",
        "Those of them that failed or are unknown, by reason.",
        ("company", "reason"),
    ),
    Fact(
        "manireports_daily_quota_mails",
        "Mails a day that a company may send; only where one is set.",
        ("company",),
    ),
    Fact(
        "manireports_daily_quota_used_mails",
        "Mails that count against it: that left within 24 hours, by whichever provider.",
        ("company",),
    ),
    Fact(
        "manireports_send_rate_limit_mails_per_second",
        "Mails a second that a company may send; only where a limit is set.",
        ("company",),
    ),
    Fact("manireports_company_enabled", "Whether mail of a company is claimed.", ("company",)),
    Fact("manireports_inbox_deliveries", "Results that nobody has settled yet."),
    Fact("manireports_inbox_oldest_age_seconds", "Age of the oldest of them; 0 if there is none."),
    Fact("manireports_requests_waiting", "Requests of pages and commands without an answer."),
    Fact(
        "manireports_purged_mails",
        "Mails of jobs that were deleted after the site's retention, by their last state.",
        ("status",),
    ),
    Fact("manireports_site_led", "Whether some sidecar leads this site (1 or 0)."),
)
"""What the tables say."""

NOW = (
    Fact("manireports_heartbeat_age_seconds", "Time since the main loop last went round."),
    Fact(
        "manireports_ready",
        "Whether a part that mail needs is in order (1 or 0); /readyz says why not.",
        ("part",),
    ),
    Fact("manireports_paused", "Whether an admin holds all mail (1 or 0)."),
    Fact(
        "manireports_company_held",
        "Mail of this company is held: paused, or outside its hours.",
        ("company",),
    ),
    Fact(
        "manireports_breaker_open",
        "Whether nothing is tried between a company and its provider now (1 or 0).",
        ("company", "provider"),
    ),
    Fact(
        "manireports_breaker_failing_seconds",
        "For how long the provider has refused this company; 0 while all is well.",
        ("company", "provider"),
    ),
    Fact(
        "manireports_database_connections",
        "Connections of the pool, by state: in_use, idle.",
        ("state",),
    ),
    Fact("manireports_database_connections_limit", "The most that the pool opens."),
    Fact("manireports_disk_free_bytes", "Free space where the sidecar writes.", ("folder",)),
    Fact("manireports_disk_size_bytes", "Size of that file system.", ("folder",)),
)
"""What the process itself says."""


@dataclass(slots=True)
class _Answer:
    read_at: float = -1e9
    took: float = 0.0
    values: Mapping[str, Values] = field(default_factory=dict)
    ok: bool = False


class FactsCollector(Collector):
    """A collector of ``facts``, as ``read`` tells them; thread-safe.

    kept: seconds for which an answer is good enough; more if reading takes more than a fiftieth
    of them. What cannot be read is left out: a gap is true, an old number is not.
    """

    def __init__(self, name: str, facts: Sequence[Fact], read: Reader, kept: float = 0.0) -> None:
        self._name = name
        self._facts = facts
        self._read = read
        self._kept = kept
        self._last = _Answer()
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Nothing is read for the registry's own sake."""
        return [GaugeMetricFamily(f.name, f.help, labels=f.labels) for f in self._facts]

    def collect(self) -> Iterator[Metric]:
        """Every fact, and whether and how fast they could be read."""
        with self._lock:
            if time.monotonic() - self._last.read_at >= max(self._kept, 50 * self._last.took):
                self._last = self._answer()
            last = self._last
        for fact in self._facts:
            family = GaugeMetricFamily(fact.name, fact.help, labels=fact.labels)
            for labels, value in sorted(last.values.get(fact.name, {}).items()):
                family.add_metric(labels, value)
            yield family
        yield from self._about(last)

    def _about(self, last: _Answer) -> Iterator[Metric]:
        success = GaugeMetricFamily(
            f"manireports_collector_{self._name}_success",
            "Whether these facts could be read (1 or 0).",
        )
        success.add_metric((), float(last.ok))
        duration = GaugeMetricFamily(
            f"manireports_collector_{self._name}_duration_seconds", "How long reading them took."
        )
        duration.add_metric((), last.took)
        yield success
        yield duration

    def _answer(self) -> _Answer:
        started = time.monotonic()
        values: Mapping[str, Values] = {}
        ok = False
        try:
            values, ok = self._read(), True
        except SidecarError as error:
            log.warning("metrics: the %s cannot be read: %s", self._name, error)
        except Exception:
            log.exception("metrics: the %s cannot be read: a defect", self._name)
        now = time.monotonic()
        return _Answer(now, now - started, values, ok)
