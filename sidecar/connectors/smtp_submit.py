"""One submit of the SMTP connector: several connections take mails from the batches.

Each connection has a thread of its own, and at most one mail in flight. In one report it says what
became of its last mail and that its next is processing; only after that commit does it send.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

from sidecar.connectors.base import Report, Submission, Verdict
from sidecar.connectors.mime import build
from sidecar.connectors.smtp_outcome import (
    connection_trouble,
    is_mails_own,
    outcome,
    sender_trouble,
    unsendable,
    untried,
)
from sidecar.connectors.smtp_session import Result, SmtpSession
from sidecar.errors import AuthFailed, ConnectorError, Rejected, Unavailable
from sidecar.lifecycle import Recipient
from sidecar.mail import Mail, MailBatch, Outcome

if TYPE_CHECKING:
    from sidecar.connectors.smtp import SmtpConnector

STALE = 10.0
"""Seconds of silence after which a server is asked whether it is still there."""


class _EndedElsewhereError(Exception):
    """Another connection of this submit met the error that ends it; send nothing more."""


@dataclass(slots=True, eq=False)
class _Open:
    """A batch in work: the mails that wait, and how many are with a connection."""

    batch: MailBatch
    waiting: deque[Mail] = field(init=False)
    taken: int = 0
    refusal: Submission | None = None

    def __post_init__(self) -> None:
        self.waiting = deque(self.batch.mails)


class Submit:
    """What the connections of one submit share. Thread-safe."""

    def __init__(
        self, connector: "SmtpConnector", batches: Iterable[MailBatch], report: Report
    ) -> None:
        self.connector, self.report = connector, report
        self._batches = iter(batches)
        self._open: list[_Open] = []
        self._refused_senders: dict[str, ConnectorError] = {}
        self._trouble: ConnectorError | None = None
        self._error: BaseException | None = None
        self._results: SimpleQueue[Submission | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._working = 0
        self._ending = threading.Event()
        self._closing = False
        self._lock = threading.Lock()

    def submissions(self) -> Iterator[Submission]:
        """Work until nothing is left; a Submission a batch, as each is known."""
        self.enlist(1)
        try:
            while self._threads and (submission := self._results.get()):
                yield submission
        finally:
            self._ending.set()
            self.join()
        if self._error:
            raise self._error
        if self._trouble:
            for open_ in self._open:
                yield _refused(open_.batch, self._trouble)
            for batch in () if self._closing else self._batches:
                yield _refused(batch, self._trouble)

    def close(self) -> None:
        """Take no more mails and no more batches."""
        self.give_up(Unavailable("the sidecar is stopping", "closed"))
        self._closing = True
        self._ending.set()

    def join(self, deadline: float = math.inf) -> None:
        """Wait until the mails in flight have ended, at most until monotonic ``deadline``."""
        for thread in self._threads:
            left = deadline - time.monotonic()
            thread.join(None if left == math.inf else max(0.0, left))

    def enlist(self, connections: int) -> None:
        """Have at least so many connections at work."""
        with self._lock:
            while len(self._threads) < connections and not self._ending.is_set():
                thread = threading.Thread(
                    target=self._run, name=f"smtp-{len(self._threads)}", daemon=True
                )
                self._threads.append(thread)
                self._working += 1
                thread.start()

    def _run(self) -> None:
        try:
            _Connection(self).work()
        except _EndedElsewhereError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by ``submissions``
            self._error = self._error or error
            self._ending.set()
        finally:
            with self._lock:
                self._working -= 1
                last = not self._working
            if last:
                self._results.put(None)

    def guard(self) -> None:
        """What every connection asks before DATA and before the final dot."""
        if self._error:
            raise _EndedElsewhereError
        self.connector.guard()

    def pause(self, seconds: float) -> bool:
        """Wait; whether to go on after it."""
        return not self._ending.wait(seconds)

    def more(self) -> bool:
        """Whether a mail waits; only if none does, another batch is asked for."""
        with self._lock:
            while not self._ending.is_set():
                open_ = next((open_ for open_ in self._open if open_.waiting), None)
                if open_ is None:
                    batch = next(self._batches, None)
                    if batch is None:
                        return False
                    open_ = _Open(batch)
                    self._open.append(open_)
                elif refused := self._refused_senders.get(open_.waiting[0].envelope_from):
                    self._refuse(open_, refused)
                else:
                    return True
                self._settle(open_)
            return False

    def take(self) -> tuple[_Open, Mail] | None:
        """The next mail that waits."""
        with self._lock:
            for open_ in self._open:
                if open_.waiting and not self._ending.is_set():
                    open_.taken += 1
                    return open_, open_.waiting.popleft()
        return None

    def done(self, open_: _Open, back: Mail | None = None) -> None:
        """A taken mail has its outcome; ``back``: it was not sent and may be taken again."""
        with self._lock:
            open_.taken -= 1
            if back and not open_.refusal:
                open_.waiting.appendleft(back)
            self._settle(open_)

    def refuse_sender(self, open_: _Open, sender: str, trouble: ConnectorError) -> None:
        """The server takes nothing from ``sender``: neither of this batch nor of later ones."""
        with self._lock:
            self._refused_senders[sender] = trouble
            self._refuse(open_, trouble)

    def give_up(self, trouble: ConnectorError) -> None:
        """A connection is lost for good; if it was the last, this is why the rest is refused."""
        if not self._closing:
            self._trouble = trouble

    def _refuse(self, open_: _Open, trouble: ConnectorError) -> None:
        open_.refusal = _refused(open_.batch, trouble)
        open_.waiting.clear()

    def _settle(self, open_: _Open) -> None:
        if not open_.waiting and not open_.taken:
            self._open.remove(open_)
            accepted = Submission(open_.batch.id, Verdict.ACCEPTED)
            self._results.put(open_.refusal or accepted)


class _Connection:
    """One connection at work, in its own thread."""

    def __init__(self, submit: Submit) -> None:
        self._submit = submit
        self._session: SmtpSession | None = None
        self._proven = False
        self._trouble: ConnectorError | None = None
        self._known: tuple[_Open, Outcome, Mail | None] | None = None

    def work(self) -> None:
        """Send mail after mail until there is none, or no connection can be had."""
        try:
            # A mail is taken last, so that none waits for a connection that cannot be had.
            while self._submit.more() and (session := self._connect()):
                if taken := self._submit.take():
                    self._deliver(session, *taken)
        finally:
            try:
                self._report()
            finally:
                if self._session:
                    self._submit.connector.release(self._session)

    def _deliver(self, session: SmtpSession, open_: _Open, mail: Mail) -> None:
        try:
            message = build(mail)
        except ValueError as error:
            self._report()
            self._known = (open_, unsendable(mail, open_.batch.id, error), None)
            return
        if not self._in_turn(session):
            self._submit.done(open_, back=mail)
            return
        if mail.id in self._report(Outcome(mail.id, open_.batch.id, Recipient.PROCESSING)):
            self._submit.done(open_)
            return
        self._known = (open_, untried(mail, open_.batch.id), None)
        result = session.send(mail.envelope_from, mail.to, message, self._submit.guard)
        self._judge(open_, mail, result)

    def _judge(self, open_: _Open, mail: Mail, result: Result) -> None:
        """Whom the result concerns: the connection, the sender or the mail."""
        self._trouble = trouble = connection_trouble(result)
        self._proven = self._proven or trouble is None
        if not is_mails_own(result):
            self._known = (open_, untried(mail, open_.batch.id, result), mail)
            self._report()  # before anybody may take it again
        elif refused := sender_trouble(result):
            self._known = (open_, untried(mail, open_.batch.id, result), None)
            self._submit.refuse_sender(open_, mail.envelope_from, refused)
        else:
            self._known = (open_, outcome(mail, open_.batch.id, result), None)

    def _in_turn(self, session: SmtpSession) -> bool:
        """Wait as the rate says; whether to send now."""
        delay = self._submit.connector.pacer.reserve()
        if not delay:
            return True
        self._report()
        return self._submit.pause(delay) and _alive(session)

    def _connect(self) -> SmtpSession | None:
        """The session to send by; None if none can be had.

        A connection that ended before it answered for a single mail is not replaced.
        """
        if self._session and _alive(self._session):
            return self._session
        self._report()
        try:
            if self._session and not self._proven:
                raise self._trouble or Unavailable(f"{self._session.server} has left")
            self._session = self._submit.connector.session()
        except ConnectorError as error:
            self._submit.give_up(error)
            return None
        self._proven = False
        self._submit.enlist(self._submit.connector.connections)
        return self._session

    def _report(self, *more: Outcome) -> Collection[int]:
        """Have what is known of the last mail committed, together with ``more``.

        Returns the mails that must not be sent: they were cancelled or handed back meanwhile.
        """
        known, self._known = self._known, None
        outcomes = [known[1], *more] if known else more
        refused = self._submit.report(outcomes) if outcomes else ()
        if known:
            self._submit.done(known[0], known[2])
        return refused


def _alive(session: SmtpSession) -> bool:
    return session.is_open and (session.idle < STALE or session.noop())


def _refused(batch: MailBatch, trouble: ConnectorError) -> Submission:
    for_good = isinstance(trouble, AuthFailed | Rejected)
    verdict = Verdict.REFUSED_FOR_GOOD if for_good else Verdict.REFUSED
    return Submission(batch.id, verdict, code=trouble.code, reason=str(trouble))
