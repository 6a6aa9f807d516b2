"""The metrics, in one registry; names by Prometheus conventions, never an address as a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sidecar import __version__

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Everything that is counted; one instance a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.claimed = Counter(
            "manireports_mails_claimed",
            "Mails taken over from Moodle's queues.",
            ["company", "type"],
            registry=r,
        )
        self.outcomes = Counter(
            "manireports_mail_results",
            "What became of mails: sent, failed, permanently_failed, unknown, pending (refused"
            " for now).",
            ["status"],
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
        self.states = Gauge(
            "manireports_recipients", "Captured mails by state.", ["status"], registry=r
        )
        self.ledger_difference = Gauge(
            "manireports_ledger_difference",
            "Captured mails minus the mails in all states; anything but 0 is a defect.",
            registry=r,
        )
        self.claim_seconds = Histogram(
            "manireports_claim_duration_seconds",
            "One claiming transaction.",
            buckets=SECONDS,
            registry=r,
        )
        self.provider_seconds = Histogram(
            "manireports_provider_call_duration_seconds",
            "From handing a batch to a connector until it is done with it.",
            ["provider"],
            buckets=(*SECONDS, 60, 300),
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
        self.lock_busy = Counter(
            "manireports_lock_busy", "Times that cron held the queue's lock.", registry=r
        )
        self.poll_success = Gauge(
            "manireports_poll_success", "Whether the last poll went through (1 or 0).", registry=r
        )
        self.leader = Gauge(
            "manireports_leader", "Whether this process leads (1 or 0).", registry=r
        )
        self.blocked = Gauge(
            "manireports_blocked", "Reasons for which nothing may move now.", registry=r
        )
        build = Gauge("manireports_build_info", "Version of the daemon.", ["version"], registry=r)
        build.labels(__version__).set(1)
