"""A recording SMTP server: keeps what it really received, and fails exactly as it is told to.

The demo and the tests count what arrived here, never what our own tables say. As a process:
``python -m sidecar.demo.sink --port 0 --record FILE --latency-ms 5`` prints ``{"port": N}``, and
on SIGTERM ``{"accepted": N}``.
"""

import argparse
import asyncio
import itertools
import json
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sidecar.demo.sink_session import Session


@dataclass(frozen=True, slots=True)
class Received:
    """One message that the sink took responsibility for.

    data: as sent, without dot-stuffing and final dot. at: wall clock. bare: data holds a CR or LF
    outside a CRLF, which RFC 5321 §2.3.8 forbids.
    """

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    at: float
    bare: bool


@dataclass(slots=True)
class Rule:
    """What happens at a step instead of the ordinary answer; the first rule that fits is used.

    step: connect, ehlo, helo, starttls, auth, mail, rcpt, data, body (first bytes after the 354),
    dot, rset, noop or quit. reply: the answer; empty: the ordinary one. drop: close the connection
    instead of answering, or after ``reply`` where given. keep: at ``dot``, count the message as
    received whatever is answered. delay: seconds before the answer; inf: never. match: only where
    the command line contains it. skip: pass over the first that fit; times: then apply so often.
    """

    step: str
    reply: str = ""
    drop: bool = False
    keep: bool = False
    delay: float = 0.0
    match: str = ""
    skip: int = 0
    times: int = sys.maxsize

    def fits(self, step: str, line: str) -> bool:
        """Whether to use this rule now; counts down ``skip`` and ``times``."""
        if step != self.step or self.match not in line or not self.times:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Sink:
    """The server, in a thread of its own; a context manager.

    messages: what was received; log: (connection number, command line); neither grows without
    ``keep``. rules and latency may be changed at any time. latency: seconds before answers leave;
    the answers to pipelined commands share one, as on a network. users: names and passwords.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rules: Sequence[Rule] = (),
        latency: float = 0.0,
        pipelining: bool = True,
        auth: Sequence[str] = (),
        users: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        size: int = 52_428_800,
        max_connections: int = 1_000,
        keep: bool = True,
        record: Path | None = None,
    ) -> None:
        self.host, self.port = host, port
        self.rules, self.latency, self.pipelining = list(rules), latency, pipelining
        self.auth, self.users, self.size = tuple(auth), dict(users or {}), size
        self.tls, self.implicit_tls = tls, implicit_tls
        self.max_connections, self.keep, self.record = max_connections, keep, record
        self.messages: list[Received] = []
        self.log: list[tuple[int, str]] = []
        self.accepted = 0
        self.connections = 0
        self.open: set[Session] = set()

    def __enter__(self) -> Self:
        self._socket = socket.create_server((self.host, self.port), backlog=512)
        self.port = self._socket.getsockname()[1]
        self._file = self.record.open("ab", buffering=0) if self.record else None
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=[self._serve()], name="sink", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()
        if self._file:
            self._file.close()

    async def _serve(self) -> None:
        numbers = itertools.count(1)
        server = await self._loop.create_server(
            lambda: Session(self, next(numbers)),
            sock=self._socket,
            ssl=self.tls if self.implicit_tls else None,
        )
        await self._stop.wait()
        server.close()
        while self.open:
            for session in list(self.open):
                session.abort()
            await asyncio.sleep(0)

    def action(self, step: str, line: str) -> Rule | None:
        """The rule to follow at this step."""
        return next((rule for rule in self.rules if rule.fits(step, line)), None)

    def take(self, sender: str, recipients: Sequence[str], data: bytes) -> None:
        """Take responsibility for a message: on record before anybody is told."""
        self.accepted += 1
        if not self.keep and not self._file:
            return
        now = time.time()
        bare = not data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r")
        if self.keep:
            self.messages.append(Received(sender, tuple(recipients), data, now, bare))
        if self._file:
            text = data.decode("latin-1")
            line = {"from": sender, "rcpt": list(recipients), "data": text, "at": now, "bare": bare}
            self._file.write(json.dumps(line).encode() + b"\n")


def main() -> None:
    """Run a sink as a process until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m sidecar.demo.sink", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--record", type=Path, help="one JSON line a message, before its 250")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sink = Sink(
        host=options.host,
        port=options.port,
        record=options.record,
        latency=options.latency_ms / 1000,
        keep=False,
    )
    with sink:
        _say({"port": sink.port})
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    _say({"accepted": sink.accepted})


def _say(fact: Mapping[str, int]) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
