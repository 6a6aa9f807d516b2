"""What the tests of connectors share."""

import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import settings

from sidecar.connectors.smtp import SmtpConnector
from sidecar.connectors.smtp_servers import SmtpServer
from sidecar.demo.sink import Sink
from tests.connectors.smtp_rig import Make, always

# A shared machine pauses when it likes; a slow example is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@dataclass(frozen=True)
class Authority:
    """A certificate authority: its file for clients, contexts for servers."""

    ca: trustme.CA
    file: str

    def server(self, *names: str) -> ssl.SSLContext:
        """A server that shows a certificate for these names."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(*names).configure_cert(context)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the client is told to trust."""
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return make_authority(tmp_path_factory.mktemp("stranger"))


def make_authority(folder: Path) -> Authority:
    """A new authority with its file in ``folder``."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    return Authority(ca, str(folder / "ca.pem"))


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


@pytest.fixture
def make(sink: Sink) -> Iterator[Make]:
    """``make(server={…}, **options)``: a connector to the sink, closed at the end."""
    made: list[SmtpConnector] = []

    def connector(server: dict[str, Any] | None = None, **options: Any) -> SmtpConnector:
        settings = {"host": sink.host, "port": sink.port, "timeout": 30.0, **(server or {})}
        values: dict[str, Any] = {"servers": [SmtpServer(**settings)], "guard": always, **options}
        made.append(SmtpConnector(**values))
        return made[-1]

    yield connector
    for each in made:
        each.close(time.monotonic() + 5)
