"""A function that dies: what it had in flight is unknown, everything else is sent by the next."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloud_workers.aws import lambda_handler
from cloud_workers.aws.lambda_handler import Books, Ledger
from sidecar.mail import MailBatch
from sidecar.message import MailStatus
from tests.support.wait import wait_for
from tests.workers.rig import Refuse, Rig, make_batch, retried, statuses

LEASE = 300

KILLED = """
import json, sys
from cloud_workers.aws.lambda_handler import handler

class Context:
    def get_remaining_time_in_millis(self):
        return 300_000

handler(json.load(sys.stdin), Context())
"""


class Died(BaseException):
    """The function's process is gone: nothing of its code may go on."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the worker's clock is ahead."""
    ahead = [0.0]
    monkeypatch.setattr(lambda_handler, "now", lambda: time.time() + ahead[0])
    return ahead


def dies(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, nth: int, after: bool) -> None:
    """The function dies before or after the n-th call of this."""
    real, calls = getattr(owner, name), itertools.count(1)

    def call(*args: Any, **kwargs: Any) -> Any:
        number = next(calls)
        if number == nth and not after:
            raise Died
        answer = real(*args, **kwargs)
        if number == nth:
            raise Died
        return answer

    monkeypatch.setattr(owner, name, call)


def comes_again(rig: Rig, batch: MailBatch, clock: list[float]) -> None:
    """The queue brings the message again: first while the dead function's lease lasts."""
    rig.wake()
    asked = rig.ses.asked.total()
    assert rig.run() == 1
    assert rig.ses.asked.total() == asked
    assert rig.delays()[0] in range(LEASE - 20, LEASE + 20)
    clock[0] += LEASE + 20
    rig.wake()
    assert rig.run() == 0
    clock[0] = 0  # reports() checks that they were signed now


@pytest.mark.parametrize("nth", [1, 8, 9, 20])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_death_around_a_send(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, clock: list[float], nth: int, after: bool
) -> None:
    batch = rig.ask(make_batch(20))
    with monkeypatch.context() as patch:
        dies(patch, lambda_handler, "send", nth, after)
        with pytest.raises(Died):
            rig.run()
    recorded = (nth - 1) // 8 * 8
    letters = Counter(rig.states(batch))
    assert letters["s"] == recorded
    assert 0 < letters["c"] <= 8
    comes_again(rig, batch, clock)
    assert Counter(rig.states(batch)) == {"u": letters["c"], "s": 20 - letters["c"]}
    assert set(rig.ses.times().values()) == {1}
    assert 20 - len(rig.ses.taken) <= letters["c"]
    assert [mail["error_code"] for mail in last(rig) if mail["status"] == "unknown"] == [
        "lease_expired"
    ] * letters["c"]


def last(rig: Rig) -> list[dict[str, Any]]:
    """The recipients of the last report."""
    found: list[dict[str, Any]] = json.loads(rig.page.stored[-1][0])["recipients"]
    return found


@pytest.mark.parametrize("nth", range(1, 6))
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_death_around_each_write_of_the_ledger(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, clock: list[float], nth: int, after: bool
) -> None:
    """20 mails: lease; claim 8; record and claim 8; record and claim 4; record and end."""
    batch = rig.ask(make_batch(20))
    with monkeypatch.context() as patch:
        dies(patch, Ledger, "save", nth, after)
        with pytest.raises(Died):
            rig.run()
    ended = nth == 5 and after
    free = nth == 1 and not after
    if ended or free:
        rig.wake()
        assert rig.run() == 0
    else:
        comes_again(rig, batch, clock)
    sent = rig.ses.times()
    assert set(sent.values()) == {1}
    letters = Counter(rig.states(batch))
    written = nth if after else nth - 1
    uncertain = {2: 8, 3: 8, 4: 4}.get(written, 0)
    assert letters == Counter({"s": 20 - uncertain}) + Counter({"u": uncertain})
    by_status = Counter(mail["status"] for mail in last(rig))
    assert by_status == Counter({"sent": 20 - uncertain}) + Counter({"unknown": uncertain})


