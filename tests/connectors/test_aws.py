"""The AWS connector: the contract of all connectors, and what becomes a call."""

import random
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import ClassVar

import pytest

from sidecar.connectors.aws import MAX_BYTES
from sidecar.connectors.aws_submit import CALL_BYTES
from sidecar.connectors.base import Submission, Verdict
from sidecar.errors import DatabaseError, LeaseLostError
from sidecar.mail import Attachment, Content, MailBatch
from sidecar.message import encode_batch, parse_envelope
from sidecar.packing import pack
from tests.connectors.aws_rig import (
    ATTRIBUTES,
    KEY,
    SEND,
    SITE,
    Aws,
    Fault,
    Moto,
    message_ids,
    moto_server,
    payload,
    submit,
)
from tests.connectors.contract import ConnectorContract, Provider, assert_one_each, close, ids
from tests.connectors.ledger import Ledger
from tests.connectors.mails import make_batch, make_mail
from tests.support.wait import wait_for

BATCH = "0" * 32


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with moto_server() as running:
        yield running


@pytest.fixture
def aws(moto: Moto) -> Iterator[Aws]:
    with Aws(moto) as made:
        yield made


class TestAwsContract(ConnectorContract):
    """The contract, before moto."""

    appetite: ClassVar[int] = 12

    @pytest.fixture
    def healthy(self, aws: Aws) -> Provider:
        return Provider(aws.make(calls=1), aws.taken, report=aws.report)

    @pytest.fixture
    def wrong_credentials(self, aws: Aws) -> Provider:
        aws.front.faults = [
            Fault(status=403, code="InvalidClientTokenId", message="The security token is invalid.")
        ]
        return Provider(aws.make(), aws.taken)

    @pytest.fixture
    def unreachable(self, aws: Aws) -> Provider:
        account = aws.account(endpoint_url="http://localhost:1")
        return Provider(aws.make(account), aws.taken)

    @pytest.fixture
    def picky(self, aws: Aws) -> Provider:
        return Provider(aws.make(), aws.taken)

    @pytest.fixture(params=["entries", "then throttled", "then in trouble"])
    def failing(self, request: pytest.FixtureRequest, aws: Aws) -> Provider:
        aws.front.faults = {
            "entries": [Fault(SEND, entries={0: ("InternalError", False), 2: ("Other", True)})],
            "then throttled": [Fault(SEND, skip=1, code="ThrottlingException")],
            "then in trouble": [Fault(SEND, skip=1, status=503, body=b"<html>")],
        }[request.param]
        return Provider(aws.make(hold=0), aws.taken, aws.front.faults.clear)

    @pytest.fixture
    def throttling(self, aws: Aws) -> Provider:
        aws.front.faults = [Fault(code="RequestThrottled", message="Rate exceeded")]
        return Provider(aws.make(), aws.taken, aws.front.faults.clear)


# What a call carries


def test_a_message_says_what_the_contract_promises(aws: Aws) -> None:
    batch = replace(make_batch(3), company_id=7, job_type="user_create", attempt=2, batch_num=4)
    before = int(time.time())
    (submission,) = submit(aws.make(), [batch])
    (message,) = aws.messages()
    assert submission == Submission(batch.id, Verdict.ACCEPTED, message.id)
    assert message.group_id == "7"
    said = payload(message.body)
    assert {name: said[name] for name in ("site_uid", "batch_key", "attempt", "company_id")} == {
        "site_uid": SITE,
        "batch_key": batch.batch_key,
        "attempt": 2,
        "company_id": 7,
    }
    assert message_ids(message.body) == ids([batch])
    (call,) = aws.front.calls(SEND)
    (entry,) = call["Entries"]
    assert entry.keys() == {"Id", "MessageBody", "MessageGroupId"}
    assert before <= parse_envelope(message.body).timestamp <= time.time()


def test_ten_batches_share_a_call_and_the_eleventh_does_not(aws: Aws) -> None:
    batches = [replace(make_batch(1), company_id=number % 4) for number in range(11)]
    submissions = submit(aws.make(hold=60, calls=1), batches)
    assert aws.front.sizes() == [10, 1]
    by_id = {message.id: message for message in aws.messages()}
    for batch, submission in zip(batches, submissions, strict=True):
        message = by_id[submission.provider_id]
        assert message_ids(message.body) == ids([batch])
        assert message.group_id == str(batch.company_id)


