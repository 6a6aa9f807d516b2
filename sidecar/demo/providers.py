"""Who delivers in the demo: an SMTP server, a whole AWS or Cloudflare; each counts what arrived."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

from sidecar.connectors.mime import build
from sidecar.demo.callback import CallbackPage
from sidecar.demo.cloud import ACCESS_KEY, REGION, SECRET_KEY, TABLE, Cloud, cloud
from sidecar.demo.scenario import COMPANIES, Scenario
from sidecar.demo.ses_door import Refusal
from sidecar.demo.sink import Received, Rule, Sink
from sidecar.demo.workerd import ACCOUNT, JOBS, RESULTS, TOKEN, Workerd
from sidecar.mail import Address, Content, Mail
from sidecar.store.database import Database
from sidecar.store.site import read_site

BUSY = "450 4.2.1 mailbox busy, try again"
THROTTLED = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS,
    "TooManyRequestsException",
    "Maximum sending rate exceeded.",
    times=1,
)
REPEATED = 1
"""Queue messages that come twice."""

Command = Callable[..., str]
"""Runs a command of the sidecar, with ``input`` as its standard input; what it printed."""


class Provider(Protocol):
    """What the demo asks of whoever delivers."""

    smtphosts: str
    settings: Mapping[str, str]

    def expect(self, scenario: Scenario) -> None:
        """Refuse and delay what the scenario says."""

    def enable(self, command: Command) -> None:
        """Set the companies up."""

    def at_work(self, database_url: str, prefix: str) -> ExitStack:
        """What has to run while mails are delivered."""

    def received(self) -> Sequence[Received]:
        """What arrived so far."""


class SmtpProvider:
    """The site's own SMTP server."""

    settings: Mapping[str, str] = {}

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.smtphosts = f"{sink.host}:{sink.port}"

    def expect(self, scenario: Scenario) -> None:
        """``Provider.expect``."""
        self._sink.rules[:] = [
            *(
                Rule("rcpt", f"550 5.1.1 {reason}", match=f"<{address}>")
                for address, reason in scenario.refused.items()
            ),
            *(Rule("rcpt", BUSY, match=f"<{address}>", times=1) for address in scenario.busy),
        ]

    def enable(self, command: Command) -> None:
        """``Provider.enable``."""
        for company in COMPANIES:
            command("company", "set", str(company), "--provider", "smtp", "--enable")

    def at_work(self, database_url: str, prefix: str) -> ExitStack:  # noqa: ARG002
        """``Provider.at_work``: nothing but the sink, which already runs."""
        return ExitStack()

    def received(self) -> Sequence[Received]:
        """``Provider.received``."""
        return self._sink.messages


class _CloudProvider(ABC):
    """What providers with a worker share: its key, and the callback page for its reports."""

    smtphosts = "localhost:9"

    def __init__(self) -> None:
        self._keys = ""

    @abstractmethod
    def enable(self, command: Command) -> None:
        """``Provider.enable``."""

    @abstractmethod
    def _worker(self, site_uid: str, callback_url: str) -> AbstractContextManager[object]:
        """The worker, from now on at work."""

    def _enable(self, command: Command, *options: str, secret: str) -> None:
        """The account is the default of all companies. secret: what the command asks for."""
        shown = command("company", "set", "0", *options, "--new-callback-key", input=f"{secret}\n")
        self._keys = next(line for line in shown.splitlines() if "KEYS" in line).split()[-1]
        for company in COMPANIES:
            command("company", "set", str(company), "--enable")

    def at_work(self, database_url: str, prefix: str) -> ExitStack:
        """``Provider.at_work``."""
        database = Database(database_url, prefix)
        key, _, secret = self._keys.partition(":")
        with ExitStack() as stack:
            stack.callback(database.close)
            page = CallbackPage(database, lambda: {key: secret})
            stack.callback(page.close)
            stack.enter_context(self._worker(read_site(database).site_uid, page.url))
            return stack.pop_all()


