"""One SMTP session (RFC 5321), as a client that always knows what became of a mail.

Not smtplib: that cannot pipeline (RFC 2920), cannot tell whether an answer was lost before or after
the final dot, takes only ASCII passwords and reads replies without bound.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sidecar.connectors.base import Guard
from sidecar.connectors.mime import address
from sidecar.connectors.smtp_greeting import Greeting, greet
from sidecar.connectors.smtp_servers import SmtpServer
from sidecar.connectors.smtp_wire import Reply, Wire, reason
from sidecar.errors import Unavailable

STEPS = ("mail", "rcpt", "data")
"""What begins a transaction."""

STREAMED = 65_536
"""A longer message leaves in pieces of this size, its final dot apart."""


class Fate(StrEnum):
    """What became of one mail."""

    ACCEPTED = "accepted"
    REFUSED_TEMPORARILY = "refused_temporarily"
    REFUSED_PERMANENTLY = "refused_permanently"
    LOST_BEFORE_FINAL_DOT = "lost_before_final_dot"
    LOST_AFTER_FINAL_DOT = "lost_after_final_dot"


@dataclass(frozen=True, slots=True, eq=False)
class Transaction:
    """A mail and its envelope (RFC 5321 §3.3). message: lines that end in CRLF.

    Raises ValueError for an address that is none.
    """

    sender: str
    recipient: str
    message: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.sender:
            address(self.sender)
        address(self.recipient)


@dataclass(frozen=True, slots=True)
class Result:
    """The fate of one mail, and why.

    step: where it was decided: idle (the server left before it answered a word), rset, mail, rcpt,
    data or dot. code: the reply's code with its enhanced code; "" where the connection was lost.
    text: the server's words, or what happened.
    """

    fate: Fate
    step: str
    code: str
    text: str


Following = Callable[[], Transaction | None]
"""What will be sent next by this session, if that is known."""


class SmtpSession:
    """One session; it belongs to one task of an event loop, but for ``wire.cut``.

    is_ready: the server has let us in. begun: the mail whose commands have left and whose message
    has not: it is sent next, or the session is withdrawn.
    """

    def __init__(self, server: SmtpServer, wire: Wire) -> None:
        self.server, self.wire = server, wire
        self.greeting = Greeting()
        self.is_ready = False
        self.begun: Transaction | None = None
        self._in_transaction = False
        self._used_at = time.monotonic()

    @classmethod
    async def connect(cls, server: SmtpServer) -> "SmtpSession":
        """A connection on which nothing was said yet. Raises Unavailable."""
        try:
            return cls(server, await Wire.open(server.host, server.port, server.timeout))
        except (OSError, ValueError, OverflowError) as error:
            raise Unavailable(f"{server}: {reason(error)}") from error

    @property
    def is_open(self) -> bool:
        """Whether another mail can be sent."""
        return self.wire.is_open

    @property
    def idle(self) -> float:
        """Seconds since the last mail was begun."""
        return time.monotonic() - self._used_at

    async def greet(self) -> None:
        """Everything up to the first mail; see ``smtp_greeting.greet``."""
        self.greeting = await greet(self.wire, self.server)
        self.is_ready = True

    async def send(self, mail: Transaction, guard: Guard, following: Following) -> Result:
        """Send one mail. Afterwards look at ``is_open`` and ``begun``.

        following: asked when the message leaves what will be sent next. The commands of that leave
        with this mail's final dot, as RFC 2920 §3.1 allows, which saves a round trip.

        ``guard`` is asked before DATA and right before the final dot leaves; what it raises goes
        to the caller: the connection is closed, the mail not sent.
        """
        if self.begun not in {None, mail}:
            raise ValueError("another mail was begun")
        begun, self.begun = self.begun, None
        if too_large := self._too_large(mail):
            return too_large
        commands = () if begun else self._commands(mail)
        self._used_at = time.monotonic()
        step = "idle"
        try:
            await (self.wire.expect_word() if begun else self.wire.expect_quiet())
            step = "data"
            if refusal := await self._envelope(commands, guard):
                return refusal
            if begun:
                step = "idle"  # it may have left while we were not ready to go on
                await self.wire.expect_quiet()
                step = "data"
            if refusal := await self._transmit(mail.message, guard, following):
                return refusal
            step = "dot"
            reply = await self.wire.reply()
            self._in_transaction = False
            if self.wire.unsent:
                self.withdraw()
            if reply.kind == 2:
                return Result(Fate.ACCEPTED, "dot", reply.codes, reply.text)
            return self._refusal("dot", reply)
        except OSError as error:
            self.wire.close()
            lost_after = step == "dot"
            fate = Fate.LOST_AFTER_FINAL_DOT if lost_after else Fate.LOST_BEFORE_FINAL_DOT
            return Result(fate, step, "", f"{self.server}: {reason(error)}")
        except BaseException:
            self.wire.close()
            raise

    async def end(self) -> None:
        """Leave, politely where that is possible."""
        self.withdraw()
        if self.is_open:
            await self.wire.quit(1.0)

    def withdraw(self) -> None:
        """Do not send the mail that was begun, if one was: only the connection's end says so."""
        if self.begun:
            self.begun = None
            self.wire.close()

    async def noop(self) -> bool:
        """Whether the server still answers; closed if not."""
        try:
            if (await self.wire.ask(b"NOOP")).kind == 2:
                return True
        except OSError:
            pass
        self.wire.close()
        return False

    def _commands(self, mail: Transaction) -> tuple[bytes, ...]:
        """What begins a transaction."""
        size = f" SIZE={len(mail.message)}" if self.greeting.wants_size else ""
        return (
            f"MAIL FROM:<{mail.sender}>{size}\r\n".encode(),
            f"RCPT TO:<{mail.recipient}>\r\n".encode(),
            b"DATA\r\n",
        )

    def _too_large(self, mail: Transaction) -> Result | None:
        limit, size = self.greeting.size, len(mail.message)
        if 0 < limit < size:
            text = f"{size} bytes, the server takes {limit}"
            return Result(Fate.REFUSED_PERMANENTLY, "mail", "552 5.3.4", text)
        return None

    async def _envelope(self, commands: Sequence[bytes], guard: Guard) -> Result | None:
        """MAIL, RCPT, DATA: the first refusal; None when the server waits for the message.

        commands: none if the server has them already.
        """
        steps, pipelining = list(STEPS), self.greeting.pipelining
        if self._in_transaction:
            steps, commands = ["rset", *steps], [b"RSET\r\n", *commands]
        if pipelining and commands:
            guard()
            await self.wire.write(b"".join(commands))
        self._in_transaction = True
        refusal: Result | None = None
        awaits_message = False
        try:
            for number, step in enumerate(steps):
                if not pipelining:
                    if step == "data":
                        guard()
                    await self.wire.write(commands[number])
                reply = await self.wire.reply()
                awaits_message = reply.kind == 3
                if reply.kind != (3 if step == "data" else 2):
                    refusal = refusal or self._refusal(step, reply)
                    if not pipelining or not self.is_open:
                        return refusal
            if refusal and awaits_message:  # a message to nobody (RFC 2920 §3.1)
                await self.wire.ask(b".")
                self._in_transaction = False
        except OSError:
            if not refusal:
                raise
            self.wire.close()
        return refusal

    async def _transmit(self, message: bytes, guard: Guard, following: Following) -> Result | None:
        """The message and its final dot; a refusal only if the server left before the dot."""
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        rest = b"." + stuffed if stuffed.startswith(b".") else stuffed
        begins = b""
        is_last = False
        try:
            if len(rest) > STREAMED:
                view = memoryview(rest)
                for start in range(0, len(view), STREAMED):
                    await self.wire.write(view[start : start + STREAMED])
                rest = b""
            if self.greeting.pipelining and (mail := following()) and not self._too_large(mail):
                self.begun, begins = mail, b"".join(self._commands(mail))
            guard()
            is_last = True
            await self.wire.write(rest + b".\r\n" + begins)
        except OSError:
            if is_last and self.wire.unsent <= len(begins):
                return None  # the dot has left: what became of the mail is not known yet
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
