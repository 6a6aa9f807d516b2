"""Which connector carries a company's mail: made from its settings and the site's, kept while they
last."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sidecar.connectors.accounts import AwsAccount, CloudflareAccount
from sidecar.connectors.base import Connector, Guard
from sidecar.connectors.dkim import DkimKeys
from sidecar.connectors.smtp import SmtpConnector
from sidecar.connectors.smtp_servers import SmtpServer
from sidecar.errors import ConfigError, EncryptionError
from sidecar.message import SigningKey
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.mail_settings import DKIM_FOLDER, MailRoute, MailSettingsError, mail_route
from sidecar.settings import Settings
from sidecar.store.companies import Company

ASSUMED_TTL = 60.0
"""Seconds for which an answer of localhost:25 is believed."""


@dataclass(frozen=True, slots=True)
class SmtpRoute:
    """SMTP servers, tried in turn. rate: mails a second, 0 = no limit. dkim: to sign with."""

    servers: tuple[SmtpServer, ...]
    rate: float
    dkim: DkimKeys | None = None
    provider = "smtp"


@dataclass(frozen=True, slots=True)
class AwsRoute:
    """An account, its queues and the key that jobs are signed with."""

    account: AwsAccount
    provider = "aws"


@dataclass(frozen=True, slots=True)
class CloudflareRoute:
    """An account, its queues, its Worker and the key that jobs are signed with."""

    account: CloudflareAccount
    provider = "cloudflare"


Route = SmtpRoute | AwsRoute | CloudflareRoute
"""One lane of sending: companies with equal routes share a connector and its connections."""


class Routes:
    """Connectors by route; thread-safe.

    reveal: decrypts a company's stored secrets. ``site_uid`` is set before the first batch leaves.
    """

    def __init__(self, settings: Settings, guard: Guard, reveal: Callable[[str], str]) -> None:
        self.site_uid = ""
        self._settings = settings
        self._guard = guard
        self._reveal = reveal
        self._connectors: dict[Route, Connector] = {}
        self._localhost: tuple[float, bool] = (0.0, False)
        self._lock = threading.Lock()

    def find(self, config: MoodleConfig, company: Company, provider: str) -> Route:
        """The company's route by ``provider``; raises MailSettingsError when there is none."""
        if provider != "smtp":
            return self.cloud(company, provider)
        route = mail_route(config, company.company_id)
        if route.assumed and not self._localhost_answers():
            raise MailSettingsError(
                "smtphosts is empty and no SMTP server answers at localhost:25: Moodle's cron sends"
                " this mail by PHP's mail()"
            )
        servers = _servers(route, self._settings)
        return SmtpRoute(servers, float(company.max_send_rate), _dkim(route, self._settings))

    def cloud(self, company: Company, provider: str) -> Route:
        """The company's route by a provider with an account; raises MailSettingsError."""
        if provider == "aws":
            return self._aws(company)
        if provider == "cloudflare":
            return self._cloudflare(company)
        raise MailSettingsError(f"there is no provider {provider}")

    def reporting(self, companies: Iterable[Company]) -> list[Route]:
        """The routes whose provider tells results by a queue of its own."""
        found: dict[Route, None] = {}
        for company in companies:
            queues = {"aws": company.sqs_queue_url, "cloudflare": company.cloudflare_queue_id}
            for provider, queue in queues.items():
                # Also of a provider that the company has left: its last results may come yet.
                if company.provider == provider or (queue and company.results_queue(provider)):
                    with contextlib.suppress(MailSettingsError):
                        found[self.cloud(company, provider)] = None
        return list(found)

    def feedback(self, companies: Iterable[Company]) -> dict[str, Route]:
        """A route for each queue by which providers tell of bounces, by its name."""
        found: dict[str, Route] = {}
        for company in companies:
            if company.feedback_queue_url and company.feedback_queue_url not in found:
                with contextlib.suppress(MailSettingsError):
                    found[company.feedback_queue_url] = self._aws(company)
        return found

    def _aws(self, company: Company) -> AwsRoute:
        if not company.sqs_queue_url:
            raise MailSettingsError("AWS: no jobs queue is set: `company set ID --sqs-queue-url`")
        if not company.callback_key:
            raise MailSettingsError(
                "AWS: the worker has no key yet: `company set ID --new-callback-key`"
            )
        try:
            return AwsRoute(
                AwsAccount(
                    region=company.aws_region,
                    access_key=self._reveal(company.aws_access_key),
                    secret_key=self._reveal(company.aws_secret_key),
                    queue_url=company.sqs_queue_url,
                    results_queue_url=company.results_queue("aws"),
                    ledger_table=company.ledger("aws"),
                    feedback_queue_url=company.feedback_queue_url,
                    role_arn=company.aws_role_arn,
                    external_id=company.aws_external_id,
                    endpoint_url=self._settings.aws_endpoint_url,
                    site_uid=self.site_uid,
                    key=SigningKey(company.callback_key, self._reveal(company.callback_secret)),
                )
            )
        except (ConfigError, EncryptionError) as error:
            raise MailSettingsError(f"AWS: {error}") from error

    def _cloudflare(self, company: Company) -> CloudflareRoute:
        if not company.cloudflare_queue_id:
            raise MailSettingsError(
                "Cloudflare: no jobs queue is set: `cloudflare deploy`, or"
                " `company set ID --cloudflare-queue-id`"
            )
        if not company.callback_key:
            raise MailSettingsError(
                "Cloudflare: the worker has no key yet: `company set ID --new-callback-key`"
            )
        try:
            return CloudflareRoute(
                CloudflareAccount(
                    account_id=company.cloudflare_account_id,
                    api_token=self._reveal(company.cloudflare_api_token),
                    queue_id=company.cloudflare_queue_id,
                    results_queue_id=company.results_queue("cloudflare"),
                    worker_url=company.ledger("cloudflare"),
                    api_url=self._settings.cloudflare_api_url,
                    site_uid=self.site_uid,
                    key=SigningKey(company.callback_key, self._reveal(company.callback_secret)),
                )
            )
        except (ConfigError, EncryptionError) as error:
            raise MailSettingsError(f"Cloudflare: {error}") from error

    def connector(self, route: Route) -> Connector:
        """The connector of a route, made when first needed."""
        with self._lock:
            found = self._connectors.get(route)
            if found is None:
                found = self._connectors[route] = self._make(route)
            return found

    def _make(self, route: Route) -> Connector:
        # A cloud's library costs memory and time: it is loaded where the cloud is used.
        if isinstance(route, AwsRoute):
            from sidecar.connectors.aws import AwsConnector  # noqa: PLC0415

            return AwsConnector(route.account, guard=self._guard)
        if isinstance(route, CloudflareRoute):
            from sidecar.connectors.cloudflare import CloudflareConnector  # noqa: PLC0415

            return CloudflareConnector(route.account, guard=self._guard)
        return SmtpConnector(
            route.servers,
            connections=min(self._settings.smtp_connections, self._settings.smtp_max_connections),
            max_connections=self._settings.smtp_max_connections,
            guard=self._guard,
            rate=route.rate,
            dkim=route.dkim,
        )

    def close(self, seconds: float) -> None:
        """Finish what is in flight within ``seconds`` and let go of all connections."""
        deadline = time.monotonic() + seconds
        with self._lock:
            connectors, self._connectors = list(self._connectors.values()), {}
        closing = [
            threading.Thread(target=connector.close, args=(deadline,), daemon=True)
            for connector in connectors
        ]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    def _localhost_answers(self) -> bool:
        now = time.monotonic()
        with self._lock:
            checked, answer = self._localhost
            if checked and now - checked < ASSUMED_TTL:
                return answer
        try:
            with socket.create_connection(("localhost", 25), timeout=2) as connection:
                answer = connection.recv(3) == b"220"
        except OSError:
            answer = False
        with self._lock:
            self._localhost = (now, answer)
        return answer


def _dkim(route: MailRoute, settings: Settings) -> DkimKeys | None:
    if not route.dkim_selector or settings.dataroot is None:
        return None
    return DkimKeys(settings.dataroot / DKIM_FOLDER, route.dkim_selector)


def _servers(route: MailRoute, settings: Settings) -> tuple[SmtpServer, ...]:
    return tuple(
        SmtpServer(
            host=server.host,
            port=server.port,
            secure=server.secure,
            user=server.user,
            password=server.password,
            auth_type=server.auth_type,
            timeout=settings.smtp_timeout,
        )
        for server in route.servers
    )
