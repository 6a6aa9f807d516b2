"""One submit of the AWS connector: batches become messages, up to ten of them one call.

Each thread takes batches, encodes them and hands them over; compressing and waiting for AWS leave
the other threads free. A second thread starts only when a first call was answered.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

from sidecar.connectors.aws_client import JOBS_QUEUE, AwsClients
from sidecar.connectors.aws_errors import Trouble, explain_entry, verdict
from sidecar.connectors.base import Guard, Submission, Verdict
from sidecar.errors import ConnectorError, Unavailable
from sidecar.mail import MailBatch
from sidecar.message import encode_batch

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import (
        BatchResultErrorEntryTypeDef,
        SendMessageBatchResultTypeDef,
    )

CALL_ENTRIES = 10
CALL_BYTES = 1_048_576
"""Bytes that all messages of one SendMessageBatch may have together."""


@dataclass(frozen=True, slots=True)
class Limits:
    """message: bytes of one message. calls: calls at the same time. hold: seconds that a message
    waits for others to share its call."""

    message: int
    calls: int
    hold: float


@dataclass(frozen=True, slots=True)
class _Entry:
    """A batch as a message."""

    batch_id: int
    company_id: int
    body: str = field(repr=False)


class Submit:
    """What the threads of one submit share. Thread-safe."""

    limits: Limits

    def __init__(self, clients: AwsClients, guard: Guard, batches: Iterable[MailBatch]) -> None:
        self.clients, self.guard = clients, guard
        self.ending = threading.Event()
        self._batches = iter(batches)
        self._feed = threading.Lock()
        self._lock = threading.Lock()
        self._results: SimpleQueue[Submission | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._working = 0
        self._trouble: ConnectorError | None = None
        self._error: BaseException | None = None
        self._closing = False

    def submissions(self, limits: Limits) -> Iterator[Submission]:
        """Work until nothing is left; a Submission a batch, as each is known."""
        self.limits = limits
        self.enlist(1)
        try:
            # Without a thread (closed meanwhile) there is no end to wait for.
            while self._threads and (submission := self._results.get()):
                yield submission
        finally:
            self.ending.set()
            self.join()
        if self._error:
            raise self._error
        if self._trouble and not self._closing:
            for batch in self._batches:
                yield self.unsent(batch.id)

    def close(self) -> None:
        """Take no more batches, make no more calls."""
        self._closing = True
        self.give_up(Unavailable("the sidecar is stopping", "closed"))

    def join(self, deadline: float | None = None) -> None:
        """Wait until the calls in flight have ended, at most until monotonic ``deadline``."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def enlist(self, calls: int) -> None:
        """Have at least so many threads at work."""
        with self._lock:
            while len(self._threads) < calls and not self.ending.is_set():
                thread = threading.Thread(
                    target=self._run, name=f"aws-{len(self._threads)}", daemon=True
                )
                self._threads.append(thread)
                self._working += 1
                thread.start()

    def give_up(self, trouble: ConnectorError) -> None:
        """Make no more calls; ``trouble`` is why what is left is refused."""
        with self._lock:
            self._trouble = self._trouble or trouble
        self.ending.set()

    def put(self, submission: Submission) -> None:
        """The result of a batch."""
        self._results.put(submission)

    def unsent(self, batch_id: int) -> Submission:
        """The result of a batch that no call was made for."""
        trouble = self._trouble or Unavailable("the sending was interrupted", "interrupted")
        return _refused(batch_id, trouble)

    def next_entry(self) -> _Entry | None:
        """The next batch that makes a message; None if there is none, or no more may be taken."""
        while True:
            with self._feed:
                batch = None if self.ending.is_set() else next(self._batches, None)
            if batch is None:
                return None
            if not (batch.mails or batch.packed):
                self.put(Submission(batch.id, Verdict.ACCEPTED))
                continue
            if entry := self._encode(batch):
                return entry

    def _encode(self, batch: MailBatch) -> _Entry | None:
        account = self.clients.account
        body = encode_batch(batch, account.site_uid, account.key, int(time.time()))
        if len(body) <= self.limits.message:  # ASCII: characters are bytes
            return _Entry(batch.id, batch.company_id, body)
        reason = f"the message has {len(body):,} bytes, the queue takes {self.limits.message:,}"
        self.put(Submission(batch.id, Verdict.REFUSED_FOR_GOOD, code="too_large", reason=reason))
        return None

    def _run(self) -> None:
        try:
            _Caller(self).work()
        except BaseException as error:  # noqa: BLE001 - raised again by ``submissions``
            self._error = self._error or error
            self.ending.set()
        finally:
            with self._lock:
                self._working -= 1
                last = not self._working
            if last:
                self._results.put(None)