def test_a_message_does_not_wait_for_others_that_are_slow(aws: Aws) -> None:
    submit(aws.make(hold=0, calls=1), [make_batch(1) for _ in range(4)])
    assert aws.front.sizes() == [1, 1, 1, 1]


def test_a_message_of_the_largest_size_is_sent_and_one_byte_more_is_not(aws: Aws) -> None:
    fits, larger = sized(MAX_BYTES), sized(MAX_BYTES + 1)
    first, second, third = submit(aws.make(), [larger, fits, make_batch(1)])
    assert (first.verdict, first.code) == (Verdict.REFUSED_FOR_GOOD, "too_large")
    assert f"{MAX_BYTES + 1:,}" in first.reason
    assert {second.verdict, third.verdict} == {Verdict.ACCEPTED}
    assert max(len(message.body) for message in aws.messages()) == MAX_BYTES
    assert len(aws.messages()) == 2


@pytest.mark.parametrize(("more", "calls"), [(0, [2]), (1, [1, 1])])
def test_a_call_is_filled_to_the_last_byte(aws: Aws, more: int, calls: list[int]) -> None:
    batches = [sized(500_000), sized(CALL_BYTES - 500_000 + more)]
    submissions = submit(aws.make(hold=60, calls=1), batches)
    assert {s.verdict for s in submissions} == {Verdict.ACCEPTED}
    assert aws.front.sizes() == calls


