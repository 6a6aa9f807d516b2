"""Lines and replies on a socket: the bottom of an SMTP client (RFC 5321 §4.2). Strict, bounded."""

import asyncio
import contextlib
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sidecar.connectors.smtp_loop import in_thread

MAX_LINE = 4_096
MAX_LINES = 100

Found = TypeVar("Found")

_REPLY_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?")
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|\Z)")
_BLANKS = re.compile(r"[\x00-\x20\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said: the code, and the text of each line."""

    code: int
    lines: Sequence[bytes]

    @property
    def kind(self) -> int:
        """The first digit: 2 done, 3 go on, 4 not now, 5 never."""
        return self.code // 100

    @property
    def codes(self) -> str:
        """The code, followed by the enhanced code (RFC 3463) if there is one."""
        enhanced = _ENHANCED.match(self.lines[0].decode(errors="replace"))
        return f"{self.code} {enhanced[0]}" if enhanced else str(self.code)

    @property
    def text(self) -> str:
        """All lines as one, without control characters and enhanced codes."""
        lines = (_BLANKS.sub(" ", line.decode(errors="replace")).strip() for line in self.lines)
        return " ".join(_strip_enhanced(line) for line in lines).strip()


def _strip_enhanced(line: str) -> str:
    match = _ENHANCED.match(line)
    return line[match.end() :].strip() if match else line


class Wire:
    """One connection, from TCP on. Every method but ``cut`` belongs to one task of an event loop.

    unsent: bytes of the last ``write`` that have not left, as after an error.

    OSError is what everything raises: refusal, silence for ``timeout`` seconds, an end, what is
    no reply.
    """

    def __init__(self, connected: socket.socket, timeout: float) -> None:
        self.timeout = timeout
        self.is_open = True
        self.unsent = 0
        self._buffer = b""
        self._socket = connected
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    async def open(cls, host: str, port: int, timeout: float) -> "Wire":
        """A connection to ``host``; raises what ``socket.create_connection`` does."""
        connect = partial(socket.create_connection, (host, port), timeout)
        return cls(await in_thread(connect), timeout)

    @property
    def local_host(self) -> str:
        """Our own address on this connection."""
        return str(self._socket.getsockname()[0])

    async def start_tls(self, host: str, ca_file: str | None) -> str:
        """Secure the connection to ``host``, its certificate verified; the version of TLS."""
        context = await in_thread(partial(ssl.create_default_context, cafile=ca_file))
        self._buffer = b""  # what came before could be anybody's (RFC 3207 §6)
        # In two steps, so that ``cut`` finds the socket while the handshake waits.
        secure = context.wrap_socket(
            self._socket, server_hostname=host, do_handshake_on_connect=False
        )
        self._socket = secure
        await self._through(secure.do_handshake, self._deadline())
        return secure.version() or ""

    async def expect_quiet(self) -> None:
        """Raise if the server has left or says something unasked, as it may between two mails."""
        try:
            self._buffer += self._socket.recv(MAX_LINE)
        except (BlockingIOError, ssl.SSLWantReadError):
            if not self._buffer:
                return
        last = await self.reply()
        raise ConnectionError(f"{last.codes} {last.text}")

    async def expect_word(self) -> None:
        """Wait until the server answers what it was asked, within ``timeout`` seconds."""
        if not self._buffer:
            self._buffer = await self._receive(self._deadline())

    async def write(self, data: bytes | memoryview) -> None:
        """Send all of ``data``, within ``timeout`` seconds."""
        view, deadline = memoryview(data), self._deadline()
        self.unsent = len(view)
        while self.unsent:
            send = partial(self._socket.send, view[-self.unsent :])
            self.unsent -= await self._through(send, deadline, writes=True)

    async def ask(self, command: bytes) -> Reply:
        """Send one command line; its reply."""
        await self.write(command + b"\r\n")
        return await self.reply()

    async def reply(self) -> Reply:
        """The next reply, within ``timeout`` seconds."""
        deadline = self._deadline()
        lines: list[bytes] = []
        code = b""
        while len(lines) < MAX_LINES:
            line = await self._line(deadline)
            match = _REPLY_LINE.fullmatch(line)
            if not match or (code and match[1] != code):
                raise ConnectionError(f"not an SMTP reply: {line[:80]!r}")
            code = match[1]
            lines.append(match[3] or b"")
            if match[2] != b"-":
                return Reply(int(code), lines)
        raise ConnectionError("a reply without end")

    async def _line(self, deadline: float) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_LINE:
                raise ConnectionError("a reply line without end")
            if self._buffer and time.monotonic() > deadline:
                raise TimeoutError("timed out")
            self._buffer += await self._receive(deadline)
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.removesuffix(b"\r")

    async def _receive(self, deadline: float) -> bytes:
        received = await self._through(partial(self._socket.recv, MAX_LINE), deadline)
        if not received:
            raise ConnectionError("the server closed the connection")
        return received

    async def quit(self, timeout: float) -> None:
        """Say goodbye, wait at most ``timeout`` seconds for the answer, close."""
        self.timeout = max(0.001, min(timeout, self.timeout))
        with contextlib.suppress(OSError):
            await self.ask(b"QUIT")
        self.close()

    def cut(self) -> None:
        """From any thread: whoever waits on this connection fails now."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close without a word."""
        self.is_open = False
        self._socket.close()

    def _deadline(self) -> float:
        return time.monotonic() + self.timeout

    async def _through(
        self, operation: Callable[[], Found], deadline: float, *, writes: bool = False
    ) -> Found:
        """What an operation of the socket returns once it need not wait; TimeoutError.

        It is tried once more after ``deadline``: an answer that came while we were frozen counts.
        """
        while True:
            try:
                return operation()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as waits:
                for_write = isinstance(waits, ssl.SSLWantWriteError)
            except BlockingIOError:
                for_write = writes
            if time.monotonic() >= deadline:
                raise TimeoutError("timed out")
            await self._ready(deadline, for_write=for_write)

    async def _ready(self, deadline: float, *, for_write: bool) -> None:
        """Wait until the socket can be read or written, at most until ``deadline``."""
        loop = asyncio.get_running_loop()
        watch, forget = (
            (loop.add_writer, loop.remove_writer)
            if for_write
            else (loop.add_reader, loop.remove_reader)
        )
        future: asyncio.Future[None] = loop.create_future()
        number = self._socket.fileno()
        timer = loop.call_at(deadline, _wake, future)
        watch(number, _wake, future)
        try:
            await future
        finally:
            timer.cancel()
            forget(number)


def reason(error: Exception) -> str:
    """What happened, in the words of the system where it has some."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
