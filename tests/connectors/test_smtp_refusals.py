"""What a refusal or a loss means, and for whom: the mail, the connection or the sender."""

import math
from collections import Counter
from dataclasses import replace

import pytest

from sidecar.connectors.base import Verdict
from sidecar.demo.sink import Rule, Sink
from sidecar.lifecycle import Recipient
from tests.connectors.ledger import Ledger
from tests.connectors.mails import make_batch, make_mail
from tests.connectors.smtp_rig import (
    TIMEOUT,
    Make,
    commands,
    submit,
    taken,
)
from tests.support.wait import wait_for

# What a refusal means, and for whom

CODES = ["451 4.3.0", "452 4.2.2", "550 5.7.1", "552 5.3.4", "554 5.6.0", "530 5.7.0"]


@pytest.mark.parametrize("step", ["rcpt", "data", "dot"])
@pytest.mark.parametrize("code", CODES[:-1])
def test_a_refusal_after_mail_from_is_the_mails_own(
    sink: Sink, make: Make, step: str, code: str
) -> None:
    sink.rules = [Rule(step, f"{code} because", times=1)]
    (submission,), ledger = submit(make(connections=1), batch := make_batch(3))
    assert submission.verdict is Verdict.ACCEPTED
    outcome = ledger.outcome[batch.mails[0].id]
    temporary = code < "5"
    assert outcome.status is (Recipient.PENDING if temporary else Recipient.PERMANENTLY_FAILED)
    assert (outcome.error_code, outcome.error) == (code, "because")
    assert outcome.counted
    assert ledger.states(batch.mails)[Recipient.SENT] == len(sink.messages) == 2


def test_a_server_that_takes_one_mail_a_connection_and_lets_in_every_second_is_not_down(
    sink: Sink, make: Make
) -> None:
    sink.rules = [
        Rule("dot", "250 2.0.0 taken", drop=True, keep=True),
        Rule("connect", drop=True, skip=1),
    ]
    connector = make(connections=1)
    submissions, ledger = submit(connector, batch := make_batch(2), make_batch(1))
    assert [(s.verdict, s.progressed) for s in submissions] == [(Verdict.REFUSED, True)] * 2
    assert ledger.states(batch.mails) == {Recipient.SENT: 1, Recipient.PENDING: 1}
    (submission,), _ = submit(connector, make_batch(1))
    assert (submission.verdict, submission.progressed) == (Verdict.REFUSED, False)


def test_a_server_that_takes_only_so_many_mails_by_one_connection(sink: Sink, make: Make) -> None:
    sink.rules = [
        Rule("mail", "452 4.5.3 Too many messages sent", skip=skip, times=1) for skip in (3, 6, 9)
    ]
    (submission,), ledger = submit(make(connections=1), batch := make_batch(10))
    assert submission.verdict is Verdict.ACCEPTED
    assert ledger.states(batch.mails) == {Recipient.SENT: 10}
    assert set(ledger.tries.values()) == {1}
    assert sink.connections == 4
    assert commands(sink)["QUIT"] == 3


@pytest.mark.parametrize(
    ("step", "code"), [*(("mail", code) for code in CODES), ("rcpt", CODES[-1])]
)
def test_a_refused_sender_stops_what_he_sends_and_nothing_else(
    sink: Sink, make: Make, step: str, code: str
) -> None:
    sink.rules = [Rule(step, f"{code} not you", times=1)]
    mine = [make_batch(3), make_batch(3)]
    other = make_batch([make_mail(envelope_from="other@example.test") for _ in range(3)])
    submissions, ledger = submit(make(connections=1), *mine, other)
    verdicts = {s.batch_id: s.verdict for s in submissions}
    too_big = code.startswith("552")
    refused = Verdict.REFUSED if code < "5" else Verdict.REFUSED_FOR_GOOD
    assert [verdicts[b.id] for b in mine] == [Verdict.ACCEPTED if too_big else refused] * 2
    assert verdicts[other.id] is Verdict.ACCEPTED
    assert ledger.states(other.mails) == {Recipient.SENT: 3}
    states = ledger.states(mail for batch in mine for mail in batch.mails)
    if too_big:
        assert states == {Recipient.PERMANENTLY_FAILED: 1, Recipient.SENT: 5}
        return
    assert states == {Recipient.PENDING: 6}
    assert not ledger.tries.keys() & {mail.id for batch in mine for mail in batch.mails}
    assert {(s.code, s.reason) for s in submissions if s.batch_id != other.id} == {
        (code, "not you")
    }


@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "dot"])
def test_421_is_the_connections_and_the_mail_goes_by_the_next(
    sink: Sink, make: Make, step: str
) -> None:
    sink.rules = [Rule(step, "421 4.3.2 enough for one connection", skip=2, times=1)]
    (submission,), ledger = submit(make(connections=1), batch := make_batch(6))
    assert submission.verdict is Verdict.ACCEPTED
    assert ledger.states(batch.mails) == {Recipient.SENT: 6}
    assert max(ledger.tries.values()) == 1
    assert Counter(taken(sink)) == Counter(mail.message_id for mail in batch.mails)
    assert sink.connections == 2


