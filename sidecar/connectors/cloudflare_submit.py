"""One submit of the Cloudflare connector: batches become messages, as many as fit share a request.

One thread: with the request limit of Cloudflare's API a second one would only wait.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sidecar.connectors.base import Guard, Submission, Verdict
from sidecar.connectors.cloudflare_client import CloudflareClient
from sidecar.connectors.cloudflare_errors import OF_ONE_MESSAGE, Trouble, verdict
from sidecar.errors import ConnectorError, Unavailable
from sidecar.mail import MailBatch
from sidecar.message import encode_batch

MAX_MESSAGE = 127_000
"""Bytes of the largest message: what the queue takes (128,000), less what it counts beside."""
CALL_MESSAGES = 100
CALL_BYTES = 255_000
"""Of all messages of one request; the queue takes 256,000."""
METADATA = 100
"""Bytes that the queue counts for each message beside its body."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A batch as a message."""

    batch_id: int
    body: str = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes as the queue counts them; the body is ASCII."""
        return len(self.body) + METADATA


class Submit:
    """The work of one submit. hold: seconds that a message waits for others to share a request."""

    def __init__(
        self, client: CloudflareClient, guard: Guard, batches: Iterable[MailBatch], hold: float
    ) -> None:
        self._client, self._guard, self._hold = client, guard, hold
        self._batches = iter(batches)
        self._calling = threading.Lock()
        self._closing = threading.Event()
        self._trouble: ConnectorError | None = None

    def submissions(self) -> Iterator[Submission]:
        """Work until nothing is left; a Submission a batch, as each is known."""
        gathered: list[_Entry] = []
        try:
            yield from self._work(gathered)
        except GeneratorExit:
            raise
        except BaseException:
            # What was taken and not sent is answered before the error is raised.
            for entry in gathered:
                yield _refused(
                    entry.batch_id, Unavailable("the sending was interrupted", "interrupted")
                )
            raise
        while self._trouble and not self._closing.is_set():
            batch = next(self._batches, None)
            if batch is None:
                break
            yield _refused(batch.id, self._trouble)

    def close(self) -> None:
        """Take no more batches, make no more requests."""
        self._closing.set()

    def join(self, deadline: float) -> None:
        """Wait until a request in flight has ended, at most until monotonic ``deadline``."""
        if self._calling.acquire(timeout=max(0.0, deadline - time.monotonic())):
            self._calling.release()

    def _work(self, gathered: list[_Entry]) -> Iterator[Submission]:
        since = 0.0
        while not self._trouble and not self._closing.is_set():
            batch = next(self._batches, None)
            if batch is None:
                break
            found = self._encode(batch)
            if isinstance(found, Submission):
                yield found
                continue
            if sum(entry.size for entry in gathered) + found.size > CALL_BYTES:
                # Taken already: if the request fails, it is refused with the others.
                gathered.append(found)
                yield from self._call(gathered, len(gathered) - 1)
                since = time.monotonic()
            else:
                since = since if gathered else time.monotonic()
                gathered.append(found)
            if len(gathered) == CALL_MESSAGES or time.monotonic() - since >= self._hold:
                yield from self._call(gathered, len(gathered))
        yield from self._call(gathered, len(gathered))
        reason = self._trouble or Unavailable("the sidecar is stopping", "closed")
        while gathered:
            yield _refused(gathered.pop(0).batch_id, reason)

    def _encode(self, batch: MailBatch) -> _Entry | Submission:
        if not (batch.mails or batch.packed):
            return Submission(batch.id, Verdict.ACCEPTED)
        account = self._client.account
        body = encode_batch(batch, account.site_uid, account.key, int(time.time()))
        if len(body) <= MAX_MESSAGE:  # ASCII: characters are bytes
            return _Entry(batch.id, body)
        reason = f"the message has {len(body):,} bytes, the queue takes {MAX_MESSAGE:,}"
        return Submission(batch.id, Verdict.REFUSED_FOR_GOOD, code="too_large", reason=reason)

    def _call(self, gathered: list[_Entry], number: int) -> Iterator[Submission]:
        """One request with the first ``number`` of ``gathered``, which are taken from it."""
        if not number or self._trouble or self._closing.is_set():
            return
        self._guard()
        entries = gathered[:number]
        trouble = self._push(entries)
        del gathered[:number]
        if trouble and trouble.error.code in OF_ONE_MESSAGE and number > 1:
            # None of them was taken; which of them is the cause, each alone will show.
            yield from self._one_by_one(entries)
            return
        yield from _outcomes(entries, trouble)
        if trouble and trouble.error.code not in OF_ONE_MESSAGE:
            self._trouble = trouble.error

    def _one_by_one(self, entries: Sequence[_Entry]) -> Iterator[Submission]:
        left = list(entries)
        while left:
            if self._closing.is_set() or self._trouble:
                reason = self._trouble or Unavailable("the sidecar is stopping", "closed")
                yield _refused(left.pop(0).batch_id, reason)
                continue
            yield from self._call(left, 1)

    def _push(self, entries: Sequence[_Entry]) -> Trouble | None:
        with self._calling:
            if self._closing.is_set():
                return Trouble(Unavailable("the sidecar is stopping", "closed"))
            bodies = [entry.body for entry in entries]
            return self._client.push(self._client.account.queue_id, bodies)


def _outcomes(entries: Iterable[_Entry], trouble: Trouble | None) -> Iterator[Submission]:
    result: Callable[[int, ConnectorError], Submission] = _refused
    if trouble and trouble.uncertain:
        result = _uncertain
    for entry in entries:
        if trouble is None:
            yield Submission(entry.batch_id, Verdict.ACCEPTED)
        else:
            yield result(entry.batch_id, trouble.error)


def _refused(batch_id: int, error: ConnectorError) -> Submission:
    return Submission(batch_id, verdict(error), code=error.code, reason=str(error))


def _uncertain(batch_id: int, error: ConnectorError) -> Submission:
    return Submission(batch_id, Verdict.UNCERTAIN, code=error.code, reason=str(error))
