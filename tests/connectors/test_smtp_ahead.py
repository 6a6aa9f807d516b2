"""Commands of the next mail that leave with the last mail's final dot (RFC 2920 §3.1)."""

import math
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from sidecar.connectors.base import Verdict
from sidecar.connectors.smtp import SmtpConnector
from sidecar.connectors.smtp_servers import CAUTION
from sidecar.connectors.smtp_session import STREAMED, Fate, Transaction
from sidecar.demo.sink import Rule, Sink
from sidecar.lifecycle import Recipient
from sidecar.mail import Content, MailBatch
from tests.connectors.conftest import Authority
from tests.connectors.ledger import Ledger
from tests.connectors.mails import make_batch, make_mail
from tests.connectors.smtp_rig import (
    MESSAGE,
    RECIPIENT,
    SENDER,
    TIMEOUT,
    Make,
    commands,
    connected,
    submit,
    taken,
)
from tests.support.wait import wait_for


def begun(sink: Sink) -> int:
    """Mails whose DATA the server has seen."""
    return sum(line == "DATA" for _, line in sink.log)


# A session


@pytest.fixture
def mails() -> list[Transaction]:
    return [Transaction(SENDER, f"user{n}@example.test", MESSAGE) for n in range(3)]


def test_what_was_begun_is_said_once(sink: Sink, mails: list[Transaction]) -> None:
    with connected(sink) as session:
        for mail, following in zip(mails, [*mails[1:], None], strict=True):
            assert session.go_on(mail, following).fate is Fate.ACCEPTED
            assert session.session.begun is following
            wait_for(lambda: begun(sink) == min(3, len(sink.messages) + 1), 10, "the next begun")
    assert [m.recipients[0] for m in sink.messages] == [mail.recipient for mail in mails]
    assert commands(sink) == {"EHLO": 1, "MAIL": 3, "RCPT": 3, "DATA": 3}
    assert sink.connections == 1


def test_the_same_over_tls(authority: Authority, mails: list[Transaction]) -> None:
    with (
        Sink(tls=authority.server("127.0.0.1")) as sink,
        connected(sink, secure="tls", ca_file=authority.file) as session,
    ):
        for mail, following in zip(mails, [*mails[1:], None], strict=True):
            assert session.go_on(mail, following).fate is Fate.ACCEPTED
    assert len(sink.messages) == 3
    assert commands(sink)["MAIL"] == 3


def test_a_server_without_pipelining_gets_nothing_in_advance(mails: list[Transaction]) -> None:
    with Sink(pipelining=False) as sink, connected(sink) as session:
        assert session.go_on(mails[0], mails[1]).fate is Fate.ACCEPTED
        assert session.session.begun is None
        assert commands(sink)["MAIL"] == 1


def test_a_mail_over_the_limit_of_the_server_is_not_begun(mails: list[Transaction]) -> None:
    with Sink(size=1_000) as sink, connected(sink) as session:
        large = Transaction(SENDER, RECIPIENT, MESSAGE + b"x" * 1_000 + b"\r\n")
        assert session.go_on(mails[0], large).fate is Fate.ACCEPTED
        assert session.session.begun is None
        assert session.go_on(large).fate is Fate.REFUSED_PERMANENTLY
        assert session.go_on(mails[1]).fate is Fate.ACCEPTED


def test_only_what_was_begun_can_be_sent_until_it_is_withdrawn(
    sink: Sink, mails: list[Transaction]
) -> None:
    with connected(sink) as session:
        session.go_on(mails[0], mails[1])
        with pytest.raises(ValueError, match="another mail was begun"):
            session.go_on(mails[2])
        assert session.go_on(mails[1], mails[2]).fate is Fate.ACCEPTED
        session.session.withdraw()
        assert not session.session.is_open
    wait_for(lambda: not sink.open, 10, "the sink sees the end")
    assert len(sink.messages) == 2


@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "dot"])
def test_what_was_begun_may_be_refused(sink: Sink, mails: list[Transaction], step: str) -> None:
    sink.rules = [Rule(step, "550 5.7.1 no", skip=1, times=1)]
    with connected(sink) as session:
        assert session.go_on(mails[0], mails[1]).fate is Fate.ACCEPTED
        result = session.go_on(mails[1], mails[2])
        assert (result.fate, result.step) == (Fate.REFUSED_PERMANENTLY, step)
        assert session.go_on(mails[2]).fate is Fate.ACCEPTED
    assert sink.connections == 1
    assert [m.recipients[0] for m in sink.messages] == [mails[0].recipient, mails[2].recipient]


