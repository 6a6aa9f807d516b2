"""Any order of messages, crashes, revocations and late writers: no mail is sent twice.

The worker's books and the sidecar's revoker write one table in memory; hypothesis chooses who does
what next and what SES says.
"""

import copy
import hashlib
import time
from collections import Counter
from typing import Any, cast

from botocore.exceptions import ClientError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cloud_workers.aws import lambda_handler
from cloud_workers.aws.lambda_handler import (
    Books,
    Busy,
    Job,
    Key,
    Kind,
    LeaseLost,
    Mail,
    Result,
    State,
)
from cloud_workers.aws.lambda_handler import Ledger as WorkerLedger
from sidecar.connectors.aws_client import AwsClients
from sidecar.connectors.aws_ledger import Ledger as SidecarLedger
from sidecar.connectors.base import Revocation

SITE = "site"
ROOTS = ("a" * 32, "b" * 32)
CHILD = "c" * 32
LEASE = 100
WINDOW = 2

KEYS = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(6)]
ROOT_OF = {key: ROOTS[n % 2] for n, key in enumerate(KEYS)}

SAYS = {
    "taken": Result(Kind.SENT, "id", state=State.SENT),
    "taken, answer lost": Result(Kind.UNKNOWN, "lost", state=State.UNKNOWN),
    "not taken, answer lost": Result(Kind.UNKNOWN, "lost", state=State.UNKNOWN),
    "rejected": Result(Kind.DROP, "no", state=State.FAILED),
    "refused": Result(Kind.LATER, "no", state=State.RETRYABLE),
    "later": Result(Kind.SOON, "busy"),
}


class Table:
    """DynamoDB, as far as both writers use it."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}

    def get_item(self, Key: dict[str, Any], **_: Any) -> dict[str, Any]:  # noqa: N803
        found = self.items.get(Key["batch_key"]["S"])
        return {"Item": copy.deepcopy(found)} if found else {}

    def put_item(self, Item: dict[str, Any], **condition: Any) -> None:  # noqa: N803
        key = Item["batch_key"]["S"]
        found = self.items.get(key)
        seen = next(iter(condition.get("ExpressionAttributeValues", {}).values()), None)
        missing_is_good = "attribute_not_exists" in condition["ConditionExpression"]
        if missing_is_good if found is None else found["version"] == seen:
            self.items[key] = copy.deepcopy(Item)
            return
        raise ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "PutItem")

    def state(self, key: str) -> str:
        mails = self.items.get(ROOT_OF[key], {}).get("mails", {}).get("M", {})
        return str(mails.get(key[:16], {}).get("M", {}).get("s", {}).get("S", ""))


class Clients:
    """What the sidecar's ledger needs of AwsClients."""

    def __init__(self, table: Table) -> None:
        self.dynamodb = table
        self.account = self
        self.site_uid, self.ledger_table = SITE, "ledger"

    def ask(self, _: str, call: Any) -> Any:
        return call()


def job(batch_key: str, attempt: int) -> Job:
    """The batch as it is in each of its messages."""
    child = batch_key == CHILD
    mails = tuple(
        Mail(n, key, ROOT_OF[key], int(child), "", "", ("", ""), "", "", "", "", (), ())
        for n, key in enumerate(KEYS)
        if child or ROOT_OF[key] == batch_key
    )
    return Job(Key("k", "s"), SITE, batch_key, 1, 1, attempt, 0, 0, mails)


class Function:
    """One call of the worker, stopped between any two of its steps."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.todo = books.claimable()
        self.results: dict[Mail, Result] = {}


class Orders(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self.clock = 1000.0
        lambda_handler.now = lambda: self.clock
        self.functions: list[Function] = []
        self.taken: Counter[str] = Counter()
        self.revoked: set[str] = set()
        self.versions: dict[str, int] = {}

    def teardown(self) -> None:
        lambda_handler.now = time.time

    @rule(batch_key=st.sampled_from((*ROOTS, CHILD)), attempt=st.integers(1, 3))
    def a_message_comes(self, batch_key: str, attempt: int) -> None:
        ledger = WorkerLedger(self.table, "ledger", SITE)
        books = Books(ledger, job(batch_key, attempt), int(self.clock) + LEASE)
        try:
            books.take()
        except Busy:
            return
        self.functions.append(Function(books))

    @precondition(lambda self: self.functions)
    @rule(data=st.data())
    def a_window_is_sent(self, data: st.DataObject) -> None:
        function = data.draw(st.sampled_from(self.functions))
        window, function.todo = function.todo[:WINDOW], function.todo[WINDOW:]
        before = self.claimed()
        try:
            claimed = function.books.turn(function.results, window)
        except LeaseLost:
            self.functions.remove(function)
            assert self.claimed() <= before
            return
        function.results = {}
        for mail in claimed:
            said = data.draw(st.sampled_from(sorted(SAYS)))
            function.results[mail] = SAYS[said]
            if said.startswith("taken"):
                self.taken[mail.key] += 1
                assert mail.key not in self.revoked

    @precondition(lambda self: self.functions)
    @rule(data=st.data())
    def a_function_ends(self, data: st.DataObject) -> None:
        function = data.draw(st.sampled_from(self.functions))
        self.functions.remove(function)
        before = function.books.tries
        try:
            function.books.close(function.results, 0)
        except LeaseLost:
            return
        if function.results:
            assert function.books.tries > before
        for mail in function.results:
            assert self.table.state(mail.key) != State.CLAIMED

    @precondition(lambda self: self.functions)
    @rule(data=st.data())
    def a_function_dies(self, data: st.DataObject) -> None:
        self.functions.remove(data.draw(st.sampled_from(self.functions)))

    @rule(seconds=st.sampled_from([1, LEASE + 1]))
    def time_passes(self, seconds: int) -> None:
        self.clock += seconds

    @rule(chosen=st.sets(st.sampled_from(KEYS), min_size=1), generation=st.integers(0, 1))
    def mails_are_revoked(self, chosen: set[str], generation: int) -> None:
        ledger = SidecarLedger(cast(AwsClients, Clients(self.table)), lambda: self.clock)
        revoked = ledger.revoke([Revocation(ROOT_OF[key], key, generation) for key in chosen])
        assert all(self.table.state(key) == State.REVOKED for key in revoked)
        self.revoked |= revoked

    def claimed(self) -> set[str]:
        return {key for key in KEYS if self.table.state(key) == State.CLAIMED}

    @invariant()
    def no_mail_is_taken_twice(self) -> None:
        assert set(self.taken.values()) <= {1}

    @invariant()
    def nothing_that_was_taken_is_forgotten(self) -> None:
        for key in self.taken:
            assert self.table.state(key) in {State.CLAIMED, State.SENT, State.UNKNOWN}

    @invariant()
    def what_is_revoked_stays_so(self) -> None:
        assert all(self.table.state(key) == State.REVOKED for key in self.revoked)

    @invariant()
    def little_is_uncertain(self) -> None:
        for item in self.table.items.values():
            entries = item["mails"]["M"].values()
            claimed = [entry for entry in entries if entry["M"]["s"]["S"] == State.CLAIMED]
            assert len(claimed) <= WINDOW

    @invariant()
    def versions_only_grow(self) -> None:
        for key, item in self.table.items.items():
            version = int(item["version"]["N"])
            assert version >= self.versions.get(key, 0)
            self.versions[key] = version


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