class AwsProvider(_CloudProvider):
    """SQS, the worker, SES, and the callback page for its reports."""

    def __init__(self, aws: Cloud) -> None:
        super().__init__()
        self._aws = aws
        self.settings: Mapping[str, str] = {"aws_endpoint_url": f"'{aws.endpoint}'"}

    def expect(self, scenario: Scenario) -> None:
        """``Provider.expect``."""
        self._aws.door.refusals = {
            **dict.fromkeys(scenario.busy, THROTTLED),
            **{
                address: Refusal(HTTPStatus.BAD_REQUEST, "MessageRejected", reason)
                for address, reason in scenario.refused.items()
            },
        }

    def enable(self, command: Command) -> None:
        """``Provider.enable``."""
        self._enable(
            command,
            *("--provider", "aws", "--aws-region", REGION),
            *("--aws-access-key", ACCESS_KEY, "--aws-secret-key"),
            *("--sqs-queue-url", self._aws.queue_url, "--ledger-table", TABLE),
            *("--results-queue-url", self._aws.results_queue_url),
            secret=SECRET_KEY,
        )

    def _worker(self, site_uid: str, callback_url: str) -> AbstractContextManager[object]:
        return self._aws.worker(site_uid, self._keys, callback_url, repeats=REPEATED)

    def received(self) -> Sequence[Received]:
        """``Provider.received``."""
        return self._aws.received()


class CloudflareProvider(_CloudProvider):
    """A queue, the Worker on workerd, an e-mail service, and the callback page for its reports."""

    def __init__(self, rig: Workerd) -> None:
        super().__init__()
        self._rig = rig
        self._rules: list[Mapping[str, object]] = []
        self._mails: list[dict[str, Any]] = []
        self.settings: Mapping[str, str] = {"cloudflare_api_url": f"'{rig.api_url}'"}

    def expect(self, scenario: Scenario) -> None:
        """``Provider.expect``."""
        slow = {"code": "E_RATE_LIMIT_EXCEEDED", "message": "too many requests", "times": 1}
        self._rules = [
            *({"match": address, **slow} for address in scenario.busy),
            *(
                {"match": address, "code": "E_RECIPIENT_NOT_ALLOWED", "message": reason, "times": 0}
                for address, reason in scenario.refused.items()
            ),
        ]

    def enable(self, command: Command) -> None:
        """``Provider.enable``."""
        self._enable(
            command,
            *("--provider", "cloudflare"),
            *("--cloudflare-account-id", ACCOUNT, "--cloudflare-api-token"),
            *("--cloudflare-queue-id", JOBS, "--cloudflare-results-queue-id", RESULTS),
            *("--cloudflare-worker-url", self._rig.worker_url),
            secret=TOKEN,
        )

    @contextmanager
    def _worker(self, site_uid: str, callback_url: str) -> Iterator[None]:
        with self._rig.start(site_uid, self._keys, callback_url, repeat=True):
            self._rig.refuse(self._rules)
            try:
                yield
            finally:
                self._keep()

    def received(self) -> Sequence[Received]:
        """``Provider.received``."""
        return [_as_received(mail) for mail in self._mails]

    def _keep(self) -> None:
        self._mails = self._rig.mails()


def _as_received(mail: Mapping[str, Any]) -> Received:
    """What the e-mail service was given, as the message that it makes of it."""
    sender = mail["from"] if isinstance(mail["from"], dict) else {"email": mail["from"], "name": ""}
    message = Mail(
        id=0,
        mail_key=mail["headers"]["X-ManiReports-Mail"],
        message_id=mail["headers"]["X-ManiReports-Mail"],
        to=mail["to"],
        sender=Address(sender["email"], sender["name"]),
        envelope_from=sender["email"],
        content=Content(mail["subject"], mail.get("html", ""), mail["text"]),
    )
    data = build(message)
    return Received(sender["email"], (mail["to"],), data, at=0.0, bare=False)


@contextmanager
def provider(name: str, sender_domain: str) -> Iterator[Provider]:
    """The provider of that name, running."""
    if name == "smtp":
        with Sink() as sink:
            yield SmtpProvider(sink)
    elif name == "cloudflare":
        with (
            tempfile.TemporaryDirectory(prefix="manireports-workerd-") as folder,
            Workerd(Path(folder)) as rig,
        ):
            yield CloudflareProvider(rig)
    else:
        with cloud(sender_domain) as aws:
            yield AwsProvider(aws)
