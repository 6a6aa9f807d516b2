"""The SMTP connector: the contract of all connectors, and every way a server can fail it."""

import email
import email.policy
import math
import re
from collections import Counter
from collections.abc import Sequence

import pytest

from sidecar.connectors.base import Verdict
from sidecar.connectors.smtp_servers import SmtpServer
from sidecar.demo.sink import Rule, Sink
from sidecar.lifecycle import Recipient
from sidecar.mail import Content, Outcome
from tests.connectors.contract import BAD_ADDRESS, ConnectorContract, Provider
from tests.connectors.mails import make_batch, make_mail
from tests.connectors.smtp_rig import (
    TIMEOUT,
    Make,
    commands,
    submit,
    taken,
)


class TestSmtpContract(ConnectorContract):
    """The contract, before a recording sink."""

    @pytest.fixture
    def healthy(self, sink: Sink, make: Make) -> Provider:
        return Provider(make(), lambda: taken(sink))

    @pytest.fixture
    def wrong_credentials(self, sink: Sink, make: Make) -> Provider:
        sink.auth, sink.users = ("PLAIN",), {"moodle": "right"}
        return Provider(make({"user": "moodle", "password": "wrong"}), lambda: taken(sink))

    @pytest.fixture
    def unreachable(self, sink: Sink, make: Make) -> Provider:
        return Provider(make({"port": 1}), lambda: taken(sink))

    @pytest.fixture
    def picky(self, sink: Sink, make: Make) -> Provider:
        sink.rules = [Rule("rcpt", "550 5.1.1 no such user", match=BAD_ADDRESS)]
        return Provider(make(), lambda: taken(sink))

    @pytest.fixture(params=["421 4.3.2 going down", "", "451 4.3.0 no sender now"])
    def failing(self, request: pytest.FixtureRequest, sink: Sink, make: Make) -> Provider:
        reply = request.param
        sink.rules = [Rule("mail", reply, drop=not reply, skip=7), Rule("connect", "421", skip=4)]
        return Provider(make(), lambda: taken(sink), sink.rules.clear)

    @pytest.fixture
    def throttling(self, sink: Sink, make: Make) -> Provider:
        sink.rules = [Rule("connect", "421 4.7.0 come back later")]
        return Provider(make(), lambda: taken(sink), sink.rules.clear)


# Connections


def test_connections_are_kept_over_submits(sink: Sink, make: Make) -> None:
    connector = make(connections=2)
    for _ in range(3):
        submit(connector, make_batch(20), make_batch(20))
    assert sink.connections <= 2
    assert commands(sink)["EHLO"] == sink.connections
    assert len(sink.messages) == 120


def test_a_kept_connection_that_the_server_has_left_is_replaced(sink: Sink, make: Make) -> None:
    connector = make(connections=1)
    submit(connector, make_batch(2))
    sink.rules = [Rule("noop", "421 4.4.2 idle", times=1)]
    _, ledger = submit(connector, batch := make_batch(2))
    assert ledger.states(batch.mails) == {Recipient.SENT: 2}
    assert sink.connections == 2


def test_several_connections_work_at_once(sink: Sink, make: Make) -> None:
    sink.latency = 0.02
    _, ledger = submit(make(connections=3), make_batch(30))
    assert sink.connections == ledger.most_in_flight == 3
    assert {number for number, line in sink.log if line == "DATA"} == {1, 2, 3}


def test_where_fewer_connections_are_let_in_fewer_do(sink: Sink, make: Make) -> None:
    sink.max_connections = 2
    sink.latency = 0.005
    (submission,), ledger = submit(make(), batch := make_batch(40))
    assert submission.verdict is Verdict.ACCEPTED
    assert ledger.states(batch.mails) == {Recipient.SENT: 40}
    assert sink.connections == 4


@pytest.mark.parametrize(
    "rule",
    [
        Rule("connect", "421 4.7.0 too many"),
        Rule("connect", "554 5.7.1 blocked"),
        Rule("connect", drop=True),
        Rule("connect", delay=math.inf),
        Rule("ehlo", drop=True),
    ],
)
def test_a_server_that_cannot_be_used_is_tried_once(sink: Sink, make: Make, rule: Rule) -> None:
    sink.rules = [rule]
    submissions, ledger = submit(make({"timeout": TIMEOUT}), *(make_batch(5) for _ in range(20)))
    assert {s.verdict for s in submissions} == {Verdict.REFUSED}
    assert len({(s.code, s.reason) for s in submissions}) == 1
    assert not ledger.calls
    assert sink.connections == 1


