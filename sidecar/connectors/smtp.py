"""The site's own SMTP server as a provider: it needs no account, and tells outcomes at once."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from weakref import WeakSet

from sidecar.connectors.base import Collected, Guard, Probe, Report, Revocation, Submission
from sidecar.connectors.dkim import DkimKeys, Signer
from sidecar.connectors.mime import build
from sidecar.connectors.smtp_growth import Growth
from sidecar.connectors.smtp_servers import Servers
from sidecar.connectors.smtp_session import SmtpServer, SmtpSession
from sidecar.connectors.smtp_submit import Submit
from sidecar.errors import AuthFailed, ConnectorError, Unavailable
from sidecar.mail import Mail, MailBatch

KEPT = 60.0
"""Seconds that an idle connection is worth keeping."""
GRACE = 1.0
"""Seconds to report what became of the mails whose connections were cut."""


class Pacer:
    """Spaces mails evenly; never a burst, also not after a pause or a start. Thread-safe."""

    def __init__(self, rate: Callable[[], float], clock: Callable[[], float]) -> None:
        self._rate, self._clock = rate, clock
        self._next = 0.0
        self._lock = threading.Lock()

    def reserve(self) -> float:
        """Take the next place; the seconds to wait for it."""
        rate = self._rate()
        if rate <= 0:
            return 0.0
        with self._lock:
            now = self._clock()
            place = max(now, self._next)
            self._next = place + 1 / rate
            return place - now


class SmtpConnector:
    """A connector for one set of SMTP settings; ``servers`` are tried in turn, as Moodle does.

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
        self.growing = threading.Lock()
        self.pacer = Pacer(rate if callable(rate) else lambda: rate, clock)
        self._servers = Servers(servers, clock)
        self._signer = Signer(dkim) if dkim else None
        self._lock = threading.Lock()
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

        ``report`` and the iterator of ``batches`` are used from several threads, the latter by one
        at a time. Leaving the iteration early ends it after the mails in flight. What ``report``,
        ``guard`` or ``batches`` raises ends it too and is raised here.
        """
        submit = Submit(self, batches, report)
        with self._lock:
            if self._closed:
                return
            self._submits.add(submit)
        try:
            yield from submit.submissions()
        finally:
            with self._lock:
                self._submits.discard(submit)

    def max_bytes(self) -> int:
        """See ``Connector.max_bytes``: the server is told each size when its mail's turn comes."""
        return 0

    def max_mail_bytes(self) -> int:
        """See ``max_bytes``."""
        return 0

    def probe(self) -> Probe:
        """Connect, EHLO, STARTTLS, AUTH, NOOP, QUIT; the servers in order, as mails would go."""
        failures: list[str] = []
        for server in self._servers.preferred:
            try:
                session = self._open(server)
            except ConnectorError as error:
                failures.append(str(error))
                continue
            ok = session.noop()
            session.wire.quit(server.timeout)
            detail = (
                f"{server} {session.banner}",
                session.tls or "no TLS",
                f"AUTH {session.auth}" if session.auth else "no AUTH",
                "PIPELINING" if session.pipelining else "no PIPELINING",
            )
            found = ", ".join(detail) if ok else f"{server}: NOOP is refused"
            doubt = f"a server before it cannot be used: {'; '.join(failures)}" if failures else ""
            return Probe(ok, found, doubt)
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
        with self._lock:
            self._closed = True
            submits, idle, self._idle = list(self._submits), self._idle, []
        for submit in submits:
            submit.close()
        for session in idle:
            session.wire.quit(deadline - time.monotonic())
        for submit in submits:
            submit.join(deadline)
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.wire.cut()
        end = time.monotonic() + GRACE
        for submit in submits:
            submit.join(end)

    def session(self) -> SmtpSession:
        """A session ready for a mail: a kept one that still answers, else a new one.

        Raises Throttled, Unavailable or AuthFailed.
        """
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            if kept is None:
                return self._connect()
            if kept.idle < KEPT and not self.is_outranked(kept) and kept.noop():
                return kept
            kept.wire.close()

    def is_outranked(self, session: SmtpSession) -> bool:
        """Whether a server that the admin prefers may be there again."""
        return self._servers.is_outranked(session.server)

    def release(self, session: SmtpSession, *, keep: bool = True) -> None:
        """Take back a session that nobody uses now; not ``keep``: end it."""
        with self._lock:
            if keep and session.is_open and not self._closed:
                self._idle.append(session)
                return
        if session.is_open:
            session.wire.quit(1.0)

    def _connect(self) -> SmtpSession:
        failures: list[ConnectorError] = []
        for server in self._servers.in_turn():
            try:
                session = self._open(server)
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

    def _open(self, server: SmtpServer) -> SmtpSession:
        session = SmtpSession(server)
        with self._lock:
            if self._closed:
                session.wire.close()
                raise Unavailable("the sidecar is stopping", "closed")
            self._sessions.add(session)
        session.greet()
        return session

    def _serves(self, server: SmtpServer) -> bool:
        with self._lock:
            return any(s.is_ready and s.is_open for s in self._sessions if s.server == server)
