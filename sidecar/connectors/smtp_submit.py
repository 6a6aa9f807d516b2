"""One submit of the SMTP connector: several connections take mails from the batches."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from sidecar.connectors.base import Report, Submission, Verdict
from sidecar.connectors.smtp_connection import Connection, EndedElsewhereError
from sidecar.connectors.smtp_loop import Aside, in_thread
from sidecar.connectors.smtp_session import Transaction
from sidecar.errors import AuthFailed, ConnectorError, Rejected, Unavailable
from sidecar.mail import Mail, MailBatch, Outcome

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


@dataclass(slots=True, eq=False)
class Taken:
    """A mail that a connection has taken. transaction: what is sent of it, if that is made yet."""

    open_: Open
    mail: Mail
    transaction: Transaction | None = None


class Submit:
    """What the connections of one submit share. All of it happens in the connector's event loop."""

    def __init__(
        self, connector: "SmtpConnector", batches: Iterable[MailBatch], report: Report
    ) -> None:
        self.connector = connector
        self.results: SimpleQueue[Submission | None] = SimpleQueue()
        """What became of each batch, for the thread that submits; None is the end."""
        self._batches, self._to_report = iter(batches), report
        self._open: list[Open] = []
        self._refused_senders: dict[str, ConnectorError] = {}
        self._trouble: ConnectorError | None = None
        self._progressed = False
        self._error: BaseException | None = None
        self._unreported: list[tuple[Sequence[Outcome], asyncio.Future[Collection[int]]]] = []
        self._reporting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._places: set[Connection] = set()
        self._enlisted = 0
        self._ending = asyncio.Event()
        self._closing = False
        self._fetching: asyncio.Task[None] | None = None
        self._is_exhausted = False

    async def run(self) -> None:
        """Work until nothing is left; what ended it is raised."""
        self.connector.growth.begin(time.monotonic())
        self._reporter = Aside()
        self._enlist(1)
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._fetching:
            await asyncio.wait([self._fetching])
        self._reporter.end()
        if self._error:
            raise self._error

    def left(self) -> Iterator[Submission]:
        """After ``run``: the batches for whose mails no connection could be had."""
        if self._trouble:
            for open_ in self._open:
                yield _refused(open_.batch, self._trouble, progressed=self._progressed)
            for batch in () if self._closing else self._batches:
                yield _refused(batch, self._trouble, progressed=self._progressed)

    def close(self) -> None:
        """Take no more mails and no more batches."""
        self._give_up(Unavailable("the sidecar is stopping", "closed"))
        self._closing = True
        self._ending.set()

    async def leave(self) -> None:
        """Nobody wants to know more: end after the mails in flight."""
        self._ending.set()

    async def join(self, deadline: float) -> None:
        """Wait until the mails in flight have ended, at most until monotonic ``deadline``."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(0.0, deadline - time.monotonic()))

    def enlist(self) -> None:
        """Have as many connections at work as pay, but none without a mail to send."""
        if len(self._places) < (wanted := self.connector.growth.wanted):
            self._enlist(min(wanted, len(self._places) + self._waiting()))

    def _enlist(self, connections: int) -> None:
        while len(self._places) < connections and not self._ending.is_set():
            connection = Connection(self)
            task = asyncio.create_task(self._work(connection), name=f"smtp-{self._enlisted}")
            self._enlisted += 1
            self._places.add(connection)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, connection: Connection) -> None:
        try:
            await connection.work()
        except EndedElsewhereError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by ``run``
            self._error = self._error or error
            self._ending.set()
        finally:
            self._places.discard(connection)

    async def report(self, outcomes: Sequence[Outcome]) -> Collection[int]:
        """Have outcomes committed, together with those that come meanwhile; see ``Report``."""
        committed: asyncio.Future[Collection[int]] = asyncio.get_running_loop().create_future()
        self._unreported.append((outcomes, committed))
        if self._reporting is None:
            self._reporting = asyncio.create_task(self._report_all())
        return await committed

    async def _report_all(self) -> None:
        while taken := self._unreported:
            self._unreported = []
            outcomes = [outcome for each, _ in taken for outcome in each]
            try:
                refused = await self._reporter.do(partial(self._to_report, outcomes))
            except BaseException as error:  # noqa: BLE001 - raised where the commit is awaited
                for _, committed in taken:
                    committed.set_exception(error)
            else:
                for _, committed in taken:
                    committed.set_result(refused)
        self._reporting = None

    def is_surplus(self, connection: Connection) -> bool:
        """Whether there are more connections than pay, and this one shall end."""
        surplus = self._has_surplus
        if surplus:
            self._places.discard(connection)
        return surplus

    @property
    def _has_surplus(self) -> bool:
        return len(self._places) > self.connector.growth.wanted

    def answered(self) -> None:
        """The server answered for a mail."""
        self.connector.growth.answered(time.monotonic())

    def took(self) -> None:
        """The server took a mail: if no connection can be had after that, it is not down."""
        self._progressed = True

    def guard(self) -> None:
        """What every connection asks before DATA and before the final dot."""
        if self._error:
            raise EndedElsewhereError
        self.connector.guard()

    async def pause(self, seconds: float) -> bool:
        """Wait; whether to go on after it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        return not self._ending.is_set()

    async def more(self) -> bool:
        """Whether a mail waits; a batch is asked for when those that wait are the last rounds."""
        self._replenish()
        while self._next_waiting() is None and not self._ending.is_set():
            self._fetch()
            if self._fetching is None:
                return False
            await asyncio.wait([self._fetching])
        return not self._ending.is_set()

    def goes_on(self) -> bool:
        """Whether a mail that was taken may still be begun; asks for a batch as ``more`` does."""
        self._replenish()
        return not self._ending.is_set()

    def can_spare(self) -> bool:
        """Whether a connection may take a mail in advance: it will stay, and none lacks one."""
        return not self._has_surplus and self._waiting() >= len(self._places)

    def _waiting(self) -> int:
        return sum(len(open_.waiting) for open_ in self._open)

    def _replenish(self) -> None:
        if self._waiting() < 2 * len(self._places):
            self._fetch()

    def _fetch(self) -> None:
        """Have another batch fetched, unless one is on its way or there is none."""
        if self._fetching is None and not self._is_exhausted and not self._ending.is_set():
            self._fetching = asyncio.create_task(self._fetch_one())

    async def _fetch_one(self) -> None:
        try:
            batch = await in_thread(partial(next, self._batches, None))
        except BaseException as error:  # noqa: BLE001 - raised again by ``run``
            self._error = self._error or error
            self._ending.set()
        else:
            if batch is None:
                self._is_exhausted = True
            else:
                open_ = Open(batch)
                self._open.append(open_)
                self._settle(open_)  # it may be empty
        self._fetching = None

    def take(self) -> Taken | None:
        """The next mail that waits."""
        open_ = self._next_waiting()
        if open_ is None or self._ending.is_set():
            return None
        open_.taken += 1
        return Taken(open_, open_.waiting.popleft())

    def _next_waiting(self) -> Open | None:
        """The first batch with a mail that waits; those that will have none are settled."""
        while open_ := next((each for each in self._open if each.waiting), None):
            refused = self._refused_senders.get(open_.waiting[0].envelope_from)
            if refused is None:
                return open_
            self._refuse(open_, refused)
            self._settle(open_)
        return None

    def done(self, open_: Open, back: Mail | None = None) -> None:
        """A taken mail has its outcome; ``back``: it was not sent and may be taken again."""
        open_.taken -= 1
        if back and not open_.refusal:
            open_.waiting.appendleft(back)
        self._settle(open_)

    def refuse_sender(self, open_: Open, sender: str, trouble: ConnectorError) -> None:
        """The server takes nothing from ``sender``: neither of this batch nor of later ones."""
        if not isinstance(trouble, Rejected) and sender not in self._refused_senders:
            self._shrink(len(self._places) // 2)  # it may be too busy for so many
        self._refused_senders[sender] = trouble
        self._refuse(open_, trouble)

    def lose(self, connection: Connection, trouble: ConnectorError) -> None:
        """A connection cannot be had: the server bears no more than the others.

        If it was the last, this is why the rest is refused.
        """
        self._give_up(trouble)
        self._places.discard(connection)
        if not self._closing:
            self._shrink(len(self._places))

    def _shrink(self, bearable: int) -> None:
        """The server objects to more than so many connections."""
        growth, now = self.connector.growth, time.monotonic()
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
            self.results.put(open_.refusal or accepted)


def _refused(batch: MailBatch, trouble: ConnectorError, *, progressed: bool = False) -> Submission:
    for_good = isinstance(trouble, AuthFailed | Rejected)
    verdict = Verdict.REFUSED_FOR_GOOD if for_good else Verdict.REFUSED
    return Submission(
        batch.id, verdict, code=trouble.code, reason=str(trouble), progressed=progressed
    )