def test_death_before_the_report(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.ask(make_batch(3))
    with monkeypatch.context() as patch:
        dies(patch, lambda_handler, "post", 1, after=False)
        with pytest.raises(Died):
            rig.run()
    rig.wake()
    assert rig.run() == 0
    (report,) = rig.reports()
    assert statuses(report) == {MailStatus.SENT: 3}
    assert len(rig.ses.taken) == 3


def test_death_after_the_report(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.ask(make_batch(3))
    with monkeypatch.context() as patch:
        dies(patch, lambda_handler, "post", 1, after=True)
        with pytest.raises(Died):
            rig.run()
    rig.wake()
    assert rig.run() == 0
    first, second = rig.reports()
    assert first == second


def failed_batches(rig: Rig) -> tuple[list[MailBatch], MailBatch]:
    """Six batches whose three mails each have failed, and the batch that retries all of them."""
    batches = [make_batch(3) for _ in range(6)]
    rig.ses.mood = lambda to, nth: Refuse(400, "Odd", "no")
    for batch in batches:
        rig.ask(batch)
    rig.run()
    rig.ses.reset()
    mails = [mail for batch in batches for mail in retried(batch, batch.mails).mails]
    return batches, make_batch(mails)


@pytest.mark.parametrize("nth", [1, 7, 8, 10, 11, 13, 14, 15, 16, 20, 24, 26])
def test_death_in_a_batch_of_many_roots(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, clock: list[float], nth: int
) -> None:
    """Seven leases, then windows of eight that lie in three or four items each."""
    batches, child = failed_batches(rig)
    rig.ask(child)
    with monkeypatch.context() as patch:
        dies(patch, Ledger, "save", nth, after=True)
        with pytest.raises(Died):
            rig.run()
    claimed = sum(Counter(rig.states(batch))["c"] for batch in batches)
    assert claimed <= 8
    clock[0] += LEASE + 20
    rig.wake()
    assert rig.run() == 0
    assert set(rig.ses.times().values()) <= {1}
    letters = sum((Counter(rig.states(batch)) for batch in batches), Counter[str]())
    assert letters == Counter({"u": claimed}) + Counter({"s": 18 - claimed})
    assert Counter(mail["status"] for mail in last(rig))["sent"] == 18 - claimed


@pytest.mark.parametrize("nth", range(10, 18))
def test_a_death_between_the_items_leaves_one_window_uncertain(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """Mails that never failed go first, although the items that hold them are the last."""
    batches, child = failed_batches(rig)
    for batch in sorted(batches, key=lambda batch: batch.batch_key)[3:]:
        rig.dynamodb.delete_item(TableName=rig.name, Key={"batch_key": {"S": batch.batch_key}})
    rig.ask(child)
    with monkeypatch.context() as patch:
        dies(patch, Ledger, "save", nth, after=True)
        with pytest.raises(Died):
            rig.run()
    assert sum(Counter(rig.states(batch))["c"] for batch in batches) <= 8


def test_a_report_after_a_crash_is_never_taken_for_an_old_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    """All deferred, and reported; a copy of the message sends all, and dies at the very end."""
    _, child = failed_batches(rig)
    rig.ses.mood = lambda to, nth: Refuse(400, "LimitExceededException", "quota")
    rig.ask(child)
    assert rig.run() == 0
    rig.ses.reset()
    rig.ask(child)
    with monkeypatch.context() as patch:
        dies(patch, Books, "_free", 7, after=False)  # the child's own item is the last
        with pytest.raises(Died):
            rig.run()
    assert len(rig.ses.taken) == 18
    clock[0] += LEASE + 20
    rig.wake()
    assert rig.run() == 0
    deferred, sent = (json.loads(body) for body, _ in rig.page.stored[-2:])
    assert {mail["status"] for mail in sent["recipients"]} == {"sent"}
    assert deferred["delivery_id"] != sent["delivery_id"]
    assert len(rig.ses.taken) == 18


def test_a_killed_process(rig: Rig, clock: list[float]) -> None:
    """SIGKILL while eight mails are at SES: four were taken, the answers of four are on the way."""
    batch = rig.ask(make_batch(30))
    event = rig.receive()
    seen: list[str] = []

    def hold_some(to: str) -> None:
        with rig.ses.lock:
            seen.append(to)
            held = 12 < len(seen) <= 16
        if held:
            rig.ses.hung.wait(30)

    rig.ses.before = hold_some
    with subprocess.Popen(
        [sys.executable, "-c", KILLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **rig.environment},
    ) as process:
        assert process.stdin
        process.stdin.write(json.dumps(event))
        process.stdin.close()
        wait_for(lambda: len(seen) == 16 and len(rig.ses.taken) == 12, 60, "the second window")
        process.kill()
    rig.ses.hung.set()
    wait_for(lambda: len(rig.ses.taken) == 16, 30, "SES takes what it had")
    assert Counter(rig.states(batch)) == {"s": 8, "c": 8, "": 14}
    comes_again(rig, batch, clock)
    assert Counter(rig.states(batch)) == {"s": 22, "u": 8}
    assert rig.ses.times() == Counter({mail.mail_key: 1 for mail in batch.mails})
    report = Counter(mail["status"] for mail in last(rig))
    assert report == {"sent": 22, "unknown": 8}


def test_a_function_that_wakes_up_late_claims_nothing_more(
    rig: Rig, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """It was frozen longer than its lease; meanwhile another has taken the rest."""
    batch = make_batch(20)
    rig.ask(batch)
    rig.ask(batch)
    one, two = rig.receive()["Records"]
    other: list[int] = []

    def freeze(to: str) -> None:
        with rig.ses.lock:
            if other:
                return
            other.append(1)
        clock[0] += LEASE + 20
        rig.call({"Records": [two]})

    rig.ses.before = freeze
    assert rig.call({"Records": [one]}) == 1
    assert "LeaseLost" in capsys.readouterr().out
    clock[0] = 0
    assert set(rig.ses.times().values()) == {1}
    assert len(rig.ses.taken) == 20
    assert rig.states(batch) == ["s"] * 20  # what the first learnt late is recorded, too
    rig.wake()
    assert rig.run() == 0
    first, second = (json.loads(body) for body, _ in rig.page.stored)
    assert Counter(mail["status"] for mail in first["recipients"]) == {"sent": 12, "unknown": 8}
    assert Counter(mail["status"] for mail in second["recipients"]) == {"sent": 20}
    assert first["delivery_id"] != second["delivery_id"]


def test_a_ledger_that_cannot_be_reached_sends_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TABLE", "no-such-table")
    rig.ask(make_batch(3))
    assert rig.run() == 1
    assert rig.delays() == [30]
    assert not rig.ses.asked
    monkeypatch.setenv("TABLE", rig.name)
    rig.wake()
    assert rig.run() == 0
    assert len(rig.ses.taken) == 3


def test_an_attempt_after_a_crash_sends_the_rest(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    """The first message never comes again (a dead-letter queue): the sidecar asks anew."""
    batch = rig.ask(make_batch(20))
    with monkeypatch.context() as patch:
        dies(patch, lambda_handler, "send", 10, after=True)
        with pytest.raises(Died):
            rig.run()
    rig.sqs.purge_queue(QueueUrl=rig.queue)
    rig.ask(replace(batch, attempt=2))
    clock[0] += LEASE + 20
    assert rig.run() == 0
    assert Counter(rig.states(batch)) == {"s": 12, "u": 8}
    assert set(rig.ses.times().values()) == {1}
