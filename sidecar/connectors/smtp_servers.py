"""The servers of one route: the admin's order, and which of them rest because they failed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

REST = 300.0
"""Seconds for which a server that failed is tried only after the others."""

CAUTION = 3_600.0
"""Seconds for which a server gets mails one by one that left one unanswered."""


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


class Servers:
    """Servers in order of preference, of which one that fails rests a while."""

    def __init__(
        self, servers: Sequence[SmtpServer], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.preferred = tuple(servers)
        self._clock = clock
        self._rests: dict[SmtpServer, float] = {}
        self._one_by_one: dict[SmtpServer, float] = {}

    def in_turn(self) -> list[SmtpServer]:
        """All of them in the order to try them now: those that rest last.

        One whose rest is over is tried by one caller: for the others it rests until it works.
        """
        now = self._clock()
        ready = [server for server in self.preferred if self._rests.get(server, now) <= now]
        self._rests.update((server, now + REST) for server in ready if server in self._rests)
        return ready + [server for server in self.preferred if server not in ready]

    def failed(self, server: SmtpServer) -> None:
        """No mail can be sent by this server now."""
        self._rests[server] = self._clock() + REST

    def works(self, server: SmtpServer) -> None:
        """This server has let us in."""
        self._rests.pop(server, None)

    def is_outranked(self, server: SmtpServer) -> bool:
        """Whether one that is preferred to this one does not rest, or no longer."""
        now = self._clock()
        better = self.preferred[: self.preferred.index(server)]
        return any(self._rests.get(each, now) <= now for each in better)

    def unanswered(self, server: SmtpServer) -> None:
        """It left, or fell silent, where a mail's commands had come with the last mail's end."""
        self._one_by_one[server] = self._clock() + CAUTION

    def answers_in_advance(self, server: SmtpServer) -> bool:
        """Whether a mail's commands may leave with the last mail's end (RFC 2920 §3.1)."""
        return self._one_by_one.get(server, 0.0) <= self._clock()