class _Caller:
    """One thread at work: gathers the messages of a call, makes the call."""

    def __init__(self, submit: Submit) -> None:
        self._submit = submit
        self._gathered: list[_Entry] = []
        self._bytes = 0
        self._since = 0.0

    def work(self) -> None:
        """Make call after call until no batch is left, or nothing more may be sent."""
        try:
            while entry := self._submit.next_entry():
                if self._bytes + len(entry.body) > CALL_BYTES:
                    self._call()
                self._gather(entry)
                waited = time.monotonic() - self._since >= self._submit.limits.hold
                if waited or len(self._gathered) == CALL_ENTRIES:
                    self._call()
            self._call(last=True)
        finally:
            for entry in self._gathered:
                self._submit.put(self._submit.unsent(entry.batch_id))

    def _gather(self, entry: _Entry) -> None:
        if not self._gathered:
            self._since = time.monotonic()
        self._gathered.append(entry)
        self._bytes += len(entry.body)

    def _call(self, last: bool = False) -> None:
        if not self._gathered or self._submit.ending.is_set():
            return
        self._submit.guard()
        entries, self._gathered, self._bytes = self._gathered, [], 0
        answer = self._submit.clients.send(
            [
                # On a standard queue the group is whom SQS is fair to (fair queues).
                {"Id": str(i), "MessageBody": e.body, "MessageGroupId": str(e.company_id)}
                for i, e in enumerate(entries)
            ]
        )
        batch_ids = [entry.batch_id for entry in entries]
        if isinstance(answer, Trouble):
            self._submit.give_up(answer.error)
            result = _uncertain if answer.uncertain else _refused
            for batch_id in batch_ids:
                self._submit.put(result(batch_id, answer.error))
            return
        for submission in _of_answer(batch_ids, answer, self._submit.clients.account.secrets):
            self._submit.put(submission)
        if not last:
            self._submit.enlist(self._submit.limits.calls)


def _of_answer(
    batch_ids: Iterable[int], answer: "SendMessageBatchResultTypeDef", hide: Sequence[str]
) -> Iterator[Submission]:
    """The result of each batch; what the answer does not name is uncertain."""
    taken = {str(entry.get("Id")): entry for entry in filter(None, answer.get("Successful", ()))}
    failed = {str(entry.get("Id")): entry for entry in filter(None, answer.get("Failed", ()))}
    for number, batch_id in enumerate(batch_ids):
        if good := taken.get(str(number)):
            yield Submission(batch_id, Verdict.ACCEPTED, str(good.get("MessageId", "")))
        elif bad := failed.get(str(number)):
            yield _of_failed(batch_id, bad, hide)
        else:
            text = f"{JOBS_QUEUE}: the answer does not say what became of the message"
            yield _uncertain(batch_id, Unavailable(text, "garbage"))


def _of_failed(
    batch_id: int, entry: "BatchResultErrorEntryTypeDef", hide: Sequence[str]
) -> Submission:
    found, error = explain_entry(
        str(entry.get("Code", "")),
        str(entry.get("Message", "")),
        sender_fault=entry.get("SenderFault") is True,
        subject=JOBS_QUEUE,
        hide=hide,
    )
    return Submission(batch_id, found, code=error.code, reason=str(error))


def _refused(batch_id: int, error: ConnectorError) -> Submission:
    return Submission(batch_id, verdict(error), code=error.code, reason=str(error))


def _uncertain(batch_id: int, error: ConnectorError) -> Submission:
    return Submission(batch_id, Verdict.UNCERTAIN, code=error.code, reason=str(error))
