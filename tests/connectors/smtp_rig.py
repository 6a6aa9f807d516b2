"""Sessions and connectors to a recording sink, and what is asked of it."""

import re
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from sidecar.connectors.base import Guard, Submission
from sidecar.connectors.smtp import SmtpConnector
from sidecar.connectors.smtp_loop import LoopThread
from sidecar.connectors.smtp_servers import SmtpServer
from sidecar.connectors.smtp_session import Result, SmtpSession, Transaction
from sidecar.connectors.smtp_wire import MAX_LINE, MAX_LINES
from sidecar.demo.sink import Sink
from sidecar.mail import MailBatch
from tests.connectors.contract import assert_one_each
from tests.connectors.ledger import Ledger

Found = TypeVar("Found")
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


class Blocking:
    """A session whose methods wait for what they do: a test need not be a coroutine."""

    def __init__(self, server: SmtpServer) -> None:
        self._loop = LoopThread("session")
        try:
            self.session = self._wait(SmtpSession.connect(server))
        except BaseException:
            self._loop.end()
            raise

    def greet(self) -> None:
        self._wait(self.session.greet())

    def send(self, sender: str, recipient: str, message: bytes, guard: Guard) -> Result:
        return self.go_on(Transaction(sender, recipient, message), None, guard)

    def go_on(
        self, mail: Transaction, following: Transaction | None = None, guard: Guard = lambda: None
    ) -> Result:
        return self._wait(self.session.send(mail, guard, lambda: following))

    def noop(self) -> bool:
        return self._wait(self.session.noop())

    def quit(self, timeout: float) -> None:
        self._wait(self.session.wire.quit(timeout))

    def close(self) -> None:
        self.session.wire.close()
        self._loop.end()

    def _wait(self, work: Coroutine[Any, Any, Found]) -> Found:
        future = self._loop.start(work)
        assert future
        return future.result()


@contextmanager
def connected(sink: Sink, **changes: object) -> Iterator[Blocking]:
    server = SmtpServer(sink.host, sink.port, timeout=5.0)
    blocking = Blocking(replace(server, **changes))  # type: ignore[arg-type]
    try:
        blocking.greet()
        yield blocking
    finally:
        blocking.close()


def send(to: Blocking, message: bytes = MESSAGE, recipient: str = RECIPIENT) -> Result:
    return to.send(SENDER, recipient, message, always)


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
