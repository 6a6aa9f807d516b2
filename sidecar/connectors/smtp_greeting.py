"""Getting in to a mail server: TLS, EHLO, AUTH (RFC 5321 §4.1, RFC 3207, RFC 4954)."""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.connectors.smtp_servers import SmtpServer
from sidecar.connectors.smtp_wire import Reply, Wire, reason
from sidecar.errors import AuthFailed, ConnectorError, Throttled, Unavailable

MECHANISMS = ("CRAM-MD5", "LOGIN", "PLAIN")
"""What we know of AUTH, in PHPMailer's order of preference."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server said of itself when it let us in.

    offers: EHLO's keywords, in capitals, with their parameters. tls: the version, auth: the
    mechanism; "" for none.
    """

    banner: str = ""
    offers: Mapping[str, str] = field(default_factory=dict)
    tls: str = ""
    auth: str = ""

    @property
    def pipelining(self) -> bool:
        """Whether the server takes several commands at once (RFC 2920)."""
        return "PIPELINING" in self.offers

    @property
    def wants_size(self) -> bool:
        """Whether the server wants to be told the size of a mail (RFC 1870)."""
        return "SIZE" in self.offers

    @property
    def size(self) -> int:
        """The bytes that a mail may have; 0 where the server does not say."""
        limit = self.offers.get("SIZE", "")
        return int(limit) if limit.isdecimal() else 0


async def greet(wire: Wire, server: SmtpServer) -> Greeting:
    """Say everything up to the first mail.

    Raises Throttled (421), AuthFailed or Unavailable; the connection is closed then.
    """
    try:
        return await _Greeter(wire, server).greet()
    except (OSError, ValueError) as error:
        wire.close()
        raise Unavailable(f"{server}: {reason(error)}") from error
    except ConnectorError:
        wire.close()
        raise


class _Greeter:
    def __init__(self, wire: Wire, server: SmtpServer) -> None:
        self._wire, self._server = wire, server

    async def greet(self) -> Greeting:
        server, tls = self._server, ""
        if server.secure == "ssl":
            tls = await self._start_tls()
        banner = self._accept("greeting", await self._wire.reply()).text
        offers = await self._ehlo()
        if server.secure == "tls":
            if "STARTTLS" not in offers:
                raise Unavailable(f"{server}: STARTTLS is not offered")
            self._accept("STARTTLS", await self._wire.ask(b"STARTTLS"))
            tls = await self._start_tls()
            offers = await self._ehlo()
        auth = await self._log_in(offers) if server.user else ""
        return Greeting(banner, offers, tls, auth)

    async def _start_tls(self) -> str:
        return await self._wire.start_tls(self._server.host, self._server.ca_file)

    async def _ehlo(self) -> dict[str, str]:
        host = self._wire.local_host
        literal = f"[IPv6:{host}]" if ":" in host else f"[{host}]"
        name = (self._server.helo or literal).encode("ascii")
        reply = await self._wire.ask(b"EHLO " + name)
        offers: dict[str, str] = {}
        if reply.kind == 5:
            self._accept("HELO", await self._wire.ask(b"HELO " + name))
            return offers
        for line in self._accept("EHLO", reply).lines[1:]:
            # "AUTH=LOGIN" is how servers older than RFC 2554 said it.
            keyword, _, parameters = line.decode("latin-1").replace("=", " ", 1).partition(" ")
            offers[keyword.upper()] = parameters.strip()
        return offers

    async def _log_in(self, offers: Mapping[str, str]) -> str:
        """AUTH by the mechanism that is asked for, else by the best that is offered; which."""
        server, ask = self._server, self._wire.ask
        offered = offers.get("AUTH", "").upper().split()
        usable = [name for name in MECHANISMS if name in offered]
        asked = server.auth_type.upper()
        auth = asked if asked in usable else next(iter(usable), "")
        user, password = server.user.encode(), server.password.encode()
        if auth == "PLAIN":
            reply = await ask(b"AUTH PLAIN " + base64.b64encode(b"\0%s\0%s" % (user, password)))
        elif auth == "LOGIN":
            reply = await ask(b"AUTH LOGIN")
            for secret in (user, password):
                if reply.code == 334:
                    reply = await ask(base64.b64encode(secret))
        elif auth == "CRAM-MD5":
            reply = await ask(b"AUTH CRAM-MD5")
            if reply.code == 334:
                digest = hmac.new(password, base64.b64decode(reply.lines[0]), "md5").hexdigest()
                reply = await ask(base64.b64encode(user + b" " + digest.encode()))
        else:
            raise AuthFailed(f"{server}: offers no AUTH that we know: {' '.join(offered)}")
        if reply.kind == 5:
            raise AuthFailed(f"{server}: AUTH {auth}: {reply.text}", reply.codes)
        self._accept(f"AUTH {auth}", reply)
        return auth

    def _accept(self, what: str, reply: Reply) -> Reply:
        """``reply`` if it is positive."""
        if reply.kind == 2:
            return reply
        refused = Throttled if reply.code == 421 else Unavailable
        raise refused(f"{self._server}: {what}: {reply.text}", reply.codes)