@pytest.mark.parametrize("step", ["mail", "dot"])
def test_a_server_that_says_421_to_every_first_mail_is_left_alone(
    sink: Sink, make: Make, step: str
) -> None:
    sink.rules = [Rule(step, "421 4.3.2 no")]
    submissions, ledger = submit(make(), *(batches := [make_batch(5) for _ in range(4)]))
    assert {(s.verdict, s.code, s.reason) for s in submissions} == {
        (Verdict.REFUSED, "421 4.3.2", "no")
    }
    assert ledger.states(m for b in batches for m in b.mails) == {Recipient.PENDING: 20}
    assert not ledger.tries
    assert sink.connections <= 4


@pytest.mark.parametrize("tries", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(
    "rule", [Rule("rcpt", "450 4.2.0 greylisted"), Rule("data", drop=True)], ids=["450", "lost"]
)
def test_the_ladder_of_tries(sink: Sink, make: Make, tries: int, rule: Rule) -> None:
    sink.rules = [replace(rule, skip=1)]
    batch = make_batch([make_mail(), make_mail(tries=tries)])
    (submission,), ledger = submit(make(connections=1), batch)
    assert submission.verdict is Verdict.ACCEPTED
    outcome = ledger.outcome[batch.mails[1].id]
    assert outcome.counted
    assert outcome.status is (Recipient.PENDING if tries < 3 else Recipient.FAILED)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    "how", [Rule("dot", drop=True), Rule("dot", delay=math.inf), Rule("dot", "?")]
)
def test_an_answer_lost_after_the_final_dot_is_unknown_and_not_sent_again(
    sink: Sink, make: Make, how: Rule, kept: bool
) -> None:
    sink.rules = [replace(how, keep=kept, skip=1, times=1)]
    connector = make({"timeout": TIMEOUT}, connections=1)
    (submission,), ledger = submit(connector, batch := make_batch(4))
    assert submission.verdict is Verdict.ACCEPTED
    assert ledger.states(batch.mails) == {Recipient.SENT: 3, Recipient.UNKNOWN: 1}
    unknown = ledger.outcome[batch.mails[1].id]
    assert unknown.status is Recipient.UNKNOWN
    assert unknown.error
    assert max(Counter(taken(sink)).values()) == 1


def test_a_server_that_never_answers_the_final_dot_costs_one_mail_a_connection(
    sink: Sink, make: Make
) -> None:
    sink.rules = [Rule("dot", delay=math.inf)]
    submissions, ledger = submit(make({"timeout": TIMEOUT}), *(make_batch(20) for _ in range(3)))
    assert {s.verdict for s in submissions} == {Verdict.REFUSED}
    assert 1 <= Counter(ledger.state.values())[Recipient.UNKNOWN] <= 4
    assert set(ledger.state.values()) == {Recipient.UNKNOWN}


@pytest.mark.parametrize("step", ["mail", "rcpt", "data"])
@pytest.mark.parametrize("how", [Rule("", drop=True), Rule("", delay=math.inf), Rule("", "?")])
def test_a_mail_lost_before_the_final_dot_comes_again(
    sink: Sink, make: Make, step: str, how: Rule
) -> None:
    sink.pipelining = False  # test_smtp_ahead.py has the same with it
    sink.rules = [replace(how, step=step, skip=1, times=1)]
    connector = make({"timeout": TIMEOUT}, connections=1)
    (submission,), ledger = submit(connector, batch := make_batch(4))
    assert submission.verdict is Verdict.ACCEPTED
    assert ledger.states(batch.mails) == {Recipient.SENT: 3, Recipient.PENDING: 1}
    outcome = ledger.outcome[batch.mails[1].id]
    assert (outcome.error_code, outcome.counted) == ("lost", True)


@pytest.mark.parametrize("last", ["", "421 4.4.2 idle\r\n"])
def test_a_server_that_leaves_between_two_mails_costs_nothing(
    sink: Sink, make: Make, last: str
) -> None:
    sink.rules = [Rule("dot", f"250 2.0.0 kept, goodbye\r\n{last}".strip(), drop=True, keep=True)]

    def await_end(_: int) -> None:
        # After each mail; not when the mail goes by the next connection.
        wait_for(lambda: not sink.open or sink.connections > sink.accepted, 10, "it has left")

    ledger = Ledger(await_end)
    (submission,), _ = submit(make(connections=1), batch := make_batch(4), ledger=ledger)
    assert submission.verdict is Verdict.ACCEPTED
    assert ledger.states(batch.mails) == {Recipient.SENT: 4}
    assert set(ledger.tries.values()) == {1}
    assert sink.connections == 4