def test_a_message_to_nobody_is_ended(sink: Sink, mails: list[Transaction]) -> None:
    sink.rules = [
        Rule("rcpt", "550 5.1.1 who?", skip=1, times=1),
        Rule("data", "354 to nobody", skip=1, times=1),
    ]
    with connected(sink) as session:
        session.go_on(mails[0], mails[1])
        assert session.go_on(mails[1]).step == "rcpt"
        assert session.go_on(mails[2]).fate is Fate.ACCEPTED


@pytest.mark.parametrize("dot_left", [True, False])
def test_a_last_write_that_ends_in_its_middle(
    sink: Sink, mails: list[Transaction], monkeypatch: pytest.MonkeyPatch, dot_left: bool
) -> None:
    """Only where the final dot stayed here is it certain that the mail was not taken."""
    with connected(sink) as session:
        wire = session.session.wire
        write = wire.write

        async def end_early(data: bytes | memoryview) -> None:
            whole = bytes(data)
            dot = whole.find(b"\r\n.\r\n")
            if dot < 0:
                await write(whole)
                return
            leaves = whole[: dot + 5 if dot_left else dot + 4]
            await write(leaves)
            wire.unsent = len(whole) - len(leaves)
            if not dot_left:
                wire.cut()
            raise TimeoutError("timed out")

        monkeypatch.setattr(wire, "write", end_early)
        result = session.go_on(mails[0], mails[1])
        assert result.fate is (Fate.ACCEPTED if dot_left else Fate.LOST_BEFORE_FINAL_DOT)
        assert not session.session.is_open
    wait_for(lambda: not sink.open, 10, "the sink sees the end")
    assert len(sink.messages) == dot_left


@pytest.mark.parametrize(
    ("rule", "step"),
    [
        (Rule("mail", drop=True), "idle"),
        (Rule("rcpt", drop=True), "data"),
        (Rule("data", drop=True), "data"),
        (Rule("data", "354 go on", drop=True), "idle"),
    ],
    ids=["unanswered", "at RCPT", "at DATA", "after it let us go on"],
)
def test_a_server_that_leaves_before_the_message_never_had_it(
    sink: Sink, mails: list[Transaction], rule: Rule, step: str
) -> None:
    sink.rules = [replace(rule, skip=1)]
    with connected(sink) as session:
        assert session.go_on(mails[0], mails[1]).fate is Fate.ACCEPTED
        wait_for(lambda: not sink.open, 10, "the sink has left")
        result = session.go_on(mails[1])
        assert (result.fate, result.step) == (Fate.LOST_BEFORE_FINAL_DOT, step)
        assert not session.session.is_open


# A submit


def ahead(sink: Sink, connector: SmtpConnector, batch: MailBatch) -> list[int]:
    """How many mails were begun and not here yet, at each commit; ``batch`` is sent."""
    seen: list[int] = []
    lost = begun(sink) - len(sink.messages)

    def look(_: int) -> None:
        seen.append(begun(sink) - len(sink.messages) - lost)

    (submission,), ledger = submit(connector, batch, ledger=Ledger(look))
    assert submission.verdict is Verdict.ACCEPTED
    assert ledger.states(batch.mails) == {Recipient.SENT: len(batch.mails)}
    return seen


def test_the_commands_do_not_wait_for_the_commit_and_the_message_does(
    sink: Sink, make: Make
) -> None:
    assert ahead(sink, make(connections=1), make_batch(4)) == [0, 1, 1, 1, 0]
    assert commands(sink) == {"EHLO": 1, "MAIL": 4, "RCPT": 4, "DATA": 4}


def test_where_a_rate_is_set_a_mail_is_begun_in_its_turn(sink: Sink, make: Make) -> None:
    connector = make(connections=1, rate=1_000_000)
    assert set(ahead(sink, connector, make_batch(4))) == {0}


def test_a_large_mail_is_made_and_begun_in_its_turn(sink: Sink, make: Make) -> None:
    long = Content("long", f"<p>{'x' * STREAMED}</p>", "x")
    batch = make_batch([make_mail(), make_mail(content=long), make_mail()])
    assert ahead(sink, make(connections=1), batch) == [0, 0, 1, 0]


