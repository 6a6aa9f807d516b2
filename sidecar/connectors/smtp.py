"""The site's own SMTP server as a provider: it needs no account, and tells outcomes at once."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import wait
from weakref import WeakSet

from sidecar.connectors.base import Collected, Guard, Probe, Report, Revocation, Submission
from sidecar.connectors.dkim import DkimKeys, Signer
from sidecar.connectors.mime import build
from sidecar.connectors.smtp_growth import Growth
from sidecar.connectors.smtp_loop import LoopThread
from sidecar.connectors.smtp_servers import Servers, SmtpServer
from sidecar.connectors.smtp_session import SmtpSession
from sidecar.connectors.smtp_submit import Submit
from sidecar.errors import AuthFailed, ConnectorError, Unavailable
from sidecar.mail import Mail, MailBatch

KEPT = 60.0
"""Seconds that an idle connection is worth keeping."""
GRACE = 1.0
"""Seconds to report what became of the mails whose connections were cut."""


class Pacer:
    """Spaces mails evenly; never a burst, also not after a pause or a start."""

    def __init__(self, rate: Callable[[], float], clock: Callable[[], float]) -> None:
        self._rate, self._clock = rate, clock
        self._next = 0.0

    def reserve(self) -> float:
        """Take the next place; the seconds to wait for it."""
        rate = self._rate()
        if rate <= 0:
            return 0.0
        now = self._clock()
        place = max(now, self._next)
        self._next = place + 1 / rate
        return place - now

    @property
    def is_free(self) -> bool:
        """Whether no rate is set."""
        return self._rate() <= 0


class SmtpConnector:
    """A connector for one set of SMTP settings; ``servers`` are tried in turn, as Moodle does.

    Everything happens in the one thread of its event loop, so nothing of it is locked.

    connections: how many a submit opens; max_connections: how many at most, where more send more.
    guard: asked before DATA and before the final dot. rate: mails per second over all connections,
    or what gives it; 0 for no limit. dkim: where the signing keys lie, if mails are to be signed.
    clock: of the pacing and of the servers' rests.
    """

    name = "smtp"
    learns_at_once = True

    def __init__(
        self,
        servers: Sequence[SmtpServer],
        *,
        guard: Guard,
        connections: int = 4,
        max_connections: int = 0,
        rate: Callable[[], float] | float = 0.0,
        dkim: DkimKeys | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.guard = guard
        self.growth = Growth(connections, max(connections, max_connections))
        self.pacer = Pacer(rate if callable(rate) else lambda: rate, clock)
        self._servers = Servers(servers, clock)
        self._signer = Signer(dkim) if dkim else None
        self._loop = LoopThread("smtp")
        self._closed = False
        self._idle: list[SmtpSession] = []
        self._sessions: WeakSet[SmtpSession] = WeakSet()
        self._submits: set[Submit] = set()

    def submit(self, batches: Iterable[MailBatch], report: Report) -> Iterator[Submission]:
        """Send every mail of every batch; see ``Connector.submit``.

        ACCEPTED: every mail of the batch was tried and its outcome reported. REFUSED: the server
        cannot be used now, or refuses this sender for now; REFUSED_FOR_GOOD: it refuses our
        credentials or this sender. Mails not tried stay pending. Once no connection can be had,
        all further batches are refused without another attempt.

        ``report`` and the iterator of ``batches`` are used from other threads, each by one at a
        time. Leaving the iteration early ends it after the mails in flight. What ``report``,
        ``guard`` or ``batches`` raises ends it too and is raised here.
        """
        submit = Submit(self, batches, report)
        work = self._loop.start(self._work(submit))
        if work is None:
            return
        try:
            while submission := submit.results.get():
                yield submission
        finally:
            self._loop.start(submit.leave())
            wait([work])
        work.result()
        yield from submit.left()

    async def _work(self, submit: Submit) -> None:
        self._submits.add(submit)
        try:
            if not self._closed:
                await submit.run()
        finally:
            self._submits.discard(submit)
            submit.results.put(None)

    def max_bytes(self) -> int:
        """See ``Connector.max_bytes``: the server is told each size when its mail's turn comes."""
        return 0

    def max_mail_bytes(self) -> int:
        """See ``max_bytes``."""
        return 0

    def probe(self) -> Probe:
        """Connect, EHLO, STARTTLS, AUTH, NOOP, QUIT; the servers in order, as mails would go."""
        return self._loop.call(self._probe()) or Probe(ok=False, detail="the connector is closed")

    async def _probe(self) -> Probe:
        failures: list[str] = []
        for server in self._servers.preferred:
            try:
                session = await self._open(server)
            except ConnectorError as error:
                failures.append(str(error))
                continue
            ok = await session.noop()
            await session.wire.quit(server.timeout)
            found = session.greeting
            detail = (
                f"{server} {found.banner}",
                found.tls or "no TLS",
                f"AUTH {found.auth}" if found.auth else "no AUTH",
                "PIPELINING" if found.pipelining else "no PIPELINING",
            )
            said = ", ".join(detail) if ok else f"{server}: NOOP is refused"
            doubt = f"a server before it cannot be used: {'; '.join(failures)}" if failures else ""
            return Probe(ok, said, doubt)
        return Probe(ok=False, detail="; ".join(failures))

    def message(self, mail: Mail) -> bytes:
        """What is sent of a mail; raises ValueError as ``build`` does."""
        message = build(mail)
        return self._signer.sign(mail.sender.email, message) if self._signer else message

    def collect(self) -> list[Collected]:
        """Nothing: every outcome was reported at once."""
        return []

    def forget(self, receipts: Sequence[str]) -> None:
        """Nothing was collected."""

    def revoke(self, mails: Sequence[Revocation]) -> frozenset[str]:  # noqa: ARG002 - no ledger
        """None: what a mail server took cannot be taken back."""
        return frozenset()

    def depth(self) -> None:
        """Not known: SMTP does not tell what waits at the server."""

    def close(self, deadline: float) -> None:
        """Take no new mail; finish those in flight until ``deadline``, then cut them off."""
        self._loop.call(self._close(deadline))
        self._loop.end()

    async def _close(self, deadline: float) -> None:
        self._closed = True
        submits, idle, self._idle = list(self._submits), self._idle, []
        for submit in submits:
            submit.close()
        patience = deadline - time.monotonic()
        await asyncio.gather(*(session.wire.quit(patience) for session in idle))
        await asyncio.gather(*(submit.join(deadline) for submit in submits))
        for session in list(self._sessions):
            session.wire.cut()
        end = time.monotonic() + GRACE
        await asyncio.gather(*(submit.join(end) for submit in submits))

    async def session(self) -> SmtpSession:
        """A session ready for a mail: a kept one that still answers, else a new one.

        Raises Throttled, Unavailable or AuthFailed.
        """
        while self._idle:
            kept = self._idle.pop()
            if kept.idle < KEPT and not self.is_outranked(kept) and await kept.noop():
                return kept
            kept.wire.close()
        return await self._connect()

    def is_outranked(self, session: SmtpSession) -> bool:
        """Whether a server that the admin prefers may be there again."""
        return self._servers.is_outranked(session.server)

    def may_begin(self, session: SmtpSession) -> bool:
        """Whether the commands of a mail may leave before that mail's turn."""
        return self.pacer.is_free and self._servers.answers_in_advance(session.server)

    def unanswered(self, session: SmtpSession) -> None:
        """The server answered nothing to what had left before its turn."""
        self._servers.unanswered(session.server)

    async def release(self, session: SmtpSession, *, keep: bool = True) -> None:
        """Take back a session that nobody uses now; not ``keep``: end it."""
        if keep and session.is_open and not self._closed:
            self._idle.append(session)
        else:
            await session.end()

    async def _connect(self) -> SmtpSession:
        failures: list[ConnectorError] = []
        for server in self._servers.in_turn():
            try:
                session = await self._open(server)
            except ConnectorError as error:
                if error.code and self._serves(server):
                    raise  # it objects to one connection more: that is no failure of the server
                self._servers.failed(server)
                failures.append(error)
            else:
                self._servers.works(server)
                return session
        # Only if every server refuses our credentials is there nothing to wait for.
        worst = next((e for e in failures if not isinstance(e, AuthFailed)), failures[0])
        raise type(worst)("; ".join(map(str, failures)), worst.code)

    async def _open(self, server: SmtpServer) -> SmtpSession:
        session = await SmtpSession.connect(server)
        if self._closed:
            session.wire.close()
            raise Unavailable("the sidecar is stopping", "closed")
        self._sessions.add(session)
        await session.greet()
        return session

    def _serves(self, server: SmtpServer) -> bool:
        return any(s.is_ready and s.is_open for s in self._sessions if s.server == server)
