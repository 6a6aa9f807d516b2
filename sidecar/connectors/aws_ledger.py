"""The worker's ledger in DynamoDB, as far as the sidecar writes it: revoking mails.

One item a batch, partition key ``batch_key`` (a mail's ``root_batch``): site_uid S, owner S,
until N (Unix seconds; the worker's lease), try N, version N, expires N (Unix seconds; the table's
TTL), mails M. That map has, under the first 16 hex digits of a mail_key, a map: s S (c claimed,
s sent, r failed retryable, f failed, u unknown, x revoked), g N generation, a N attempt, m S the
provider's message id. A mail without an entry is unclaimed. Whoever changes an item raises its
version by one, and writes only over the version that was read.
"""

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from sidecar.connectors.aws_client import LEDGER, AwsClients
from sidecar.connectors.aws_errors import CONFLICT
from sidecar.connectors.base import Revocation
from sidecar.errors import Rejected

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

    Item = dict[str, AttributeValueTypeDef]

log = logging.getLogger(__name__)

KEY = "batch_key"
TTL = 30 * 24 * 3600
"""Seconds that an item is kept after its last change."""
WRITE_TRIES = 8
"""How often an item is read and written that somebody else changes all the time."""
WRITERS = 4

UNCLAIMED, RETRYABLE, REVOKED = "", "r", "x"
REVOCABLE = frozenset({UNCLAIMED, RETRYABLE, REVOKED})


class Ledger:
    """The ledger of an account. Thread-safe."""

    def __init__(self, clients: AwsClients, clock: Callable[[], float] = time.time) -> None:
        self._clients, self._clock = clients, clock
        self._table = clients.account.ledger_table

    def revoke(self, mails: Iterable[Revocation]) -> frozenset[str]:
        """Mark mails as revoked that no worker has claimed, or that failed and may be tried again.

        Returns the mail_keys of those that are revoked now. May be repeated. Raises ConnectorError.
        """
        by_batch: dict[str, list[Revocation]] = defaultdict(list)
        for mail in mails:
            by_batch[mail.root_batch].append(mail)
        if not by_batch:
            return frozenset()
        with ThreadPoolExecutor(min(WRITERS, len(by_batch)), "aws-ledger") as writers:
            done = writers.map(self._revoke, by_batch.keys(), by_batch.values())
            return frozenset().union(*done)

    def _revoke(self, batch_key: str, mails: Sequence[Revocation]) -> frozenset[str]:
        for tries in range(WRITE_TRIES):
            item = self._get(batch_key)
            version = int(item.get("version", {}).get("N", "0"))
            owner = item.get("site_uid", {}).get("S")
            if owner not in {None, self._clients.account.site_uid}:
                log.warning("batch %s: its item in the ledger is of another site", batch_key)
                return frozenset()
            changed, revoked = _mark(item, mails)
            if not revoked or changed == item or self._put(batch_key, changed, version):
                return revoked
            time.sleep(random.uniform(0, min(0.2, 0.02 * 2**tries)))  # noqa: S311 - spreads writers
        log.warning("batch %s: its item in the ledger changes too fast to revoke", batch_key)
        return frozenset()

    def _get(self, batch_key: str) -> "Item":
        answer = self._clients.ask(
            LEDGER,
            lambda: self._clients.dynamodb.get_item(
                TableName=self._table, Key={KEY: {"S": batch_key}}, ConsistentRead=True
            ),
        )
        return answer.get("Item", {})

    def _put(self, batch_key: str, item: "Item", version: int) -> bool:
        """Write the changed item over ``version``, 0 if there was none; False if that is gone.

        Also False where an answer was lost and the write, tried again, found itself done.
        """
        changed: Item = {
            "owner": {"S": ""},
            "until": {"N": "0"},
            "try": {"N": "0"},
            **item,
            KEY: {"S": batch_key},
            "site_uid": {"S": self._clients.account.site_uid},
            "version": {"N": str(version + 1)},
            "expires": {"N": str(int(self._clock()) + TTL)},
        }
        condition = "#v = :read" if version else "attribute_not_exists(#v) OR #v = :read"
        try:
            self._clients.ask(
                LEDGER,
                lambda: self._clients.dynamodb.put_item(
                    TableName=self._table,
                    Item=changed,
                    ConditionExpression=condition,
                    ExpressionAttributeNames={"#v": "version"},
                    ExpressionAttributeValues={":read": {"N": str(version)}},
                ),
            )
        except Rejected as error:
            if error.code != CONFLICT:
                raise
            return False
        return True


def _mark(item: "Item", mails: Iterable[Revocation]) -> tuple["Item", frozenset[str]]:
    """``item`` with those of ``mails`` revoked that may be; their mail_keys."""
    entries = dict(item.get("mails", {}).get("M", {}))
    revoked = set()
    for mail in mails:
        name = mail.mail_key[:16]
        entry = entries.get(name, {}).get("M")
        state = entry.get("s", {}).get("S") if entry is not None else UNCLAIMED
        if state not in REVOCABLE:
            continue
        revoked.add(mail.mail_key)
        if state != REVOKED:
            attempt = {"a": {"N": "0"}, "m": {"S": ""}, **(entry or {})}
            new = {**attempt, "s": {"S": REVOKED}, "g": {"N": str(mail.generation)}}
            entries[name] = {"M": new}
    return {**item, "mails": {"M": entries}}, frozenset(revoked)
