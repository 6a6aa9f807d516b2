"""How many connections to a server pay: against servers that are sums, and a real sink."""

import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.connectors.smtp_growth import (
    LONGEST_RESPECT,
    PATIENCE,
    RESPECT,
    ROUNDS,
    WINDOW,
    Growth,
)
from sidecar.demo.sink import Rule, Sink
from sidecar.lifecycle import Recipient
from sidecar.mail import MailBatch
from tests.connectors.ledger import Ledger
from tests.connectors.mails import make_batch
from tests.connectors.smtp_rig import Make, submit
from tests.support.wait import wait_for


@dataclass
class Rig:
    """A server and a sidecar as sums. All in seconds a mail.

    latency: what a mail waits for, however many connections there are; busy: what only one mail
    at a time can have, of the server or of us. tried: how often there were more connections.
    """

    latency: float
    busy: float = 0.001
    now: float = 0.0
    tried: int = 0

    def run(self, growth: Growth, seconds: float) -> int:
        """Send for so long; the most connections that there were."""
        end, most = self.now + seconds, growth.wanted
        growth.begin(self.now)
        while self.now < end:
            self.now += max(self.busy, (self.latency + self.busy) / growth.wanted)
            before = growth.wanted
            growth.answered(self.now)
            self.tried += growth.wanted > before
            most = max(most, growth.wanted)
        return most


@given(
    events=st.lists(
        st.tuples(st.sampled_from(["answered", "objected", "lost", "begin"]), st.floats(0, 5))
    ),
    fewest=st.integers(1, 10),
    more=st.integers(0, 40),
    bearable=st.integers(1, 60),
)
def test_never_more_than_the_most_nor_none(
    events: list[tuple[str, float]], fewest: int, more: int, bearable: int
) -> None:
    growth = Growth(fewest, fewest + more)
    now = 0.0
    for event, seconds in events:
        now += seconds
        before = growth.wanted
        match event:
            case "answered":
                for _ in range(30):
                    growth.answered(now)
            case "objected":
                growth.objected(now, bearable)
                assert growth.wanted == min(before, bearable)
            case "lost":
                growth.lost(now)
            case _:
                growth.begin(now)
        assert 1 <= growth.wanted <= fewest + more


@given(latency=st.floats(0.01, 1.0))
def test_where_latency_limits_it_grows_to_the_most(latency: float) -> None:
    growth = Growth(4, 20)
    assert Rig(latency, busy=latency / 100).run(growth, 60 * latency + 5) == 20


@given(busy=st.floats(0.001, 0.05), part=st.floats(0.0, 1.5))
def test_where_something_is_busy_it_stays_as_it_is(busy: float, part: float) -> None:
    growth, rig = Growth(4, 20), Rig(busy * part, busy=busy)
    both_measured = max(WINDOW, ROUNDS * 4 * busy) + max(WINDOW, ROUNDS * 8 * busy)
    assert rig.run(growth, both_measured + 2 * busy) == 8
    assert growth.wanted == 4
    assert rig.run(growth, PATIENCE - 1) == 4


def test_what_does_not_pay_is_tried_ever_more_seldom() -> None:
    growth, rig = Growth(4, 20), Rig(0.0, busy=0.01)
    rig.run(growth, 1_000.0)
    early, rig.tried = rig.tried, 0
    rig.run(growth, 1_000.0)
    assert 5 <= early <= 10
    assert 1 <= rig.tried <= 4


def test_when_the_latency_is_gone_so_are_the_connections() -> None:
    growth, rig = Growth(4, 20), Rig(0.1)
    rig.run(growth, 20)
    assert growth.wanted == 20
    rig.latency = 0.0005
    rig.run(growth, 4 * PATIENCE + 20)
    assert growth.wanted in {4, 8}
    rig.latency = 0.1
    rig.run(growth, 400)
    assert growth.wanted == 20


def test_an_objection_is_believed_for_twice_as_long_each_time() -> None:
    growth, rig = Growth(4, 20), Rig(0.1)
    respect = RESPECT
    for _ in range(8):
        rig.run(growth, 400)
        assert growth.wanted > 6
        growth.objected(rig.now, 6)
        growth.objected(rig.now, 5)
        assert rig.run(growth, respect - 1) == 5
        respect = min(2 * respect, LONGEST_RESPECT)


def test_an_outage_is_no_objection() -> None:
    growth, rig = Growth(4, 20), Rig(0.1)
    for left in (3, 2, 1):
        growth.objected(rig.now, left)
    growth.lost(rig.now)
    assert growth.wanted == 4
    assert rig.run(growth, 20) == 20


# With a server


def batches(mails: int) -> list[MailBatch]:
    return [make_batch(50) for _ in range(mails // 50)]


def test_a_slow_server_gets_more_connections_and_no_more_mails_in_flight(
    sink: Sink, make: Make
) -> None:
    sink.latency = 0.05
    connector = make(connections=2, max_connections=6)
    _, ledger = submit(connector, *batches(150))
    assert set(ledger.state.values()) == {Recipient.SENT}
    assert ledger.most_in_flight == 6


def test_a_server_that_lets_no_more_in_keeps_what_it_has(sink: Sink, make: Make) -> None:
    sink.latency, sink.max_connections = 0.05, 4
    connector = make(connections=2, max_connections=20)
    _, ledger = submit(connector, *batches(100))
    assert set(ledger.state.values()) == {Recipient.SENT}
    assert ledger.most_in_flight == 4
    tried = sink.connections
    submit(connector, make_batch(50))
    assert sink.connections == tried


@pytest.mark.parametrize(
    ("reply", "then"),
    [
        ("452 4.3.1 too busy", 2),
        ("550 5.7.1 not you", 4),
        ("421 4.3.2 down", 4),  # no connection was left: that is an outage
    ],
)
def test_a_refusal_at_mail_for_now_halves_the_connections(
    sink: Sink, make: Make, reply: str, then: int
) -> None:
    sink.latency = 0.01
    connector = make(connections=4)
    submit(connector, make_batch(50))
    sink.rules = [Rule("mail", reply)]
    submit(connector, make_batch(50))
    assert connector.growth.wanted == then
    sink.rules.clear()
    _, ledger = submit(connector, make_batch(50))
    assert ledger.most_in_flight == then


def test_connections_too_many_are_closed_after_their_mail(sink: Sink, make: Make) -> None:
    connector = make(connections=4)

    def shrink(call: int) -> None:
        if call == 40:
            connector.growth.objected(time.monotonic(), 1)

    ledger = Ledger(shrink)
    submit(connector, *batches(200), ledger=ledger)
    assert set(ledger.state.values()) == {Recipient.SENT}
    assert most_in_flight(ledger, 0) == 4
    assert most_in_flight(ledger, 60) == 1
    wait_for(lambda: len(sink.open) == 1, 10, "the others are closed")


def most_in_flight(ledger: Ledger, first: int) -> int:
    """The most mails in flight from the report of this number on."""
    processing: set[int] = set()
    most = 0
    for number, call in enumerate(ledger.calls):
        for outcome in call:
            started = outcome.status is Recipient.PROCESSING
            (processing.add if started else processing.discard)(outcome.mail_id)
        most = max(most, len(processing)) if number >= first else 0
    return most
