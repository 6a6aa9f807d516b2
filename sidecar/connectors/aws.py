"""AWS as a provider: batches go into an SQS queue, from which a worker sends them by SES."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sidecar.connectors.accounts import AwsAccount
from sidecar.connectors.aws_client import (
    FEEDBACK_QUEUE,
    JOBS_QUEUE,
    LEDGER,
    QUICK_TRIES,
    RESULTS_QUEUE,
    SES,
    AwsClients,
)
from sidecar.connectors.aws_feedback import parse_feedback
from sidecar.connectors.aws_ledger import KEY, Ledger
from sidecar.connectors.aws_queues import DEAD_LETTERS, AwsQueues
from sidecar.connectors.aws_submit import CALL_BYTES, CALL_ENTRIES, Limits, Submit
from sidecar.connectors.base import (
    Collected,
    CollectedFeedback,
    Guard,
    Probe,
    Quota,
    Report,
    Revocation,
    Submission,
)
from sidecar.errors import ConnectorError, Rejected
from sidecar.mail import MailBatch

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

log = logging.getLogger(__name__)

MAX_BYTES = CALL_BYTES - 1024
"""Bytes of the largest message: what SQS takes, less room for what it counts with the body."""
SIZE_ASKED_AGAIN = 60.0
"""Seconds until a queue is asked again that did not say how large its messages may be."""

_QUEUES = {
    JOBS_QUEUE: "jobs",
    DEAD_LETTERS: "dead_letters",
    RESULTS_QUEUE: "results",
    FEEDBACK_QUEUE: "feedback",
}

SIZE: "QueueAttributeNameType" = "MaximumMessageSize"
DEPTH: "Sequence[QueueAttributeNameType]" = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class AwsConnector:
    """A connector for one AWS account and queue; several companies may share it.

    guard: asked before each call that sends. calls: the most calls that send at the same time.
    hold: seconds that a message waits for others to share its call. wait: seconds that ``collect``
    waits for a result, 0 to 20. timeout: seconds that an answer may take, beside ``wait``.

    IAM actions: sqs:SendMessage and sqs:GetQueueAttributes on the jobs queue; with a results or a
    feedback queue sqs:ReceiveMessage, sqs:DeleteMessage and sqs:GetQueueAttributes on it; the last
    of these on the dead-letter queue; with a ledger dynamodb:GetItem, dynamodb:PutItem and
    dynamodb:DescribeTable on it; ses:GetAccount; with a KMS key of a queue's own
    kms:GenerateDataKey and kms:Decrypt on that key.
    """

    name = "aws"
    learns_at_once = False
    MAX_BYTES = MAX_BYTES

    def __init__(
        self,
        account: AwsAccount,
        *,
        guard: Guard,
        calls: int = 4,
        hold: float = 0.2,
        wait: int = 1,
        timeout: float = 20.0,
    ) -> None:
        self.account = account
        self._guard, self._calls, self._hold, self._wait = guard, calls, hold, wait
        self._clients = AwsClients(account, timeout=timeout + wait, connections=calls + 4)
        self._lock = threading.Lock()
        self._closed = False
        self._submits: set[Submit] = set()
        self._size_lock = threading.Lock()
        self._size: int | None = None
        self._ask_size_at = 0.0

    def max_bytes(self) -> int:
        """Bytes of the largest message that the queue takes; asks it once."""
        with self._size_lock:
            if self._size is None and time.monotonic() >= self._ask_size_at:
                self._ask_size_at = time.monotonic() + SIZE_ASKED_AGAIN
                try:
                    found = self._attributes(self.account.queue_url, [SIZE], tries=1)
                    self._size = min(MAX_BYTES, found[SIZE])
                except ConnectorError as error:
                    log.warning("the largest message is taken to be %d bytes: %s", MAX_BYTES, error)
            return self._size or MAX_BYTES

    def max_mail_bytes(self) -> int:
        """See ``Connector.max_mail_bytes``: SES takes more than Moodle ever lets us have."""
        return 0

    def submit(
        self,
        batches: Iterable[MailBatch],
        report: Report,  # noqa: ARG002 - outcomes come later, as results
    ) -> Iterator[Submission]:
        """Put each batch into the jobs queue; see ``Connector.submit``.

        ACCEPTED: the queue has it. REFUSED, REFUSED_FOR_GOOD: it has not. UNCERTAIN: the answer was
        lost. An empty batch is ACCEPTED, one that is too large is REFUSED_FOR_GOOD as
        ``too_large``; neither is sent. Once a call fails as a whole, no other is made: all further
        batches are refused for the same reason.

        The iterator of ``batches`` is used from several threads, by one at a time; a message waits
        for others only while that iterator gives some, and then about ``hold`` seconds. Leaving the
        iteration early ends it after the calls in flight. What ``guard`` or ``batches`` raises ends
        it too and is raised here, after the results of all batches taken.
        """
        submit = Submit(self._clients, self._guard, batches)
        with self._lock:
            if self._closed:
                return
            self._submits.add(submit)
        try:
            limits = Limits(self.max_bytes(), self._calls, self._hold)
            yield from submit.submissions(limits)
        finally:
            with self._lock:
                self._submits.discard(submit)

    def collect(self) -> list[Collected]:
        """Up to ten results of the results queue; see ``Connector.collect``."""
        url = self.account.results_queue_url
        if not url:
            return []
        return [Collected(receipt, body) for receipt, body in self._receive(url, RESULTS_QUEUE)]

    def forget(self, receipts: Sequence[str]) -> None:
        """Delete results from the results queue; see ``Connector.forget``."""
        self._forget(self.account.results_queue_url, receipts, RESULTS_QUEUE)

    def collect_feedback(self) -> list[CollectedFeedback]:
        """Up to ten messages of the feedback queue; see ``FeedbackConnector``."""
        url = self.account.feedback_queue_url
        found = self._receive(url, FEEDBACK_QUEUE, wait=0) if url else []
        return [CollectedFeedback(receipt, parse_feedback(body)) for receipt, body in found]

    def forget_feedback(self, receipts: Sequence[str]) -> None:
        """Delete messages from the feedback queue; see ``FeedbackConnector``."""
        self._forget(self.account.feedback_queue_url, receipts, FEEDBACK_QUEUE)

    def quota(self) -> Quota:
        """What SES lets the account send; raises ConnectorError."""

        def call() -> Quota:
            answer = self._clients.ses.get_account()
            quota, status = answer["SendQuota"], answer.get("EnforcementStatus", "")
            return Quota(
                per_second=float(quota["MaxSendRate"]),
                per_day=int(quota["Max24HourSend"]),
                sent_today=int(quota["SentLast24Hours"]),
                sandbox=not answer["ProductionAccessEnabled"],
                sending=bool(answer["SendingEnabled"]),
                reproach="" if status == "HEALTHY" else status,
            )

        return self._clients.ask(SES, call)

    def revoke(self, mails: Sequence[Revocation]) -> frozenset[str]:
        """Mark mails as revoked in the ledger; see ``Connector.revoke``. None without a ledger."""
        return Ledger(self._clients).revoke(mails) if self.account.ledger_table else frozenset()

    def depth(self) -> int | None:
        """The messages in the jobs queue: those that wait, are in work, or are delayed."""
        try:
            return sum(self._attributes(self.account.queue_url, DEPTH).values())
        except ConnectorError as error:
            log.warning("the depth is not known: %s", error)
            return None

    def depths(self) -> Mapping[str, int]:
        """``WatchedConnector.depths``."""
        found = AwsQueues(self._clients).depths()
        return {_QUEUES[depth.name]: depth.messages for depth in found}

    def probe(self) -> Probe:
        """Ask the queues and the ledger what they are."""
        try:
            found = [self._probe_jobs_queue()]
            if url := self.account.results_queue_url:
                depth = sum(self._attributes(url, DEPTH).values())
                found.append(f"{RESULTS_QUEUE}: {depth} messages")
            if url := self.account.feedback_queue_url:
                depth = sum(self._attributes(url, DEPTH).values())
                found.append(f"{FEEDBACK_QUEUE}: {depth} messages")
            if self.account.ledger_table:
                found.append(self._probe_ledger())
        except ConnectorError as error:
            return Probe(ok=False, detail=str(error))
        return Probe(ok=True, detail="; ".join(found))

    def close(self, deadline: float) -> None:
        """Take no new batch; wait for the calls in flight until ``deadline``.

        A call that is not answered by then ends by itself, after its timeout.
        """
        with self._lock:
            self._closed = True
            submits = list(self._submits)
        for submit in submits:
            submit.close()
        for submit in submits:
            submit.join(deadline)
        self._clients.close()

    def _probe_jobs_queue(self) -> str:
        attributes = self._attributes(self.account.queue_url, [SIZE, *DEPTH])
        size = min(MAX_BYTES, attributes.pop(SIZE))
        with self._size_lock:
            self._size = size
        found = f"{JOBS_QUEUE} in {self.account.region}: {sum(attributes.values())} messages"
        if size < MAX_BYTES:
            found += f", none larger than {size:,} bytes (its {SIZE}), so batches are smaller"
        return found

    def _probe_ledger(self) -> str:
        status, keys = self._clients.ask(LEDGER, self._describe_ledger)
        if keys != [(KEY, "S")]:
            raise Rejected(f"{LEDGER}: its one key must be {KEY}, of type string", "key")
        return f"{LEDGER}: {status.lower()}"

    def _describe_ledger(self) -> tuple[str, list[tuple[str, str]]]:
        """The table's status, and its keys with their types."""
        name = self.account.ledger_table
        table = self._clients.dynamodb.describe_table(TableName=name)["Table"]
        types = {a["AttributeName"]: a["AttributeType"] for a in table["AttributeDefinitions"]}
        keys = [key["AttributeName"] for key in table["KeySchema"]]
        return table["TableStatus"], [(key, types[key]) for key in keys]

    def _receive(self, url: str, subject: str, wait: int | None = None) -> list[tuple[str, str]]:
        """Up to ten messages of a queue: their receipts and bodies."""
        # What answers is read inside the call: what cannot be read did not come from AWS.
        return self._clients.ask(
            subject,
            lambda: [
                (message["ReceiptHandle"], message["Body"])
                for message in self._clients.sqs.receive_message(
                    QueueUrl=url,
                    MaxNumberOfMessages=10,
                    WaitTimeSeconds=self._wait if wait is None else wait,
                ).get("Messages", ())
            ],
        )

    def _forget(self, url: str, receipts: Sequence[str], subject: str) -> None:
        for start in range(0, len(receipts) if url else 0, CALL_ENTRIES):
            failed = self._delete(url, receipts[start : start + CALL_ENTRIES], subject)
            if failed:
                codes = ", ".join(sorted(set(failed)))
                log.warning(
                    "%s: %d messages could not be deleted, come again: %s",
                    subject, len(failed), codes,
                )  # fmt: skip

    def _delete(self, url: str, receipts: Sequence[str], subject: str) -> list[str]:
        """The codes of those that could not be deleted."""
        return self._clients.ask(
            subject,
            lambda: [
                entry["Code"]
                for entry in self._clients.sqs.delete_message_batch(
                    QueueUrl=url,
                    Entries=[{"Id": str(i), "ReceiptHandle": r} for i, r in enumerate(receipts)],
                ).get("Failed", ())
            ],
        )

    def _attributes(
        self, url: str, names: "Sequence[QueueAttributeNameType]", tries: int = QUICK_TRIES
    ) -> dict[str, int]:
        """Attributes of a queue that are numbers."""

        def call() -> dict[str, int]:
            answer = self._clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
            return {name: int(answer["Attributes"][name]) for name in names}

        account = self.account
        names_of = {account.queue_url: JOBS_QUEUE, account.feedback_queue_url: FEEDBACK_QUEUE}
        subject = names_of.get(url, RESULTS_QUEUE)
        return self._clients.ask(subject, call, tries)
