"""Looking at what a company has at AWS, and moving what its queue gave up."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sidecar.connectors.accounts import AwsAccount
from sidecar.connectors.aws_client import JOBS_QUEUE, SES, AwsClients
from sidecar.connectors.aws_queues import DEAD_LETTERS, AwsQueues, Depth
from sidecar.errors import Rejected

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef, SendMessageRequestTypeDef

TIMEOUT = 20.0
MOVING_SECONDS = 300
"""How long a message that is being moved stays hidden where it was."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whether SES may send as an address. records: what DNS must say for that, name → value."""

    name: str
    verified: bool
    records: tuple[tuple[str, str], ...] = ()


class AwsWatch:
    """Everything here raises ConnectorError."""

    def __init__(self, account: AwsAccount) -> None:
        self._account = account
        self._clients = AwsClients(account, timeout=TIMEOUT, connections=4)
        self._queues = AwsQueues(self._clients)

    def close(self) -> None:
        """Close the connections."""
        self._clients.close()

    def depths(self) -> list[Depth]:
        """The company's queues, the dead-letter queue among them if there is one."""
        return self._queues.depths()

    def redrive(self, moved: Callable[[int], None]) -> int:
        """Put what is in the dead-letter queue now back into the jobs queue; returns how much.

        moved: told how much that is so far. Sent first, deleted after: a message may come twice,
        the ledger knows. Interrupted, what is left stays where it is.
        """
        source = self._queues.dead_letters_url()
        if not source:
            raise Rejected(f"{JOBS_QUEUE}: it has no {DEAD_LETTERS}", "no_dead_letters")
        left = self._queues.depth(DEAD_LETTERS, source).messages
        number = 0
        for message in self._take(source, left):
            self._clients.ask(JOBS_QUEUE, partial(self._send, message))
            self._clients.ask(DEAD_LETTERS, partial(self._delete, source, message))
            number += 1
            moved(number)
        return number

    def _send(self, message: "MessageTypeDef") -> None:
        values: SendMessageRequestTypeDef = {
            "QueueUrl": self._account.queue_url,
            "MessageBody": message["Body"],
        }
        if group := message.get("Attributes", {}).get("MessageGroupId"):
            values["MessageGroupId"] = group
        self._clients.sqs.send_message(**values)

    def _delete(self, url: str, message: "MessageTypeDef") -> None:
        self._clients.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def identity(self, address: str) -> Identity | None:
        """What SES knows of an address, or of its domain; None if it knows neither."""
        for name in (address, address.rpartition("@")[2]):
            if found := self._clients.ask(SES, partial(self._identity, name)):
                return found
        return None

    def _identity(self, name: str) -> Identity | None:
        ses = self._clients.ses
        try:
            answer = ses.get_email_identity(EmailIdentity=name)
        except ses.exceptions.NotFoundException:
            return None
        return identity_of(name, answer)

    def _take(self, url: str, most: int) -> Iterator["MessageTypeDef"]:
        left, until = most, time.monotonic() + MOVING_SECONDS
        while left > 0 and time.monotonic() < until:
            messages = self._clients.ask(DEAD_LETTERS, partial(self._receive, url, min(10, left)))
            if not messages:
                return
            left -= len(messages)
            yield from messages

    def _receive(self, url: str, most: int) -> "list[MessageTypeDef]":
        return self._clients.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=most,
            VisibilityTimeout=MOVING_SECONDS,
            MessageSystemAttributeNames=["MessageGroupId"],
            WaitTimeSeconds=1,
        ).get("Messages", [])


def identity_of(name: str, answer: dict) -> Identity:  # type: ignore[type-arg]
    """An identity as SES describes it; its DKIM records, while it is not verified."""
    verified = bool(answer.get("VerifiedForSendingStatus"))
    tokens = answer.get("DkimAttributes", {}).get("Tokens", ()) if "@" not in name else ()
    records = tuple(
        (f"{token}._domainkey.{name}", f"{token}.dkim.amazonses.com") for token in tokens
    )
    return Identity(name, verified, () if verified else records)
