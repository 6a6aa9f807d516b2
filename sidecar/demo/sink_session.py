"""One connection of the recording SMTP server: the server side of RFC 5321."""

import asyncio
import base64
import hmac
import math
import ssl
from collections import deque
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from sidecar.demo.sink import Sink

CHALLENGE = b"<1896.697170952@sink>"


class Session(asyncio.Protocol):
    """One connection; only CRLF ends a line, only CRLF.CRLF a message."""

    def __init__(self, sink: "Sink", number: int) -> None:
        self._sink, self._number = sink, number
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._searched = 0
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._in_body = self._body_seen = self._closing = False
        self._secure = sink.implicit_tls
        self._dialogue: Generator[str, str, bool] | None = None
        self._answers: list[str] = []
        self._delay = 0.0
        self._then: Callable[[], object] | None = None
        self._flushes: deque[tuple[bytes, Callable[[], object] | None]] = deque()
        self._upgrade: asyncio.Task[None] | None = None
        self._verbs: Mapping[str, Callable[[str], object]] = {
            "EHLO": self._ehlo,
            "HELO": lambda line: self._answer("helo", line, "250 sink"),
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": lambda line: self._answer("noop", line, "250 2.0.0 ok"),
            "QUIT": self._quit,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or send away what is one connection too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._sink.connections += 1
        self._sink.open.add(self)
        if len(self._sink.open) > self._sink.max_connections:
            self._close_after("421 4.7.0 too many connections")
        else:
            self._answer("connect", "", "220 sink ESMTP")
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the connection."""
        self._sink.open.discard(self)

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take every complete command and body; answer them together."""
        self._buffer += data
        # The first encrypted bytes can be here before the transport that encrypts our answer is.
        while self._buffer and not self._closing and not self._upgrade:
            if not (self._take_body() if self._in_body else self._take_line()):
                break
        self._flush()

    def _take_line(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        line = self._buffer[:end].decode("latin-1")
        del self._buffer[: end + 2]
        if self._sink.keep:
            self._sink.log.append((self._number, line))
        if self._dialogue:
            self._go_on(self._dialogue, line)
        elif verb := self._verbs.get(line.partition(" ")[0].upper()):
            verb(line)
        else:
            self._answers.append("502 5.5.1 not known here")
        return True

    def _take_body(self) -> bool:
        if not self._body_seen:
            self._body_seen = True
            self._answer("body", "", "")
            if self._closing:
                return False
        # The CRLF that ended DATA may be the first of the CRLF.CRLF (RFC 5321 §4.1.1.4).
        end = (
            -2
            if self._buffer.startswith(b".\r\n")
            else self._buffer.find(b"\r\n.\r\n", self._searched)
        )
        if end == -1:
            self._searched = max(0, len(self._buffer) - 4)
            return False
        data = bytes(self._buffer[: end + 2])
        del self._buffer[: end + 5]
        self._dot((b"\r\n" + data).replace(b"\r\n.", b"\r\n")[2:])
        return True

    def _answer(self, step: str, line: str, ordinary: str) -> bool:
        """Answer as the rules say, else ordinarily; whether what was asked happens."""
        rule = self._sink.action(step, line) if self._sink.rules else None
        if rule is None:
            if ordinary:
                self._answers.append(ordinary)
            return ordinary < "4"
        self._delay += rule.delay
        reply = rule.reply or ("" if rule.drop else ordinary)
        if rule.drop or reply.startswith("421"):
            self._close_after(reply)
            return rule.keep
        if reply:
            self._answers.append(reply)
        return rule.keep or reply < "4"

    def _close_after(self, reply: str) -> None:
        if reply:
            self._answers.append(reply)
        self._closing, self._then = True, self._transport.close

    def _flush(self) -> None:
        """Send what there is to say, in order, after the latency."""
        if not self._answers and not self._then:
            return
        text = "".join(f"{answer}\r\n" for answer in self._answers).encode()
        delay = self._sink.latency + self._delay
        self._flushes.append((text, self._then))
        self._answers, self._delay, self._then = [], 0.0, None
        if delay == math.inf:
            self._closing = True  # neither an answer nor an end, and nothing more is heard
        elif delay:
            asyncio.get_running_loop().call_later(delay, self._write)
        else:
            self._write()

    def _write(self) -> None:
        text, then = self._flushes.popleft()
        self._transport.write(text)
        if then:
            then()

    def _ehlo(self, line: str) -> None:
        lines = ["sink", "8BITMIME", "ENHANCEDSTATUSCODES", f"SIZE {self._sink.size}"]
        if self._sink.pipelining:
            lines.append("PIPELINING")
        if self._sink.tls and not self._secure:
            lines.append("STARTTLS")
        if self._sink.auth:
            lines.append(f"AUTH {' '.join(self._sink.auth)}")
        greeting = "\r\n".join(f"250-{text}" for text in lines[:-1])
        self._answer("ehlo", line, f"{greeting}\r\n250 {lines[-1]}")

    def _starttls(self, line: str) -> None:
        context = self._sink.tls
        if not context or self._secure:
            self._answers.append("502 5.5.1 not offered")
        elif self._answer("starttls", line, "220 2.0.0 go on"):
            self._buffer.clear()  # nothing said in the clear counts (RFC 3207 §4.2)
            self._then = lambda: self._start_upgrade(context)

    def _start_upgrade(self, context: ssl.SSLContext) -> None:
        self._upgrade = asyncio.get_running_loop().create_task(self._secure_transport(context))

    async def _secure_transport(self, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        try:
            secure = await loop.start_tls(self._transport, self, context, server_side=True)
        except OSError:  # ssl.SSLError is one: the client refused our certificate, or left
            secure = None
        if secure is None:
            self._transport.abort()
            self._sink.open.discard(self)
        else:
            self._transport, self._secure, self._upgrade = secure, True, None
            self.data_received(b"")

    def _auth(self, line: str) -> None:
        if self._answer("auth", line, ""):
            self._dialogue = self._credentials(*line.split()[1:])
            self._go_on(self._dialogue, None)

    def _go_on(self, dialogue: Generator[str, str, bool], line: str | None) -> None:
        try:
            self._answers.append(next(dialogue) if line is None else dialogue.send(line))
        except StopIteration as end:
            self._dialogue = None
            self._answers.append(
                "235 2.7.0 welcome" if end.value else "535 5.7.8 wrong credentials"
            )

    def _credentials(self, mechanism: str, *initial: str) -> Generator[str, str, bool]:
        """The dialogue of AUTH (RFC 4954; LOGIN by draft-murchison, CRAM-MD5 by RFC 2195)."""
        users = self._sink.users
        if mechanism == "PLAIN":
            text = initial[0] if initial else (yield "334 ")
            _, user, password = base64.b64decode(text).decode().split("\0")
            return users.get(user) == password
        if mechanism == "LOGIN":
            name = initial[0] if initial else (yield "334 VXNlcm5hbWU6")
            user = base64.b64decode(name).decode()
            password = base64.b64decode((yield "334 UGFzc3dvcmQ6")).decode()
            return users.get(user) == password
        answer = base64.b64decode((yield f"334 {base64.b64encode(CHALLENGE).decode()}")).decode()
        user, _, digest = answer.rpartition(" ")
        return hmac.new(users.get(user, "").encode(), CHALLENGE, "md5").hexdigest() == digest

    def _mail(self, line: str) -> None:
        if self._sender is not None:
            self._answers.append("503 5.5.1 nested MAIL")
        elif self._answer("mail", line, "250 2.1.0 ok"):
            self._sender, self._recipients = _path(line), []

    def _rcpt(self, line: str) -> None:
        if self._sender is None:
            self._answers.append("503 5.5.1 MAIL first")
        elif self._answer("rcpt", line, "250 2.1.5 ok"):
            self._recipients.append(_path(line))

    def _data(self, line: str) -> None:
        ordinary = "354 go on" if self._recipients else "503 5.5.1 no valid recipients"
        self._in_body = self._answer("data", line, ordinary)
        self._body_seen, self._searched = False, 0

    def _dot(self, data: bytes) -> None:
        sender, recipients = self._sender or "", self._recipients
        self._sender, self._recipients, self._in_body = None, [], False
        if not recipients:
            self._answers.append("554 5.5.1 no valid recipients")
            return
        if self._answer("dot", "", "250 2.0.0 kept"):
            self._sink.take(sender, recipients, data)

    def _rset(self, line: str) -> None:
        self._sender, self._recipients = None, []
        self._answer("rset", line, "250 2.0.0 ok")

    def _quit(self, line: str) -> None:
        if self._answer("quit", line, ""):
            self._close_after("221 2.0.0 bye")


def _path(line: str) -> str:
    """The address in the angle brackets of MAIL and RCPT."""
    return line.partition("<")[2].partition(">")[0]
