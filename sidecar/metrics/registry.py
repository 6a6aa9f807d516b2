"""The metrics, in one registry; names by Prometheus conventions, never an address as a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sidecar import __version__
from sidecar.metrics.labels import Bounded, reason

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
MINUTES = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400, 86_400)

REASONS = 60
"""Most different reasons of failures that are told apart."""


class Metrics:
    """Everything that is counted; one instance a process. Numbers start anew with the process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._reasons = Bounded(REASONS)
        self._mails()
        self._work()
        self._state()

    def _mails(self) -> None:
        r = self.registry
        self.claimed = Counter(
            "manireports_mails_claimed",
            "Rows taken over from Moodle's queues.",
            ["company", "type"],
            registry=r,
        )
        self.outcomes = Counter(
            "manireports_mail_results",
            "What became of mails: sent, failed, permanently_failed, unknown, retry_pending,"
            " cancelled, returned, pending (refused for now, tried again).",
            ["company", "provider", "status"],
            registry=r,
        )
        self.failures = Counter(
            "manireports_mail_failures",
            "Mails that failed, for good or for now, by reason: an SMTP reply or a word of ours.",
            ["company", "provider", "reason"],
            registry=r,
        )
        self.left = Gauge(
            "manireports_mails_left",
            "Mails seen in the queue that stay with Moodle, by reason.",
            ["source", "reason", "company"],
            registry=r,
        )
        self.backlog = Gauge(
            "manireports_backlog_mails",
            "Queue rows that wait and are known to us.",
            ["source"],
            registry=r,
        )
        self.backlog_age = Gauge(
            "manireports_backlog_oldest_age_seconds",
            "How long the oldest of these rows is due; 0 if none is.",
            ["source"],
            registry=r,
        )
        self.delivery_seconds = Histogram(
            "manireports_delivery_duration_seconds",
            "From the claim of a mail until its provider or mail server took it.",
            ["provider"],
            buckets=MINUTES,
            registry=r,
        )
        self.ledger_difference = Gauge(
            "manireports_ledger_difference",
            "Captured mails minus the mails in all states; anything but 0 is a defect.",
            registry=r,
        )

    def _work(self) -> None:
        r = self.registry
        self.claim_seconds = Histogram(
            "manireports_claim_duration_seconds",
            "One claiming transaction.",
            buckets=SECONDS,
            registry=r,
        )
        self.dispatch_seconds = Histogram(
            "manireports_dispatch_duration_seconds",
            "Making a batch ready: re-checked, rendered, packed, signed.",
            ["provider"],
            buckets=SECONDS,
            registry=r,
        )
        self.provider_seconds = Histogram(
            "manireports_provider_call_duration_seconds",
            "From handing a batch to a connector until its answer; by SMTP that is every mail of"
            " it.",
            ["provider"],
            buckets=(*SECONDS, 60, 300),
            registry=r,
        )
        self.submissions = Counter(
            "manireports_batches_submitted",
            "Batches handed to a provider, by its verdict.",
            ["company", "provider", "verdict"],
            registry=r,
        )
        self.retries = Counter(
            "manireports_batch_retries",
            "Batches that were handed over again: refused before, silent, or some mails due anew.",
            ["company", "provider"],
            registry=r,
        )
        self.results = Counter(
            "manireports_results",
            "Results that providers reported, by verdict.",
            ["verdict"],
            registry=r,
        )
        self.feedback = Counter(
            "manireports_feedback",
            "What providers learned of mails after they took them, by kind.",
            ["kind"],
            registry=r,
        )
        self.bounce_rate = Gauge(
            "manireports_bounce_rate",
            "Share of a company's last 1,000 mails that bounced for good; 0.05 pauses it.",
            ["company"],
            registry=r,
        )
        self.complaint_rate = Gauge(
            "manireports_complaint_rate",
            "Share of a company's last 1,000 mails that were reported as spam; 0.001 pauses it.",
            ["company"],
            registry=r,
        )
        self.callback_seconds = Histogram(
            "manireports_callback_delay_seconds",
            "From signing a result at the provider until it was settled here.",
            buckets=(0.1, *MINUTES),
            registry=r,
        )
        self.settle_seconds = Histogram(
            "manireports_settle_duration_seconds",
            "One transaction that settles results, or brings batches and jobs up to date.",
            ["step"],
            buckets=SECONDS,
            registry=r,
        )
        self.provider_queue = Gauge(
            "manireports_provider_queue_messages",
            "Messages in a company's queue at its provider (jobs, results, dead_letters), about.",
            ["company", "provider", "queue"],
            registry=r,
        )

    def _state(self) -> None:
        r = self.registry
        self.lock_busy = Counter(
            "manireports_lock_busy",
            "Times that a claim found the queue's lock with cron.",
            ["source"],
            registry=r,
        )
        self.lock_wait = Gauge(
            "manireports_lock_busy_seconds",
            "For how long every claim of this source has found the lock busy; 0 if the last did"
            " not.",
            ["source"],
            registry=r,
        )
        self.poll_success = Gauge(
            "manireports_poll_success",
            "Whether the last poll of this poller went through (1 or 0).",
            ["poller"],
            registry=r,
        )
        self.poll_seconds = Histogram(
            "manireports_poll_duration_seconds",
            "One poll, with the claims that it made.",
            ["poller"],
            buckets=(*SECONDS, 60, 300),
            registry=r,
        )
        self.leader = Gauge(
            "manireports_leader", "Whether this process leads (1 or 0).", registry=r
        )
        self.blocked = Gauge(
            "manireports_blocked", "Reasons for which nothing may move now.", registry=r
        )
        build = Gauge("manireports_build_info", "Version of the daemon.", ["version"], registry=r)
        build.labels(__version__).set(1)

    def waiting(self) -> dict[str, tuple[float, float]]:
        """Source → queue rows that wait, and for how many seconds the oldest is due."""
        ages = _by_source(self.backlog_age)
        return {name: (n, ages.get(name, 0.0)) for name, n in _by_source(self.backlog).items()}

    def ended(
        self,
        company: int | None,
        provider: str,
        status: str,
        code: str = "",
        seconds: float | None = None,
        number: int = 1,
    ) -> None:
        """A mail, or so many, is now ``status``. company: None if that is not known here; code: its
        ``error_code``; seconds: since its claim."""
        who = ("unknown" if company is None else str(company), provider)
        self.outcomes.labels(*who, status).inc(number)
        if code and status != "sent":
            self.failures.labels(*who, self._reasons(reason(code))).inc(number)
        if seconds is not None and status == "sent":
            delivery_seconds = self.delivery_seconds.labels(provider)
            for _ in range(number):
                delivery_seconds.observe(max(0.0, seconds))


def _by_source(gauge: Gauge) -> dict[str, float]:
    return {s.labels["source"]: s.value for family in gauge.collect() for s in family.samples}
