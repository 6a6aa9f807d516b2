"""One submit of the SMTP connector: several connections take mails from the batches."""

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

from sidecar.connectors.base import Report, Submission, Verdict
from sidecar.connectors.smtp_connection import Connection, EndedElsewhereError
from sidecar.errors import AuthFailed, ConnectorError, Rejected, Unavailable
from sidecar.mail import Mail, MailBatch

if TYPE_CHECKING:
    from sidecar.connectors.smtp import SmtpConnector


@dataclass(slots=True, eq=False)
class Open:
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
        self._open: list[Open] = []
        self._refused_senders: dict[str, ConnectorError] = {}
        self._trouble: ConnectorError | None = None
        self._error: BaseException | None = None
        self._results: SimpleQueue[Submission | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._places: set[Connection] = set()
        self._working = 0
        self._ending = threading.Event()
        self._closing = False
        self._lock = threading.Lock()

    def submissions(self) -> Iterator[Submission]:
        """Work until nothing is left; a Submission a batch, as each is known."""
        with self.connector.growing:
            self.connector.growth.begin(time.monotonic())
        with self._lock:
            self._enlist(1)
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
        self._give_up(Unavailable("the sidecar is stopping", "closed"))
        self._closing = True
        self._ending.set()

    def join(self, deadline: float = math.inf) -> None:
        """Wait until the mails in flight have ended, at most until monotonic ``deadline``."""
        for thread in self._threads:
            left = deadline - time.monotonic()
            thread.join(None if left == math.inf else max(0.0, left))

    def enlist(self) -> None:
        """Have as many connections at work as pay, but none without a mail to send."""
        if len(self._places) < (wanted := self.connector.growth.wanted):
            with self._lock:
                waiting = sum(len(open_.waiting) for open_ in self._open)
                self._enlist(min(wanted, len(self._places) + waiting))

    def _enlist(self, connections: int) -> None:
        while len(self._places) < connections and not self._ending.is_set():
            connection = Connection(self)
            thread = threading.Thread(
                target=self._run,
                args=(connection,),
                name=f"smtp-{len(self._threads)}",
                daemon=True,
            )
            self._threads.append(thread)
            self._places.add(connection)
            self._working += 1
            thread.start()

    def _run(self, connection: Connection) -> None:
        try:
            connection.work()
        except EndedElsewhereError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by ``submissions``
            self._error = self._error or error
            self._ending.set()
        finally:
            with self._lock:
                self._places.discard(connection)
                self._working -= 1
                last = not self._working
            if last:
                self._results.put(None)

    def is_surplus(self, connection: Connection) -> bool:
        """Whether there are more connections than pay, and this one shall end."""
        if len(self._places) <= self.connector.growth.wanted:
            return False
        with self._lock:
            surplus = len(self._places) > self.connector.growth.wanted
            if surplus:
                self._places.discard(connection)
            return surplus

    def answered(self) -> None:
        """The server answered for a mail."""
        with self.connector.growing:
            self.connector.growth.answered(time.monotonic())

    def guard(self) -> None:
        """What every connection asks before DATA and before the final dot."""
        if self._error:
            raise EndedElsewhereError
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
                    open_ = Open(batch)
                    self._open.append(open_)
                elif refused := self._refused_senders.get(open_.waiting[0].envelope_from):
                    self._refuse(open_, refused)
                else:
                    return True
                self._settle(open_)
            return False

    def take(self) -> tuple[Open, Mail] | None:
        """The next mail that waits."""
        with self._lock:
            for open_ in self._open:
                if open_.waiting and not self._ending.is_set():
                    open_.taken += 1
                    return open_, open_.waiting.popleft()
        return None

    def done(self, open_: Open, back: Mail | None = None) -> None:
        """A taken mail has its outcome; ``back``: it was not sent and may be taken again."""
        with self._lock:
            open_.taken -= 1
            if back and not open_.refusal:
                open_.waiting.appendleft(back)
            self._settle(open_)

    def refuse_sender(self, open_: Open, sender: str, trouble: ConnectorError) -> None:
        """The server takes nothing from ``sender``: neither of this batch nor of later ones."""
        with self._lock:
            if not isinstance(trouble, Rejected) and sender not in self._refused_senders:
                self._shrink(len(self._places) // 2)  # it may be too busy for so many
            self._refused_senders[sender] = trouble
            self._refuse(open_, trouble)

    def lose(self, connection: Connection, trouble: ConnectorError) -> None:
        """A connection cannot be had: the server bears no more than the others.

        If it was the last, this is why the rest is refused.
        """
        self._give_up(trouble)
        with self._lock:
            self._places.discard(connection)
            if not self._closing:
                self._shrink(len(self._places))

    def _shrink(self, bearable: int) -> None:
        """The server objects to more than so many connections."""
        growth, now = self.connector.growth, time.monotonic()
        with self.connector.growing:
            if bearable:
                growth.objected(now, bearable)
            else:
                growth.lost(now)

    def _give_up(self, trouble: ConnectorError) -> None:
        if not self._closing:
            self._trouble = trouble

    def _refuse(self, open_: Open, trouble: ConnectorError) -> None:
        open_.refusal = _refused(open_.batch, trouble)
        open_.waiting.clear()

    def _settle(self, open_: Open) -> None:
        if not open_.waiting and not open_.taken:
            self._open.remove(open_)
            accepted = Submission(open_.batch.id, Verdict.ACCEPTED)
            self._results.put(open_.refusal or accepted)


def _refused(batch: MailBatch, trouble: ConnectorError) -> Submission:
    for_good = isinstance(trouble, AuthFailed | Rejected)
    verdict = Verdict.REFUSED_FOR_GOOD if for_good else Verdict.REFUSED
    return Submission(batch.id, verdict, code=trouble.code, reason=str(trouble))