def test_servers_are_tried_in_turn(sink: Sink, make: Make) -> None:
    good = SmtpServer(sink.host, sink.port)
    with (
        Sink(rules=[Rule("connect", "554 5.3.2 closed")]) as closed,
        Sink(auth=["PLAIN"]) as strict,
    ):
        servers = [
            SmtpServer("127.0.0.1", 1),
            SmtpServer(closed.host, closed.port),
            SmtpServer(strict.host, strict.port, user="u", password="wrong"),
        ]
        (submission,), _ = submit(make(servers=[*servers, good], connections=1), make_batch(3))
        assert submission.verdict is Verdict.ACCEPTED
        assert len(sink.messages) == 3
        (submission,), _ = submit(make(servers=servers), make_batch(3))
        assert submission.verdict is Verdict.REFUSED
        assert all(str(server) in submission.reason for server in servers)
        (submission,), _ = submit(make(servers=servers[2:]), make_batch(3))
        assert submission.verdict is Verdict.REFUSED_FOR_GOOD


def test_probe_tells_what_it_found(sink: Sink, make: Make) -> None:
    sink.auth, sink.users = ("CRAM-MD5",), {"moodle": "secret"}
    probe = make({"user": "moodle", "password": "secret"}).probe()
    assert probe.ok
    assert probe.detail == f"{sink.host}:{sink.port} sink ESMTP, no TLS, AUTH CRAM-MD5, PIPELINING"
    assert commands(sink).keys() >= {"EHLO", "AUTH", "NOOP", "QUIT"}
    assert "MAIL" not in commands(sink)
    sink.rules = [Rule("noop", "451 4.3.0 not well")]
    assert not make({"user": "moodle", "password": "secret"}).probe().ok


# What arrives


@pytest.mark.parametrize(
    "text",
    [
        "one\n.\r\nMAIL FROM:<x@y>\r\n\r.\r\n\n.\n..\r\n.\n",
        "\r\n.\r\n",
        "😀 שלום \u202eabc مرحبا",
        "x" * 25_000_000,
    ],
    ids=["smuggling", "dot", "emoji and RTL", "25 MB"],
)
def test_what_arrives_is_what_was_meant(sink: Sink, make: Make, text: str) -> None:
    mail = make_mail(content=Content("Grüße 😀", text, text[:1_000]))
    (submission,), ledger = submit(make(), make_batch([mail, make_mail()]))
    assert submission.verdict is Verdict.ACCEPTED
    assert Counter(ledger.state.values()) == {Recipient.SENT: 2}
    assert not any(message.bare for message in sink.messages)
    (message,) = (m for m in sink.messages if m.recipients == (mail.to,))
    found = email.message_from_bytes(message.data, policy=email.policy.default)
    body = found.get_body(("html",))
    assert body
    assert unix(body.get_content()) == unix(text)
    assert found["Subject"] == "Grüße 😀"


def unix(text: str) -> str:
    return re.sub(r"\r\n?", "\n", text)


def test_outcomes_are_reported_in_one_call_with_the_next_mail(sink: Sink, make: Make) -> None:
    _, ledger = submit(make(connections=1), batch := make_batch(4))
    assert [statuses(call) for call in ledger.calls] == [
        [Recipient.PROCESSING],
        *[[Recipient.SENT, Recipient.PROCESSING]] * 3,
        [Recipient.SENT],
    ]
    first, *_, last = (mail.id for mail in batch.mails)
    assert ledger.calls[1][0].mail_id == first
    assert ledger.calls[-1][0].mail_id == last


def statuses(call: Sequence[Outcome]) -> list[Recipient]:
    return [outcome.status for outcome in call]


def test_a_small_submit_does_not_open_what_it_does_not_need(sink: Sink, make: Make) -> None:
    mail = make_mail()
    submit(make(connections=8), make_batch([mail]))
    assert taken(sink) == [mail.message_id]
    assert sink.connections <= 8
