"""A recording SMTP server: accepts every mail, keeps envelope and bytes in memory.

It answers at once (TCP_QUICKACK, TCP_NODELAY), or `delay` seconds late to widen the windows in
which something can be killed. A mail counts as arrived once its final dot is here, before the
answer leaves: that is the moment from which a second copy is a second mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Arrived:
    sender: str
    recipients: tuple[str, ...]
    data: bytes


class Sink:
    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.refusing = False  # answer 421 to every new connection
        self.mails: list[Arrived] = []  # only ever appended to, so readers need no lock
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="sink", daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_server(lambda: _Session(self), "127.0.0.1", 0, backlog=512)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()


class _Session(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = b""
        self._in_data = False
        self._sender = ""
        self._recipients: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ack_at_once()
        if self._sink.refusing:
            transport.write(b"421 4.3.2 not now\r\n")
            transport.close()
        else:
            self._answer(b"220 sink ESMTP")

    def _ack_at_once(self) -> None:  # Linux forgets it after each use
        if hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _answer(self, line: bytes) -> None:
        if self._sink.delay:  # one delay for all: the loop keeps the order
            asyncio.get_running_loop().call_later(self._sink.delay, self._write, line)
        else:
            self._write(line)

    def _write(self, line: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(line + b"\r\n")
            if line.startswith(b"221"):
                self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._ack_at_once()
        self._buffer += data
        while True:
            end = b"\r\n.\r\n" if self._in_data else b"\r\n"
            found, separator, rest = self._buffer.partition(end)
            if not separator:
                return
            self._buffer = rest
            if self._in_data:
                self._take(found)
            else:
                self._command(found)

    def _take(self, found: bytes) -> None:
        self._in_data = False
        body = (b"\r\n" + found).replace(b"\r\n..", b"\r\n.")[2:] + b"\r\n"
        self._sink.mails.append(Arrived(self._sender, tuple(self._recipients), body))
        self._sender, self._recipients = "", []
        self._answer(b"250 2.0.0 kept")

    def _command(self, line: bytes) -> None:
        verb = line[:4].upper()
        address = line.partition(b"<")[2].partition(b">")[0].decode("utf-8", "replace")
        if verb == b"EHLO":
            self._answer(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 52428800")
        elif verb == b"MAIL":
            self._sender, self._recipients = address, []
            self._answer(b"250 2.1.0 ok")
        elif verb == b"RCPT":
            self._recipients.append(address)
            self._answer(b"250 2.1.5 ok")
        elif verb == b"DATA":
            self._in_data = True
            self._answer(b"354 go on")
        elif verb == b"QUIT":
            self._answer(b"221 2.0.0 bye")
        elif verb in (b"HELO", b"RSET", b"NOOP"):
            self._sender, self._recipients = "", []
            self._answer(b"250 2.0.0 ok")
        else:
            self._answer(b"502 5.5.1 not known here")
