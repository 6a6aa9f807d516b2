"""What holds the SMTP connector back: the guard, the rate, close."""

import asyncio
import math
import threading
import time
from collections import Counter

import pytest

from sidecar.connectors.base import Submission, Verdict
from sidecar.connectors.smtp import Pacer
from sidecar.demo.sink import Rule, Sink
from sidecar.errors import LeaseLostError
from sidecar.lifecycle import Recipient
from tests.connectors.ledger import Ledger
from tests.connectors.mails import make_batch
from tests.connectors.smtp_rig import (
    Make,
    commands,
    submit,
)
from tests.support.wait import wait_for

# The guard


@pytest.mark.parametrize(("call", "sent"), [(1, 0), (2, 0), (7, 5), (8, 6)])
def test_a_guard_that_says_no_stops_everything(
    sink: Sink, make: Make, call: int, sent: int
) -> None:
    """It is asked twice for the first mail, once for each whose DATA left with the last's dot."""
    calls: list[None] = []

    def guard() -> None:
        calls.append(None)
        if len(calls) >= call:
            raise LeaseLostError

    ledger = Ledger()
    connector = make(guard=guard, connections=1)
    with pytest.raises(LeaseLostError):
        list(connector.submit(iter([make_batch(10)]), ledger))
    assert len(sink.messages) == sent
    states = Counter(ledger.state.values())
    assert states == +Counter({Recipient.SENT: sent, Recipient.PENDING: 1})
    assert len(ledger.tries) == sent


def test_an_error_on_one_connection_stops_the_others(sink: Sink, make: Make) -> None:
    sink.latency = 0.01
    stopped = threading.Event()

    def guard() -> None:
        if len(sink.messages) >= 10:
            stopped.set()
        if stopped.is_set() and name_of_task() == "smtp-0":
            raise LeaseLostError

    ledger = Ledger()
    with pytest.raises(LeaseLostError):
        list(make(guard=guard).submit(iter([make_batch(1_000)]), ledger))
    assert len(sink.messages) < 30
    assert Recipient.PROCESSING not in ledger.state.values()


def name_of_task() -> str:
    task = asyncio.current_task()
    return task.get_name() if task else ""


# The rate


def test_the_pacer_spaces_evenly_and_never_bursts() -> None:
    now = [100.0]
    pacer = Pacer(lambda: 4.0, lambda: now[0])
    assert [pacer.reserve() for _ in range(3)] == [0.0, 0.25, 0.5]
    now[0] = 1_000.0
    assert [pacer.reserve() for _ in range(3)] == [0.0, 0.25, 0.5]
    now[0] += 0.6
    assert pacer.reserve() == pytest.approx(0.15)


def test_the_pacer_follows_the_rate() -> None:
    rate = [0.0]
    pacer = Pacer(lambda: rate[0], lambda: 0.0)
    assert [pacer.reserve() for _ in range(3)] == [0.0, 0.0, 0.0]
    rate[0] = 2.0
    assert [pacer.reserve() for _ in range(3)] == [0.0, 0.5, 1.0]


def test_a_rate_spaces_the_mails_of_all_connections(sink: Sink, make: Make) -> None:
    started = time.monotonic()
    (submission,), _ = submit(make(rate=50.0), make_batch(15))
    assert time.monotonic() - started >= 14 / 50
    assert submission.verdict is Verdict.ACCEPTED
    assert len(sink.messages) == 15


def test_close_does_not_wait_for_the_rate(sink: Sink, make: Make) -> None:
    connector = make(rate=0.001)
    found: list[Submission] = []
    batch = make_batch(5)
    ledger = Ledger()
    submitting = threading.Thread(target=lambda: found.extend(connector.submit([batch], ledger)))
    submitting.start()
    wait_for(lambda: Recipient.SENT in ledger.state.values(), 10, "the first mail is on record")
    connector.close(time.monotonic() + 30)
    submitting.join(10)
    assert [(s.verdict, s.code) for s in found] == [(Verdict.REFUSED, "closed")]
    assert ledger.states(batch.mails) == {Recipient.SENT: 1, Recipient.PENDING: 4}


# Closing


@pytest.mark.parametrize(
    ("step", "state"), [("dot", Recipient.UNKNOWN), ("mail", Recipient.PENDING), ("ehlo", None)]
)
def test_close_cuts_off_what_hangs_at_the_deadline(
    sink: Sink, make: Make, step: str, state: Recipient | None
) -> None:
    hang = Rule(step, delay=math.inf)
    sink.rules = [hang]
    connector = make({"timeout": 300.0}, connections=1)
    found: list[Submission] = []
    ledger = Ledger()
    submitting = threading.Thread(
        target=lambda: found.extend(connector.submit([make_batch(5)], ledger))
    )
    submitting.start()
    wait_for(lambda: hang.times < Rule("").times, 10, "the server hangs")
    connector.close(time.monotonic() + 0.2)
    submitting.join(10)
    assert not submitting.is_alive()
    assert set(ledger.state.values()) == ({state} if state else set())
    assert [(s.verdict, s.code) for s in found] == [(Verdict.REFUSED, "closed")]


def test_close_says_quit(sink: Sink, make: Make) -> None:
    connector = make(connections=2)
    submit(connector, make_batch(10))
    connector.close(time.monotonic() + 10)
    wait_for(lambda: not sink.open, 10, "every connection has ended")
    assert commands(sink)["QUIT"] == sink.connections