def sized(size: int) -> MailBatch:
    """A batch whose message has so many bytes."""
    attachment = Attachment("x", "image/png", noise(size // 2))
    mail = make_mail(content=Content("x", "x", "x", (attachment,)))
    batch = make_batch([mail])
    length = len(encode_batch(batch, SITE, KEY, int(time.time())))
    assert length <= size
    return replace(batch, job_type="x" * (size - length))


def noise(size: int) -> bytes:
    """What does not compress."""
    return random.Random(size).randbytes(size)


def test_packing_asks_the_queue_once_how_much_it_takes(aws: Aws) -> None:
    data = noise(150_000)
    mails = [
        make_mail(content=Content("x", "x", "x", (Attachment("x", "image/png", data),)))
        for _ in range(6)
    ]
    huge = make_mail(content=Content("x", noise(1_000_000).hex(), "x"))
    connector = aws.make()
    packed = pack([*mails, huge], limit=connector.max_bytes(), batch_size=100, batch_key=BATCH)
    assert [len(group) for group in packed.groups] == [5, 1]
    assert packed.too_large == (huge,)
    aws.sqs.set_queue_attributes(
        QueueUrl=aws.url(aws.jobs), Attributes={"MaximumMessageSize": "262144"}
    )
    connector = aws.make()
    packed = pack(mails, limit=connector.max_bytes(), batch_size=100, batch_key=BATCH)
    assert [len(group) for group in packed.groups] == [1] * 6
    batches = [make_batch(group) for group in packed.groups]
    assert {s.verdict for s in submit(connector, batches)} == {Verdict.ACCEPTED}
    (refused,) = submit(connector, [make_batch(mails[:2])])
    assert (refused.verdict, refused.code) == (Verdict.REFUSED_FOR_GOOD, "too_large")
    assert "262,144" in refused.reason
    assert len(aws.front.calls(ATTRIBUTES)) == 2
    probe = connector.probe()
    assert probe.ok
    assert "262,144" in probe.detail


def test_packing_goes_on_if_the_queue_does_not_say_how_much_it_takes(aws: Aws) -> None:
    aws.front.faults = [Fault(ATTRIBUTES, status=403, code="AccessDenied")]
    connector = aws.make()
    assert connector.max_bytes() == MAX_BYTES
    assert connector.max_bytes() == MAX_BYTES
    assert len(aws.front.calls(ATTRIBUTES)) == 1
    (submission,) = submit(connector, [sized(MAX_BYTES)])
    assert submission.verdict is Verdict.ACCEPTED


# Taking batches


def test_no_more_batches_are_taken_than_calls_can_carry(aws: Aws) -> None:
    gate = threading.Event()
    aws.front.faults = [
        Fault(SEND, gate=gate, times=1),
        Fault(SEND, gate=(second := threading.Event())),
    ]
    asked: list[MailBatch] = []
    connector = aws.make(calls=3, hold=60)

    def batches() -> Iterator[MailBatch]:
        while len(asked) < 100:
            asked.append(make_batch(1))
            yield asked[-1]

    found: list[Submission] = []
    thread = threading.Thread(target=lambda: found.extend(connector.submit(batches(), Ledger())))
    thread.start()
    wait_for(lambda: aws.front.waiting == 1, 30, "the first call")
    assert len(asked) == 10
    gate.set()
    wait_for(lambda: aws.front.waiting == 3, 30, "as many calls as may be")
    assert len(asked) == 40
    second.set()
    thread.join(60)
    assert_one_each(found, asked)
    assert {s.verdict for s in found} == {Verdict.ACCEPTED}
    assert len(aws.messages()) == 100


def test_leaving_early_leaves_the_rest_of_the_batches(aws: Aws) -> None:
    batches = iter([make_batch(1) for _ in range(50)])
    submissions = aws.make(calls=1, hold=0).submit(batches, Ledger())
    assert next(submissions).verdict is Verdict.ACCEPTED
    close(submissions)
    sent = len(aws.messages())
    assert len(list(batches)) >= 50 - sent - 1
    assert len(aws.messages()) == sent


@pytest.mark.parametrize("hold", [0, 60])
def test_what_was_taken_when_the_lease_is_lost_is_refused_and_not_sent(
    aws: Aws, hold: float
) -> None:
    lost = threading.Event()

    def guard() -> None:
        if lost.is_set():
            raise LeaseLostError

    def batches() -> Iterator[MailBatch]:
        yield from given[:3]
        lost.set()
        yield given[3]

    given = [make_batch(1) for _ in range(4)]
    connector = aws.make(guard=guard, hold=hold, calls=1)
    found: list[Submission] = []
    with pytest.raises(LeaseLostError):
        keep(connector.submit(batches(), Ledger()), found)
    sent = 0 if hold else 3
    assert len(aws.messages()) == sent
    assert [s.verdict for s in found].count(Verdict.REFUSED) == 4 - sent


def test_what_was_taken_when_the_batches_fail_is_refused_and_not_sent(aws: Aws) -> None:
    def batches() -> Iterator[MailBatch]:
        yield from given
        raise DatabaseError

    given = [make_batch(1) for _ in range(3)]
    found: list[Submission] = []
    with pytest.raises(DatabaseError):
        keep(aws.make(hold=60).submit(batches(), Ledger()), found)
    assert_one_each(found, given)
    assert {s.verdict for s in found} == {Verdict.REFUSED}
    assert not aws.messages()


def keep(submissions: Iterable[Submission], found: list[Submission]) -> None:
    """Keep also what comes before an error; ``extend`` would not promise it."""
    for submission in submissions:
        found += [submission]


# Closing


def test_close_waits_for_the_call_in_flight_and_refuses_what_was_gathered(aws: Aws) -> None:
    gate = threading.Event()
    aws.front.faults = [Fault(SEND, gate=gate)]
    given = [make_batch(1) for _ in range(12)]
    connector = aws.make(calls=1, hold=0)
    found: list[Submission] = []
    thread = threading.Thread(target=lambda: found.extend(connector.submit(iter(given), Ledger())))
    thread.start()
    wait_for(lambda: aws.front.waiting == 1, 30, "a call in flight")
    started = time.monotonic()
    connector.close(started + 0.2)
    assert 0.2 <= time.monotonic() - started < 5
    assert not found
    gate.set()
    thread.join(30)
    assert [s.verdict for s in found] == [Verdict.ACCEPTED]
    assert len(aws.messages()) == 1
    connector.close(time.monotonic() + 5)


def test_close_before_a_submit_begins_to_work(aws: Aws) -> None:
    connector = aws.make()
    submissions = connector.submit(iter([make_batch(1)]), Ledger())
    aws.front.faults = [Fault(ATTRIBUTES, first=lambda: connector.close(time.monotonic() + 5))]
    assert list(submissions) == []
    assert not aws.messages()
