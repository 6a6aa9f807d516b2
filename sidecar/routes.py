"""Which connector carries a company's mail: made from the site's own settings, kept while they
last."""

import socket
import threading
import time
from dataclasses import dataclass

from sidecar.connectors.base import Connector, Guard
from sidecar.connectors.smtp import SmtpConnector
from sidecar.connectors.smtp_session import SmtpServer
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.mail_settings import MailRoute, MailSettingsError, mail_route
from sidecar.settings import Settings
from sidecar.store.companies import Company

ASSUMED_TTL = 60.0
"""Seconds for which an answer of localhost:25 is believed."""


@dataclass(frozen=True, slots=True)
class Route:
    """One lane of sending: companies with equal routes share a connector and its connections."""

    provider: str
    servers: tuple[SmtpServer, ...]
    rate: float


class Routes:
    """Connectors by route; thread-safe."""

    def __init__(self, settings: Settings, guard: Guard) -> None:
        self._settings = settings
        self._guard = guard
        self._connectors: dict[Route, Connector] = {}
        self._localhost: tuple[float, bool] = (0.0, False)
        self._lock = threading.Lock()

    def find(self, config: MoodleConfig, company: Company) -> Route:
        """The company's route; raises MailSettingsError when its mail must stay with Moodle."""
        if company.provider != "smtp":
            raise MailSettingsError(f"provider {company.provider} is not built yet")
        route = mail_route(config, company.company_id)
        if route.assumed and not self._localhost_answers():
            raise MailSettingsError("smtphosts is empty and no SMTP server answers at localhost:25")
        return Route("smtp", _servers(route, self._settings), float(company.max_send_rate))

    def connector(self, route: Route) -> Connector:
        """The connector of a route, made when first needed."""
        with self._lock:
            found = self._connectors.get(route)
            if found is None:
                found = SmtpConnector(
                    route.servers,
                    connections=self._settings.smtp_connections,
                    guard=self._guard,
                    rate=route.rate,
                )
                self._connectors[route] = found
            return found

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
