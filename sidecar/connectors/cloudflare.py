"""Cloudflare as a provider: batches go into a queue, from which our Worker sends them."""

import base64
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sidecar.connectors.accounts import CloudflareAccount
from sidecar.connectors.base import Collected, Guard, Probe, Report, Revocation, Submission
from sidecar.connectors.cloudflare_client import (
    JOBS_QUEUE,
    RESULTS_QUEUE,
    WORKER,
    CloudflareClient,
)
from sidecar.connectors.cloudflare_submit import MAX_MESSAGE, Submit
from sidecar.errors import ConnectorError, Unavailable
from sidecar.mail import MailBatch

log = logging.getLogger(__name__)

PULL = 100
"""Results that are collected, or forgotten, at once."""
REVOKE = 1000
"""Mails that the Worker is asked to revoke at once."""
SMALLEST_MAIL = 5 * 1024 * 1024
"""Bytes of a mail that every sender of the Worker takes."""
SENDER_ASKED_AGAIN = 600.0
"""Seconds after which the Worker is asked again what its sender takes: another may be deployed."""


class CloudflareConnector:
    """A connector for one Cloudflare account and queue; several companies may share it.

    guard: asked before each request that sends. hold: seconds that a message waits for others to
    share its request. pause: seconds that an empty results queue is left alone. visible: seconds
    after which a collected result comes again. timeout: seconds that an answer may take.

    The API token needs Queues: Edit on the account, and nothing else.
    """

    name = "cloudflare"
    learns_at_once = False

    def __init__(
        self,
        account: CloudflareAccount,
        *,
        guard: Guard,
        hold: float = 0.2,
        pause: float = 2.0,
        visible: float = 60.0,
        timeout: float = 20.0,
    ) -> None:
        self.account = account
        self._guard, self._hold, self._pause, self._visible = guard, hold, pause, visible
        self._client = CloudflareClient(account, timeout=timeout)
        self._lock = threading.Lock()
        self._closed = False
        self._submits: set[Submit] = set()
        self._collect_at = 0.0
        self._sender_lock = threading.Lock()
        self._most = SMALLEST_MAIL
        self._ask_sender_at = 0.0

    def max_bytes(self) -> int:
        """Bytes of the largest message that the queue takes."""
        return MAX_MESSAGE

    def max_mail_bytes(self) -> int:
        """Bytes of the largest mail that the Worker's sender takes; see ``Connector``.

        As long as the Worker does not tell, what each of its senders takes.
        """
        with self._sender_lock:
            if self.account.worker_url and time.monotonic() >= self._ask_sender_at:
                self._ask_sender_at = time.monotonic() + SENDER_ASKED_AGAIN
                try:
                    said = self._client.ask_worker("status", {}, tries=1).get("max_mail_bytes")
                    self._most = said if isinstance(said, int) and said > 0 else SMALLEST_MAIL
                except ConnectorError as error:
                    log.warning("the largest mail is taken to be %d bytes: %s", self._most, error)
            return self._most

    def submit(
        self,
        batches: Iterable[MailBatch],
        report: Report,  # noqa: ARG002 - outcomes come later, as results
    ) -> Iterator[Submission]:
        """Put each batch into the jobs queue; see ``Connector.submit``.

        ACCEPTED: the queue has it. REFUSED, REFUSED_FOR_GOOD: it has not. UNCERTAIN: the answer was
        lost. An empty batch is ACCEPTED, one that is too large is REFUSED_FOR_GOOD as
        ``too_large``; neither is sent. Once a request fails as a whole, no other is made: all
        further batches are refused for the same reason.
        """
        submit = Submit(self._client, self._guard, batches, self._hold)
        with self._lock:
            if self._closed:
                return
            self._submits.add(submit)
        try:
            yield from submit.submissions()
        finally:
            with self._lock:
                self._submits.discard(submit)

    def collect(self) -> list[Collected]:
        """Up to 100 results of the results queue; see ``Connector.collect``.

        An empty queue is not asked again at once: each look is a request.
        """
        queue = self.account.results_queue_id
        if not queue or time.monotonic() < self._collect_at:
            return []
        how = {"batch_size": PULL, "visibility_timeout_ms": int(self._visible * 1000)}
        found = self._client.ask_queue(RESULTS_QUEUE, queue, "messages/pull", how)
        results = _read(found)
        if not results:
            self._collect_at = time.monotonic() + self._pause
        return results

    def forget(self, receipts: Sequence[str]) -> None:
        """Delete results from the results queue; see ``Connector.forget``."""
        queue = self.account.results_queue_id
        for start in range(0, len(receipts) if queue else 0, PULL):
            acks = [{"lease_id": receipt} for receipt in receipts[start : start + PULL]]
            body = {"acks": acks, "retries": []}
            found = self._client.ask_queue(RESULTS_QUEUE, queue, "messages/ack", body)
            if isinstance(found, Mapping) and found.get("warnings"):
                log.warning("some results could not be deleted, and come again")

    def revoke(self, mails: Sequence[Revocation]) -> frozenset[str]:
        """Have the Worker revoke mails; see ``Connector.revoke``. None without its URL."""
        revoked: set[str] = set()
        for start in range(0, len(mails) if self.account.worker_url else 0, REVOKE):
            asked = mails[start : start + REVOKE]
            named = [
                {"root_batch": m.root_batch, "mail_key": m.mail_key, "generation": m.generation}
                for m in asked
            ]
            found = self._client.ask_worker("revoke", {"mails": named}).get("revoked")
            if not isinstance(found, list):
                raise Unavailable(f"{WORKER}: what answered is not our Worker", "garbage")
            revoked |= {mail.mail_key for mail in asked} & set(map(str, found))
        return frozenset(revoked)

    def depth(self) -> int | None:
        """The messages in the jobs queue, about."""
        try:
            return self._backlog(JOBS_QUEUE, self.account.queue_id)
        except ConnectorError as error:
            log.warning("the depth is not known: %s", error)
            return None

    def probe(self) -> Probe:
        """Ask both queues and the Worker what they are."""
        doubts: list[str] = []
        try:
            found = [self._probe_queue(JOBS_QUEUE, self.account.queue_id, "worker", doubts)]
            if queue := self.account.results_queue_id:
                found.append(self._probe_queue(RESULTS_QUEUE, queue, "http_pull", doubts))
            if self.account.worker_url:
                found.append(self._probe_worker(doubts))
            else:
                doubts.append("no URL of the Worker is set: mails cannot be taken back")
        except ConnectorError as error:
            return Probe(ok=False, detail=str(error))
        return Probe(ok=True, detail="; ".join(found), doubt="; ".join(doubts))

    def ask_worker(self) -> Mapping[str, object]:
        """How the Worker is set up; raises ConnectorError."""
        found = self._client.ask_worker("status", {})
        if not isinstance(found.get("sender"), str):
            raise Unavailable(f"{WORKER}: what answered is not our Worker", "garbage")
        return found

    def status(self) -> dict[str, object]:
        """What waits in the queues, and how the Worker is set up; raises ConnectorError."""
        found: dict[str, object] = {JOBS_QUEUE: self._backlog(JOBS_QUEUE, self.account.queue_id)}
        if queue := self.account.results_queue_id:
            found[RESULTS_QUEUE] = self._backlog(RESULTS_QUEUE, queue)
        if self.account.worker_url:
            worker = self.ask_worker()
            found |= {f"{WORKER} {name}": worker.get(name) for name in ("version", "sender")}
            found[f"{WORKER} calls back"] = "yes" if worker.get("callback") else "no"
        return found

    def close(self, deadline: float) -> None:
        """Take no new batch; wait for the request in flight until ``deadline``.

        A request that is not answered by then ends by itself, after its timeout.
        """
        with self._lock:
            self._closed = True
            submits = list(self._submits)
        for submit in submits:
            submit.close()
        self._client.ending.set()
        for submit in submits:
            submit.join(deadline)
        self._client.close()

    def _probe_queue(self, subject: str, queue_id: str, wanted: str, doubts: list[str]) -> str:
        found = self._client.ask_queue(subject, queue_id)
        fields = found if isinstance(found, Mapping) else {}
        consumers = fields.get("consumers")
        kinds = {c.get("type") for c in consumers if isinstance(c, Mapping)} if consumers else set()
        if isinstance(consumers, list) and wanted not in kinds:
            doubts.append(f"the {subject} has no consumer of the type {wanted}: nobody reads it")
        backlog = self._backlog(subject, queue_id)
        return f"{subject} {fields.get('queue_name', queue_id)}: {backlog} messages"

    def _probe_worker(self, doubts: list[str]) -> str:
        found = self.ask_worker()
        if not found.get("callback") and not self.account.results_queue_id:
            doubts.append("the Worker has no CALLBACK_URL, and no results queue is set")
        return f"{WORKER}: sends by {found['sender']}"

    def _backlog(self, subject: str, queue_id: str) -> int:
        found = self._client.ask_queue(subject, queue_id, "metrics", tries=1)
        count = found.get("backlog_count") if isinstance(found, Mapping) else None
        if not isinstance(count, int):
            raise Unavailable(f"{subject}: what answered is not Cloudflare", "garbage")
        return count


def _read(found: Any) -> list[Collected]:
    """The messages of a pull; Unavailable if it is none."""
    try:
        return [Collected(str(m["lease_id"]), _text(m["body"])) for m in found["messages"]]
    except (KeyError, TypeError, ValueError):
        text = f"{RESULTS_QUEUE}: what answered is not Cloudflare"
        raise Unavailable(text, "garbage") from None


def _text(body: object) -> str:
    """A message's body; Cloudflare gives all that is not of the type text in base64."""
    text = body if isinstance(body, str) else str(body)
    if text.startswith("{"):
        return text
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return text
