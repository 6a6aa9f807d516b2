"""One SMTP session (RFC 5321), as a client that always knows what became of a mail.

Not smtplib: that cannot pipeline (RFC 2920), cannot tell whether an answer was lost before or after
the final dot, takes only ASCII passwords and reads replies without bound.
"""

import base64
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sidecar.connectors.base import Guard
from sidecar.connectors.mime import address
from sidecar.connectors.smtp_wire import Reply, Wire
from sidecar.errors import AuthFailed, ConnectorError, Throttled, Unavailable

MECHANISMS = ("CRAM-MD5", "LOGIN", "PLAIN")
"""What we know of AUTH, in PHPMailer's order of preference."""

STREAMED = 65_536
"""A longer message leaves in pieces of this size, its final dot apart."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """How to reach one server.

    secure: "" (clear, as Moodle without smtpsecure), "tls" (STARTTLS) or "ssl" (TLS from the first
    byte). auth_type: CRAM-MD5, LOGIN, PLAIN, or "" for the best that is offered. helo: our name;
    "": our address as a literal. ca_file: trusted instead of the system's authorities.
    """

    host: str
    port: int = 25
    secure: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    auth_type: str = ""
    timeout: float = 30.0
    helo: str = ""
    ca_file: str | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Fate(StrEnum):
    """What became of one mail."""

    ACCEPTED = "accepted"
    REFUSED_TEMPORARILY = "refused_temporarily"
    REFUSED_PERMANENTLY = "refused_permanently"
    LOST_BEFORE_FINAL_DOT = "lost_before_final_dot"
    LOST_AFTER_FINAL_DOT = "lost_after_final_dot"


@dataclass(frozen=True, slots=True)
class Result:
    """The fate of one mail, and why.

    step: where it was decided: idle (the server had left before we said a word), rset, mail, rcpt,
    data or dot. code: the reply's code with its enhanced code; "" where the connection was lost.
    text: the server's words, or what happened.
    """

    fate: Fate
    step: str
    code: str
    text: str


class SmtpSession:
    """One session; it belongs to one task of an event loop, but for ``wire.cut``.

    is_ready: the server has let us in.
    """

    def __init__(self, server: SmtpServer, wire: Wire) -> None:
        self.server, self.wire = server, wire
        self.banner = self.tls = self.auth = ""
        self.offers: dict[str, str] = {}
        self.is_ready = False
        self._in_transaction = False
        self._used_at = time.monotonic()

    @classmethod
    async def connect(cls, server: SmtpServer) -> "SmtpSession":
        """A connection on which nothing was said yet. Raises Unavailable."""
        try:
            return cls(server, await Wire.open(server.host, server.port, server.timeout))
        except (OSError, ValueError, OverflowError) as error:
            raise Unavailable(f"{server}: {_reason(error)}") from error

    @property
    def is_open(self) -> bool:
        """Whether another mail can be sent."""
        return self.wire.is_open

    @property
    def idle(self) -> float:
        """Seconds since the last mail was begun."""
        return time.monotonic() - self._used_at

    @property
    def pipelining(self) -> bool:
        """Whether the server takes several commands at once (RFC 2920)."""
        return "PIPELINING" in self.offers

    async def greet(self) -> None:
        """Everything up to the first mail: TLS, EHLO, AUTH.

        Raises Throttled (421), AuthFailed or Unavailable; the connection is closed then.
        """
        try:
            if self.server.secure == "ssl":
                await self._start_tls()
            self.banner = self._accept("greeting", await self.wire.reply()).text
            await self._ehlo()
            if self.server.secure == "tls":
                if "STARTTLS" not in self.offers:
                    raise Unavailable(f"{self.server}: STARTTLS is not offered")
                self._accept("STARTTLS", await self.wire.ask(b"STARTTLS"))
                await self._start_tls()
                await self._ehlo()
            if self.server.user:
                await self._log_in()
            self.is_ready = True
        except (OSError, ValueError) as error:
            self.wire.close()
            raise Unavailable(f"{self.server}: {_reason(error)}") from error
        except ConnectorError:
            self.wire.close()
            raise

    async def send(self, sender: str, recipient: str, message: bytes, guard: Guard) -> Result:
        """Send one mail; ``message`` is lines that end in CRLF. Afterwards look at ``is_open``.

        ``guard`` is asked before DATA and right before the final dot leaves; what it raises goes
        to the caller: the connection is closed, the mail not sent. ValueError: an address that is
        none; nothing was said to the server.
        """
        size = f" SIZE={len(message)}" if "SIZE" in self.offers else ""
        commands = {
            "mail": f"MAIL FROM:<{sender and address(sender)}>{size}\r\n".encode(),
            "rcpt": f"RCPT TO:<{address(recipient)}>\r\n".encode(),
            "data": b"DATA\r\n",
        }
        limit = self.offers.get("SIZE", "")
        if limit.isdecimal() and 0 < int(limit) < len(message):
            text = f"{len(message)} bytes, the server takes {limit}"
            return Result(Fate.REFUSED_PERMANENTLY, "mail", "552 5.3.4", text)
        self._used_at = time.monotonic()
        step = "idle"
        try:
            await self.wire.expect_quiet()
            step = "data"
            refusal = await self._envelope(commands, guard) or await self._transmit(message, guard)
            if refusal:
                return refusal
            step = "dot"
            reply = await self.wire.reply()
            self._in_transaction = False
            if reply.kind == 2:
                return Result(Fate.ACCEPTED, "dot", reply.codes, reply.text)
            return self._refusal("dot", reply)
        except OSError as error:
            self.wire.close()
            lost_after = step == "dot"
            fate = Fate.LOST_AFTER_FINAL_DOT if lost_after else Fate.LOST_BEFORE_FINAL_DOT
            return Result(fate, step, "", f"{self.server}: {_reason(error)}")
        except BaseException:
            self.wire.close()
            raise

    async def noop(self) -> bool:
        """Whether the server still answers; closed if not."""
        try:
            if (await self.wire.ask(b"NOOP")).kind == 2:
                return True
        except OSError:
            pass
        self.wire.close()
        return False

    async def _start_tls(self) -> None:
        self.tls = await self.wire.start_tls(self.server.host, self.server.ca_file)

    async def _ehlo(self) -> None:
        host = self.wire.local_host
        literal = f"[IPv6:{host}]" if ":" in host else f"[{host}]"
        name = (self.server.helo or literal).encode("ascii")
        reply = await self.wire.ask(b"EHLO " + name)
        self.offers = {}
        if reply.kind == 5:
            self._accept("HELO", await self.wire.ask(b"HELO " + name))
            return
        for line in self._accept("EHLO", reply).lines[1:]:
            # "AUTH=LOGIN" is how servers older than RFC 2554 said it.
            keyword, _, parameters = line.decode("latin-1").replace("=", " ", 1).partition(" ")
            self.offers[keyword.upper()] = parameters.strip()

    async def _log_in(self) -> None:
        """AUTH (RFC 4954) by the mechanism that is asked for, else by the best that is offered."""
        offered = self.offers.get("AUTH", "").upper().split()
        usable = [name for name in MECHANISMS if name in offered]
        asked = self.server.auth_type.upper()
        self.auth = asked if asked in usable else next(iter(usable), "")
        user, password = self.server.user.encode(), self.server.password.encode()
        ask = self.wire.ask
        if self.auth == "PLAIN":
            reply = await ask(b"AUTH PLAIN " + base64.b64encode(b"\0%s\0%s" % (user, password)))
        elif self.auth == "LOGIN":
            reply = await ask(b"AUTH LOGIN")
            for secret in (user, password):
                if reply.code == 334:
                    reply = await ask(base64.b64encode(secret))
        elif self.auth == "CRAM-MD5":
            reply = await ask(b"AUTH CRAM-MD5")
            if reply.code == 334:
                digest = hmac.new(password, base64.b64decode(reply.lines[0]), "md5").hexdigest()
                reply = await ask(base64.b64encode(user + b" " + digest.encode()))
        else:
            raise AuthFailed(f"{self.server}: offers no AUTH that we know: {' '.join(offered)}")
        if reply.kind == 5:
            raise AuthFailed(f"{self.server}: AUTH {self.auth}: {reply.text}", reply.codes)
        self._accept(f"AUTH {self.auth}", reply)

    def _accept(self, what: str, reply: Reply) -> Reply:
        """``reply`` if it is positive."""
        if reply.kind == 2:
            return reply
        refused = Throttled if reply.code == 421 else Unavailable
        raise refused(f"{self.server}: {what}: {reply.text}", reply.codes)

    async def _envelope(self, commands: Mapping[str, bytes], guard: Guard) -> Result | None:
        """MAIL, RCPT, DATA: the first refusal; None when the server waits for the message."""
        if self._in_transaction:
            commands = {"rset": b"RSET\r\n", **commands}
        if self.pipelining:
            guard()
            await self.wire.write(b"".join(commands.values()))
        self._in_transaction = True
        refusal: Result | None = None
        awaits_message = False
        try:
            for step, command in commands.items():
                if not self.pipelining:
                    if step == "data":
                        guard()
                    await self.wire.write(command)
                reply = await self.wire.reply()
                awaits_message = reply.kind == 3
                if reply.kind != (3 if step == "data" else 2):
                    refusal = refusal or self._refusal(step, reply)
                    if not self.pipelining or not self.is_open:
                        return refusal
            if refusal and awaits_message:  # a message to nobody (RFC 2920 §3.1)
                await self.wire.ask(b".")
                self._in_transaction = False
        except OSError:
            if not refusal:
                raise
            self.wire.close()
        return refusal

    async def _transmit(self, message: bytes, guard: Guard) -> Result | None:
        """The message and its final dot; a refusal only if the server left while we sent."""
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        rest = b"." + stuffed if stuffed.startswith(b".") else stuffed
        try:
            if len(rest) > STREAMED:
                view = memoryview(rest)
                for start in range(0, len(view), STREAMED):
                    await self.wire.write(view[start : start + STREAMED])
                rest = b""
            guard()
            await self.wire.write(rest + b".\r\n")
        except OSError:
            refusal = self._refusal("data", await self.wire.reply())
            self.wire.close()
            return refusal
        return None

    def _refusal(self, step: str, reply: Reply) -> Result:
        if reply.kind not in (4, 5):
            raise ConnectionError(f"{reply.codes} {reply.text!r} is no answer to what we said")
        if reply.code == 421:
            self.wire.close()
        fate = Fate.REFUSED_TEMPORARILY if reply.kind == 4 else Fate.REFUSED_PERMANENTLY
        return Result(fate, step, reply.codes, reply.text)


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__
