"""Revoking mails in the worker's ledger: what a worker has is never called revoked."""

import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

from sidecar.connectors.aws_ledger import TTL, WRITE_TRIES
from sidecar.connectors.base import Revocation
from sidecar.errors import AuthFailed, Unavailable
from tests.connectors.aws_rig import GET_ITEM, MOTO, PUT_ITEM, SITE, Aws, Fault, Moto, moto_server

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

    Item = dict[str, AttributeValueTypeDef]

BATCH = "5a" * 16


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with moto_server() as running:
        yield running


@pytest.fixture
def aws(moto: Moto) -> Iterator[Aws]:
    with Aws(moto) as made:
        yield made


def key(number: int) -> str:
    """A mail_key; its first 16 digits are its own."""
    return f"{number:016x}" + "e" * 48


def mails(*numbers: int, batch: str = BATCH, generation: int = 0) -> list[Revocation]:
    return [Revocation(batch, key(number), generation) for number in numbers]


def keys(*numbers: int) -> frozenset[str]:
    return frozenset(map(key, numbers))


class Worker:
    """Writes the ledger as the worker does: on the condition of the version it has read."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def read(self, batch: str = BATCH) -> "Item":
        answer = self._aws.dynamodb.get_item(
            TableName=self._aws.table, Key={"batch_key": {"S": batch}}, ConsistentRead=True
        )
        return answer.get("Item", {})

    def states(self, batch: str = BATCH) -> dict[str, str]:
        """Each mail's state, by the first digits of its key."""
        entries = self.read(batch).get("mails", {}).get("M", {})
        return {name: entry["M"]["s"]["S"] for name, entry in entries.items()}

    def set(self, states: Mapping[int, str], batch: str = BATCH, site: str = SITE) -> bool:
        """Have these mails in these states; False if somebody else was quicker."""
        return self._write(self.read(batch), states, batch, site)

    def claim(self, number: int) -> bool | None:
        """Claim a mail that has no state; None if it has one, False if somebody was quicker."""
        item = self.read()
        if key(number)[:16] in item.get("mails", {}).get("M", {}):
            return None
        return self._write(item, {number: "c"}, BATCH, SITE)

    def _write(self, item: "Item", states: Mapping[int, str], batch: str, site: str) -> bool:
        version = int(item.get("version", {}).get("N", "0"))
        entries = dict(item.get("mails", {}).get("M", {}))
        for number, state in states.items():
            entries[key(number)[:16]] = {
                "M": {"s": {"S": state}, "g": {"N": "0"}, "a": {"N": "1"}, "m": {"S": "ses-id"}}
            }
        written: Item = {
            "batch_key": {"S": batch},
            "site_uid": {"S": site},
            "owner": {"S": "worker"},
            "until": {"N": "1800000000"},
            "try": {"N": "2"},
            "version": {"N": str(version + 1)},
            "expires": {"N": "1800000000"},
            "mails": {"M": entries},
        }
        try:
            with MOTO:
                self._aws.dynamodb.put_item(
                    TableName=self._aws.table,
                    Item=written,
                    ConditionExpression="attribute_not_exists(batch_key) OR version = :read",
                    ExpressionAttributeValues={":read": {"N": str(version)}},
                )
        except self._aws.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True


@pytest.fixture
def worker(aws: Aws) -> Worker:
    return Worker(aws)


def test_what_no_worker_has_seen_is_revoked(aws: Aws, worker: Worker) -> None:
    before = int(time.time())
    assert aws.make().revoke(mails(1, 2, generation=3)) == keys(1, 2)
    assert [call["ConsistentRead"] for call in aws.front.calls(GET_ITEM)] == [True]
    item = worker.read()
    assert before + TTL <= int(item.pop("expires")["N"]) <= time.time() + TTL
    entry = {"M": {"s": {"S": "x"}, "g": {"N": "3"}, "a": {"N": "0"}, "m": {"S": ""}}}
    assert item == {
        "batch_key": {"S": BATCH},
        "site_uid": {"S": SITE},
        "owner": {"S": ""},
        "until": {"N": "0"},
        "try": {"N": "0"},
        "version": {"N": "1"},
        "mails": {"M": {key(1)[:16]: entry, key(2)[:16]: entry}},
    }


@pytest.mark.parametrize(
    ("state", "revoked"),
    [("c", False), ("s", False), ("r", True), ("f", False), ("u", False), ("x", True)],
)
def test_only_what_nobody_will_send_is_revoked(
    aws: Aws, worker: Worker, state: str, revoked: bool
) -> None:
    worker.set({1: state})
    before = worker.read()
    assert aws.make().revoke(mails(1, 2, generation=1)) == (keys(1, 2) if revoked else keys(2))
    assert worker.states() == {key(1)[:16]: "x" if revoked else state, key(2)[:16]: "x"}
    after = worker.read()
    assert after["version"]["N"] == "2"
    assert int(after["expires"]["N"]) != 1800000000
    for name in ("owner", "until", "try", "site_uid"):
        assert after[name] == before[name]
    if not revoked:
        name = key(1)[:16]
        assert after["mails"]["M"][name] == before["mails"]["M"][name]


