"""The rate that all functions share, and messages that are here for the last time."""

import json
import threading
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from cloud_workers.aws import lambda_handler
from cloud_workers.aws.lambda_handler import ConfigurationError, Rate, read_settings
from sidecar.message import BatchStatus, MailStatus
from tests.workers.rig import Context, Rig, make_batch, statuses


class Clock:
    """Time that passes only while somebody rests."""

    def __init__(self) -> None:
        self.now = time.time()
        self.rests: list[float] = []

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(lambda_handler, "now", lambda: made.now)
    monkeypatch.setattr(lambda_handler, "rest", made.rest)
    return made


def test_a_hundred_mails_at_twenty_a_second_take_five_seconds(
    rig: Rig, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_RATE", "20")
    began = clock.now
    sent: list[float] = []
    rig.ses.before = lambda to: sent.append(clock.now - began)
    rig.ask(make_batch(100, first_issued_at=int(began)))
    assert rig.run() == 0
    assert len(rig.ses.taken) == 100
    assert clock.now - began == pytest.approx(4.8, abs=0.3)
    # In no second more than the rate and one window.
    for start in sent:
        assert sum(start <= moment < start + 1 for moment in sent) <= 20 + 8


def test_a_rate_below_one_window_makes_the_window_smaller(
    rig: Rig, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_RATE", "0.5")
    rig.ask(make_batch(3, first_issued_at=int(clock.now)))
    assert rig.run() == 0
    assert rig.ses.most_at_once == 1
    assert sum(clock.rests) == pytest.approx(4, abs=0.1)


class Atomic:
    """DynamoDB changes an item in one piece; threads of moto may lose a change."""

    def __init__(self, client: Any) -> None:
        self._client, self._lock = client, threading.Lock()

    def update_item(self, **arguments: Any) -> Any:
        with self._lock:
            return self._client.update_item(**arguments)


def test_functions_share_the_rate(rig: Rig, clock: Clock) -> None:
    """Twenty threads reserve at the same moment: together they get what one would."""
    atomic = Atomic(rig.dynamodb)
    rates = [Rate(atomic, rig.name, 50) for _ in range(20)]
    waits: list[float] = []

    def reserve(rate: Rate) -> None:
        waits.extend(rate.reserve(5) for _ in range(5))

    threads = [threading.Thread(target=reserve, args=(rate,)) for rate in rates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 500 mails at 50 a second; each reservation begins where another ends.
    assert sorted(waits) == pytest.approx([0.1 * number for number in range(100)], abs=0.01)


def test_what_was_not_used_is_not_saved_up(
    rig: Rig, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = Rate(rig.dynamodb, rig.name, 10)
    assert rate.reserve(10) == pytest.approx(0, abs=1e-5)
    assert rate.reserve(10) == pytest.approx(1, abs=0.01)
    clock.now += 3600
    assert rate.reserve(10) == pytest.approx(0, abs=1e-5)
    assert rate.reserve(1) == pytest.approx(1, abs=0.01)


def test_a_share_that_begins_too_late_goes_back_to_the_queue(
    rig: Rig, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_RATE", "1")
    Rate(rig.dynamodb, rig.name, 1).reserve(100)
    batch = rig.ask(make_batch(3, first_issued_at=int(clock.now)))
    assert rig.run(Context(lambda: 60.0)) == 1
    assert not rig.ses.asked
    assert rig.states(batch) == ["", "", ""]
    clock.now += 200
    assert rig.run(Context(lambda: 60.0)) == 0
    assert len(rig.ses.taken) == 3


@pytest.mark.parametrize("value", ["0", "-1", "fast", "1e3", "1.2.3"])
def test_a_rate_that_cannot_be_meant(rig: Rig, value: str) -> None:
    with pytest.raises(ConfigurationError, match="MAX_RATE"):
        read_settings(rig.environment | {"MAX_RATE": value})


# Messages that are here for the last time


class KilledError(BaseException):
    """The process is gone."""


def receive_until_last(rig: Rig, most: int) -> None:
    for _ in range(most - 1):
        rig.receive()
        rig.wake()


def test_a_poison_message_ends_in_the_dead_letter_queue_and_is_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function dies with a window in flight; whatever killed it would do so again."""
    monkeypatch.setenv("MAX_RECEIVES", "4")
    batch = rig.ask(make_batch(12))
    turn, turns = lambda_handler.Books.turn, []

    def dies_at_the_second(*args: Any) -> Any:
        turns.append(args)
        if len(turns) > 1:
            raise KilledError
        return turn(*args)

    monkeypatch.setattr(lambda_handler.Books, "turn", dies_at_the_second)
    with pytest.raises(KilledError):
        rig.run()
    monkeypatch.setattr(lambda_handler.Books, "turn", turn)
    asked = rig.ses.asked.total()
    later = time.time() + 400  # the lease of the dead function is over
    monkeypatch.setattr(lambda_handler, "now", lambda: later)
    rig.wake()
    rig.receive()
    rig.wake()
    rig.receive()
    rig.wake()
    assert rig.run() == 1
    assert rig.ses.asked.total() == asked
    report = stored(rig)
    assert report["final"]
    by_code = Counter((m["status"], m.get("error_code", "")) for m in report["recipients"])
    assert by_code == {("unknown", "lease_expired"): 8, ("failed", "dead_letter"): 4}
    assert all(m["retryable"] for m in report["recipients"] if m["status"] == "failed")
    assert "aws redrive" in report["errors"][0]
    assert rig.states(batch) == ["u"] * 8 + [""] * 4


def stored(rig: Rig) -> Any:
    return json.loads(rig.page.stored[-1][0])


def test_what_was_given_up_is_sent_after_a_redrive_or_a_new_ask(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_RECEIVES", "3")
    dead = rig.sqs.create_queue(QueueName=f"{rig.name}-dead")["QueueUrl"]
    arn = rig.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 3}
    rig.sqs.set_queue_attributes(
        QueueUrl=rig.queue, Attributes={"RedrivePolicy": json.dumps(policy)}
    )
    batch = rig.ask(make_batch(3))
    receive_until_last(rig, 3)
    assert rig.run() == 1
    assert not rig.receive()["Records"]
    assert len(rig.sqs.receive_message(QueueUrl=dead)["Messages"]) == 1
    (report,) = rig.reports()
    assert report.status is BatchStatus.FAILED
    assert statuses(report) == {MailStatus.FAILED: 3}
    assert not rig.ses.asked
    # The sidecar asks again; then the old message comes back from the dead-letter queue.
    rig.ask(replace(batch, attempt=2))
    assert rig.run() == 0
    assert rig.reports()[-1].status is BatchStatus.SENT
    rig.ask(batch)
    assert rig.run() == 0
    assert set(rig.ses.times().values()) == {1}
    assert len({r.delivery_id for r in rig.reports()}) == len(rig.reports())


def test_without_max_receives_nothing_is_buried(rig: Rig) -> None:
    rig.ask(make_batch(1))
    receive_until_last(rig, 30)
    assert rig.run() == 0
    assert len(rig.ses.taken) == 1


def test_a_ledger_that_does_not_answer_buries_nothing_and_tells_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what was sent: the sidecar asks again, as of any silence."""
    monkeypatch.setenv("MAX_RECEIVES", "2")
    monkeypatch.setenv("TABLE", "no-such-table")
    rig.ask(make_batch(1))
    receive_until_last(rig, 2)
    assert rig.run() == 1
    assert not rig.page.asked
    assert not rig.ses.asked
