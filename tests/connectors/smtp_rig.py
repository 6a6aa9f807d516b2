"""Sessions and connectors to a recording sink, and what is asked of it."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from sidecar.connectors.base import Submission
from sidecar.connectors.smtp import SmtpConnector
from sidecar.connectors.smtp_session import Result, SmtpServer, SmtpSession
from sidecar.connectors.smtp_wire import MAX_LINE, MAX_LINES
from sidecar.demo.sink import Sink
from sidecar.mail import MailBatch
from tests.connectors.contract import assert_one_each
from tests.connectors.ledger import Ledger

TIMEOUT = 0.5
Make = Callable[..., SmtpConnector]

SENDER, RECIPIENT = "noreply@moodle.example.test", "user@example.test"
MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"
SMUGGLED = b"".join(
    (
        b"Subject: x\r\n\r\n",
        *(b"\n.\r\n", b"\r.\r\n", b"\n.\n", b"\r\n.\n", b"\r\n.\r\n", b"MAIL FROM:<x@y>\r\n"),
        *(b"..\r\n", b"...\r\n", b".\r\n"),
    )
)
LARGE = b"Subject: large\r\n\r\n" + (b"." + b"x" * 74 + b"\r\n") * (25_000_000 // 77)
GARBAGE = [
    "hello",
    "25",
    "2500 long code",
    "150 too low",
    "650 too high",
    "250-one\r\n251 two",
    "250 " + "x" * (2 * MAX_LINE),
    "\r\n".join(["250-again"] * (MAX_LINES + 1)),
]


def always() -> None:
    """A guard that lets everything through."""


@contextmanager
def connected(sink: Sink, **changes: object) -> Iterator[SmtpSession]:
    server = SmtpServer(sink.host, sink.port, timeout=5.0)
    session = SmtpSession(replace(server, **changes))  # type: ignore[arg-type]
    try:
        session.greet()
        yield session
    finally:
        session.wire.close()


def send(session: SmtpSession, message: bytes = MESSAGE, recipient: str = RECIPIENT) -> Result:
    return session.send(SENDER, recipient, message, always)


def taken(sink: Sink) -> list[str]:
    found = (re.search(rb"^Message-ID: <(.+)>\r$", m.data, re.MULTILINE) for m in sink.messages)
    return [match[1].decode() for match in found if match]


def submit(
    connector: SmtpConnector, *batches: MailBatch, ledger: Ledger | None = None
) -> tuple[list[Submission], Ledger]:
    ledger = ledger or Ledger()
    submissions = list(connector.submit(iter(batches), ledger))
    assert_one_each(submissions, list(batches))
    return submissions, ledger


def commands(sink: Sink) -> Counter[str]:
    return Counter(line.partition(" ")[0] for _, line in sink.log)