def test_revoking_again_changes_nothing(aws: Aws, worker: Worker) -> None:
    connector = aws.make()
    connector.revoke(mails(1, 2))
    item = worker.read()
    assert connector.revoke(mails(2, 1, 1)) == keys(1, 2)
    assert worker.read() == item
    worker.set({3: "s"})
    item = worker.read()
    assert connector.revoke(mails(3)) == frozenset()
    assert worker.read() == item


def test_each_mail_is_revoked_where_its_state_is_kept(aws: Aws, worker: Worker) -> None:
    batches = [f"{number:032x}" for number in range(9)]
    worker.set({4: "s"}, batches[4])
    wanted = [mail for n, batch in enumerate(batches) for mail in mails(n, n + 100, batch=batch)]
    revoked = aws.make().revoke(wanted)
    assert revoked == {mail.mail_key for mail in wanted} - keys(4)
    for number, batch in enumerate(batches):
        assert worker.states(batch).keys() == {key(number)[:16], key(number + 100)[:16]}


def test_the_item_of_another_site_is_left_alone(aws: Aws, worker: Worker) -> None:
    worker.set({1: "r"}, site="another")
    item = worker.read()
    assert aws.make().revoke(mails(1, 2)) == frozenset()
    assert worker.read() == item


@pytest.mark.parametrize("known", [False, True])
def test_a_worker_that_claims_in_between_wins(aws: Aws, worker: Worker, known: bool) -> None:
    if known:
        worker.set({2: "r"})
    aws.front.faults = [Fault(PUT_ITEM, times=1, first=lambda: worker.set({1: "c"}))]
    assert aws.make().revoke(mails(1, 2)) == keys(2)
    assert worker.states() == {key(1)[:16]: "c", key(2)[:16]: "x"}


def test_a_revocation_in_between_wins_over_a_worker(aws: Aws, worker: Worker) -> None:
    read = worker.read

    def read_and_lose(batch: str = BATCH) -> "Item":
        item = read(batch)
        aws.make().revoke(mails(1))
        return item

    worker.read = read_and_lose  # type: ignore[method-assign]
    assert not worker.set({1: "c"})
    worker.read = read  # type: ignore[method-assign]
    assert worker.states() == {key(1)[:16]: "x"}


def test_an_item_that_never_rests_is_given_up(aws: Aws, worker: Worker) -> None:
    aws.front.faults = [Fault(PUT_ITEM, first=lambda: worker.set({9: "c"}))]
    assert aws.make().revoke(mails(1)) == frozenset()
    assert len(aws.front.calls(PUT_ITEM)) == WRITE_TRIES
    assert worker.states() == {key(9)[:16]: "c"}


def test_a_worker_and_two_sidecars_at_once_agree_on_every_mail(aws: Aws, worker: Worker) -> None:
    numbers = list(range(24))
    claimed: set[str] = set()
    revoked: list[frozenset[str]] = []

    def claim() -> None:
        for number in numbers[::2]:
            while (written := worker.claim(number)) is False:
                pass
            if written:
                claimed.add(key(number))

    def revoke(order: int) -> None:
        connector = aws.make()
        revoked.extend(connector.revoke(mails(number)) for number in numbers[::order])

    threads = [
        threading.Thread(target=claim),
        *(threading.Thread(target=revoke, args=[order]) for order in (1, -1)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = frozenset().union(*revoked)
    assert not found & claimed
    states = worker.states()
    assert {name for name, state in states.items() if state == "x"} >= {k[:16] for k in found}
    assert {name for name, state in states.items() if state == "c"} == {k[:16] for k in claimed}


def test_a_write_whose_answer_is_lost_counts(aws: Aws, worker: Worker) -> None:
    aws.front.faults = [Fault(PUT_ITEM, times=1, drop="after")]
    assert aws.make().revoke(mails(1)) == keys(1)
    assert worker.read()["version"]["N"] == "1"


def test_trouble_is_raised_and_what_was_done_stays_done(aws: Aws, worker: Worker) -> None:
    connector = aws.make()
    aws.front.faults = [Fault(PUT_ITEM, drop="after")]
    with pytest.raises(Unavailable, match="ledger table"):
        connector.revoke(mails(1))
    aws.front.faults = [Fault(GET_ITEM, status=400, code="AccessDeniedException")]
    with pytest.raises(AuthFailed, match="IAM"):
        connector.revoke(mails(1))
    aws.front.faults = []
    assert connector.revoke(mails(1)) == keys(1)
    assert worker.read()["version"]["N"] == "1"


def test_without_a_ledger_nothing_is_revoked(aws: Aws) -> None:
    assert aws.make(aws.account(ledger_table="")).revoke(mails(1)) == frozenset()
    assert not aws.front.asked