def test_a_mail_of_which_no_message_can_be_made_is_not_begun(sink: Sink, make: Make) -> None:
    bad = make_mail(content=Content("a\r\nBcc: b@example.test", "x", "x"))
    batch = make_batch([make_mail(), bad, make_mail()])
    (submission,), ledger = submit(make(connections=1), batch)
    assert submission.verdict is Verdict.ACCEPTED
    assert ledger.states(batch.mails) == {Recipient.SENT: 2, Recipient.PERMANENTLY_FAILED: 1}
    assert commands(sink) == {"EHLO": 1, "MAIL": 2, "RCPT": 2, "DATA": 2}


def test_none_waits_for_a_slow_answer_that_another_connection_could_send(
    sink: Sink, make: Make
) -> None:
    sink.rules = [Rule("dot", delay=2.0, times=1)]
    _, ledger = submit(make(connections=3), batch := make_batch(3))
    assert ledger.states(batch.mails) == {Recipient.SENT: 3}
    mails = Counter(number for number, line in sink.log if line == "DATA")
    assert mails[1] == 1


def test_what_is_cancelled_after_it_was_begun_is_not_sent(sink: Sink, make: Make) -> None:
    batch = make_batch(6)
    ledger = Ledger()
    ledger.cancelled.add(batch.mails[2].id)
    (submission,), _ = submit(make(connections=1), batch, ledger=ledger)
    assert submission.verdict is Verdict.ACCEPTED
    assert ledger.states(batch.mails) == {Recipient.SENT: 5, Recipient.PENDING: 1}
    assert taken(sink) == [m.message_id for m in batch.mails if m.id not in ledger.cancelled]
    assert sink.connections == 2


def test_what_was_begun_when_the_end_came_stays_pending(sink: Sink, make: Make) -> None:
    sink.rules = [Rule("dot", delay=2.0, skip=1)]
    connector = make(connections=1)

    def close() -> None:
        wait_for(lambda: begun(sink) == 3, 10, "the third is begun before the second is answered")
        connector.close(time.monotonic() + 10)

    closing = threading.Thread(target=close)
    closing.start()
    (submission,), ledger = submit(connector, batch := make_batch(6))
    closing.join()
    assert submission.verdict is Verdict.REFUSED
    assert ledger.states(batch.mails) == {Recipient.SENT: 2, Recipient.PENDING: 4}
    assert len(sink.messages) == 2


def test_a_server_that_leaves_without_an_answer_gets_mails_one_by_one(
    sink: Sink, make: Make
) -> None:
    sink.rules = [Rule("mail", drop=True, skip=2, times=1)]
    now = [0.0]
    connector = make(connections=1, clock=lambda: now[0])
    (submission,), ledger = submit(connector, batch := make_batch(8))
    assert submission.verdict is Verdict.ACCEPTED
    assert ledger.states(batch.mails) == {Recipient.SENT: 8}
    assert set(ledger.tries.values()) == {1}
    assert sink.connections == 2
    assert set(ahead(sink, connector, make_batch(4))) == {0}
    now[0] += CAUTION
    assert ahead(sink, connector, make_batch(4)) == [0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    "rule",
    [
        *(Rule(step, drop=True) for step in ("rcpt", "data")),
        *(Rule(step, "?") for step in ("mail", "rcpt", "data")),
    ],
    ids=repr,
)
def test_what_was_begun_and_lost_after_an_answer_comes_again(
    sink: Sink, make: Make, rule: Rule
) -> None:
    sink.rules = [replace(rule, skip=1, times=1)]
    (submission,), ledger = submit(make(connections=1), batch := make_batch(4))
    assert submission.verdict is Verdict.ACCEPTED
    assert ledger.states(batch.mails) == {Recipient.SENT: 3, Recipient.PENDING: 1}
    outcome = ledger.outcome[batch.mails[1].id]
    assert (outcome.error_code, outcome.counted) == ("lost", True)


@pytest.mark.parametrize("step", ["mail", "rcpt", "data"])
def test_an_answer_held_back_behind_the_next_mail_is_lost_once(
    sink: Sink, make: Make, step: str
) -> None:
    sink.rules = [Rule(step, delay=math.inf, skip=2, times=1)]
    connector = make({"timeout": TIMEOUT}, connections=1)
    (submission,), ledger = submit(connector, batch := make_batch(6))
    assert submission.verdict is Verdict.ACCEPTED
    assert ledger.states(batch.mails) == {Recipient.SENT: 5, Recipient.UNKNOWN: 1}
    assert ledger.state[batch.mails[1].id] is Recipient.UNKNOWN
    assert set(ahead(sink, connector, make_batch(4))) == {0}
