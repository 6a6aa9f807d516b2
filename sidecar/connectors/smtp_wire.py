"""Lines and replies on a socket: the bottom of an SMTP client (RFC 5321 §4.2). Strict, bounded."""

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass

MAX_LINE = 4_096
MAX_LINES = 100

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
    """One connection, from TCP on. Every method but ``cut`` belongs to one thread.

    OSError is what everything raises: refusal, silence for ``timeout`` seconds, an end, what is
    no reply.
    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.timeout = timeout
        self.is_open = True
        self._buffer = b""
        self._socket = socket.create_connection((host, port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def local_host(self) -> str:
        """Our own address on this connection."""
        return str(self._socket.getsockname()[0])

    def start_tls(self, host: str, ca_file: str | None) -> str:
        """Secure the connection to ``host``, its certificate verified; the version of TLS."""
        context = ssl.create_default_context(cafile=ca_file)
        self._buffer = b""  # what came before could be anybody's (RFC 3207 §6)
        # In two steps, so that ``cut`` finds the socket while the handshake waits.
        secure = context.wrap_socket(
            self._socket, server_hostname=host, do_handshake_on_connect=False
        )
        self._socket = secure
        secure.do_handshake()
        return secure.version() or ""

    def expect_quiet(self) -> None:
        """Raise if the server has left or says something unasked, as it may between two mails."""
        self._socket.settimeout(0.0)
        try:
            self._buffer += self._socket.recv(MAX_LINE)
        except (BlockingIOError, ssl.SSLWantReadError):
            if not self._buffer:
                return
        finally:
            self._socket.settimeout(self.timeout)
        last = self.reply()
        raise ConnectionError(f"{last.codes} {last.text}")

    def write(self, data: bytes | memoryview) -> None:
        """Send all of ``data``."""
        self._socket.sendall(data)

    def ask(self, command: bytes) -> Reply:
        """Send one command line; its reply."""
        self._socket.sendall(command + b"\r\n")
        return self.reply()

    def reply(self) -> Reply:
        """The next reply."""
        deadline = time.monotonic() + self.timeout
        lines: list[bytes] = []
        code = b""
        while len(lines) < MAX_LINES:
            line = self._line(deadline)
            match = _REPLY_LINE.fullmatch(line)
            if not match or (code and match[1] != code):
                raise ConnectionError(f"not an SMTP reply: {line[:80]!r}")
            code = match[1]
            lines.append(match[3] or b"")
            if match[2] != b"-":
                return Reply(int(code), lines)
        raise ConnectionError("a reply without end")

    def _line(self, deadline: float) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_LINE:
                raise ConnectionError("a reply line without end")
            if time.monotonic() > deadline:
                raise TimeoutError("timed out")
            received = self._socket.recv(MAX_LINE)
            if not received:
                raise ConnectionError("the server closed the connection")
            self._buffer += received
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.removesuffix(b"\r")

    def quit(self, timeout: float) -> None:
        """Say goodbye, wait at most ``timeout`` seconds for the answer, close."""
        self.timeout = max(0.001, min(timeout, self.timeout))
        with contextlib.suppress(OSError):
            self._socket.settimeout(self.timeout)
            self.ask(b"QUIT")
        self.close()

    def cut(self) -> None:
        """From any thread: whoever waits on this connection fails now."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close without a word."""
        self.is_open = False
        self._socket.close()
