"""The sink, judged with the standard library's own client and with bare sockets."""

import json
import math
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from sidecar.demo.sink import Rule, Sink
from tests.support.wait import wait_for

ENVELOPE = b"EHLO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


def client(sink: Sink) -> smtplib.SMTP:
    return smtplib.SMTP(sink.host, sink.port, local_hostname="me.test", timeout=10)


def send(smtp: smtplib.SMTP, text: str = "Subject: x\r\n\r\nx\r\n") -> None:
    smtp.sendmail("a@b.test", ["c@d.test", "e@f.test"], text)


def say(sink: Sink, data: bytes, answers: int) -> bytes:
    """Everything at once; the answers, of which there must be so many lines."""
    with socket.create_connection((sink.host, sink.port), 10) as connection:
        connection.sendall(data)
        heard = b""
        while heard.count(b"\n") < answers and (more := connection.recv(4096)):
            heard += more
    return heard


def test_it_keeps_what_a_client_sent(sink: Sink) -> None:
    before = time.time()
    with client(sink) as smtp:
        send(smtp, "Subject: x\r\n\r\n.\r\n..dots\r\n")
        send(smtp)
    first, second = sink.messages
    assert (first.sender, first.recipients) == ("a@b.test", ("c@d.test", "e@f.test"))
    assert first.data == b"Subject: x\r\n\r\n.\r\n..dots\r\n"
    assert before <= first.at <= second.at <= time.time()
    assert sink.accepted == 2
    assert sink.log[1] == (1, "mail FROM:<a@b.test> size=25")


@pytest.mark.parametrize(
    "body", [b"a\nb\r\n", b"a\rb\r\n", b"a\n.\nb\r\n", b"\n.\r\nx\r\n", b"\r.\r\nx\r\n"]
)
def test_a_bare_cr_or_lf_ends_nothing_and_is_flagged(sink: Sink, body: bytes) -> None:
    say(sink, ENVELOPE + b"DATA\r\n" + body + b".\r\n", 10)
    wait_for(lambda: sink.messages, 10, "the message")
    assert [(m.data, m.bare) for m in sink.messages] == [(body, True)]


def test_lf_alone_ends_no_command(sink: Sink) -> None:
    heard = say(sink, b"NOOP\nNOOP\r\n", 2)
    assert heard.splitlines() == [b"220 sink ESMTP", b"502 5.5.1 not known here"]


def test_pipelined_commands_are_answered_in_order(sink: Sink) -> None:
    heard = say(sink, ENVELOPE + b"DATA\r\n.\r\nMAIL FROM:<x@y>\r\nNOOP\r\nQUIT\r\n", 13)
    codes = [line[:3] for line in heard.splitlines() if line[3:4] == b" "]
    assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"221"]
    assert [(m.data, m.bare) for m in sink.messages] == [(b"", False)]


def test_a_message_in_small_pieces(sink: Sink) -> None:
    data = ENVELOPE + b"DATA\r\nSubject: x\r\n\r\n..\r\n.x\r\n\r\n.\r\n"
    with socket.create_connection((sink.host, sink.port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            connection.sendall(bytes([byte]))
        wait_for(lambda: sink.messages, 10, "the message")
    assert sink.messages[0].data == b"Subject: x\r\n\r\n.\r\nx\r\n\r\n"


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        (b"RCPT TO:<a@b>\r\n", b"503"),
        (b"MAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n", b"503"),
        (b"MAIL FROM:<a@b>\r\nDATA\r\n", b"503"),
        (b"MAIL FROM:<a@b>\r\nRSET\r\nRCPT TO:<a@b>\r\n", b"503"),
        (b"STARTTLS\r\n", b"502"),
        (b"VRFY a\r\n", b"502"),
    ],
)
def test_the_order_of_commands_is_kept(sink: Sink, commands: bytes, code: bytes) -> None:
    heard = say(sink, commands, 1 + commands.count(b"\n"))
    assert heard.splitlines()[-1].startswith(code)


# Rules


def test_rules_fit_by_step_match_skip_and_times() -> None:
    rule = Rule("rcpt", match="bad", skip=1, times=2)
    asked = [("mail", "bad"), ("rcpt", "good"), *[("rcpt", "bad")] * 4]
    assert [rule.fits(step, line) for step, line in asked] == [
        *(False, False, False, True, True, False)
    ]


def test_a_refusal(sink: Sink) -> None:
    sink.rules = [
        Rule("rcpt", "550 5.1.1 no", match="e@f"),
        Rule("dot", "451 4.3.0 later", times=1),
    ]
    with client(sink) as smtp:
        with pytest.raises(smtplib.SMTPDataError) as raised:
            send(smtp)
        assert raised.value.smtp_code == 451
        assert not sink.messages
        assert smtp.sendmail("a@b.test", ["c@d.test", "e@f.test"], "x") == {
            "e@f.test": (550, b"5.1.1 no")
        }
    assert [m.recipients for m in sink.messages] == [("c@d.test",)]


@pytest.mark.parametrize("step", ["connect", "ehlo", "mail", "rcpt", "data", "body", "dot"])
@pytest.mark.parametrize("reply", ["", "421 4.3.2 bye"])
def test_a_dropped_connection(sink: Sink, step: str, reply: str) -> None:
    sink.rules = [Rule(step, reply, drop=True)]
    with pytest.raises((smtplib.SMTPException, OSError)), client(sink) as smtp:
        send(smtp)
    wait_for(lambda: not sink.open, 10, "the connection is gone")
    assert not sink.messages


def test_an_answer_that_is_lost_after_the_message_is_kept(sink: Sink) -> None:
    sink.rules = [Rule("dot", drop=True, keep=True)]
    with pytest.raises(smtplib.SMTPServerDisconnected), client(sink) as smtp:
        send(smtp)
    assert len(sink.messages) == 1


def test_hanging_and_tarpitting(sink: Sink) -> None:
    sink.rules = [Rule("noop", delay=0.2, times=1), Rule("noop", delay=math.inf)]
    smtp = client(sink)
    started = time.monotonic()
    assert smtp.noop()[0] == 250
    assert time.monotonic() - started >= 0.2
    assert smtp.sock
    smtp.sock.settimeout(0.2)
    with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
        smtp.noop()
    smtp.close()


def test_latency_is_shared_by_pipelined_answers() -> None:
    with Sink(latency=0.1) as sink:
        started = time.monotonic()
        say(sink, b"NOOP\r\n" * 50, 51)
        assert 0.1 <= time.monotonic() - started < 2.5


def test_no_more_connections_than_allowed() -> None:
    with Sink(max_connections=1) as sink, client(sink):
        with pytest.raises(smtplib.SMTPConnectError, match="421"):
            client(sink)
        assert sink.connections == 2


# Extensions


def test_what_is_offered() -> None:
    with Sink(pipelining=False, auth=["LOGIN"], size=1_000) as sink, client(sink) as smtp:
        smtp.ehlo()
        assert smtp.esmtp_features == {
            "8bitmime": "", "enhancedstatuscodes": "", "size": "1000", "auth": " LOGIN",
        }  # fmt: skip


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_auth(mechanism: str) -> None:
    with Sink(auth=[mechanism], users={"moodle": "secret"}) as sink, client(sink) as smtp:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login("moodle", "wrong")
        assert smtp.login("moodle", "secret")[0] == 235


@pytest.mark.parametrize("implicit", [True, False])
def test_tls(implicit: bool) -> None:
    ca = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    context = ssl.create_default_context()
    ca.configure_trust(context)
    with Sink(tls=server, implicit_tls=implicit) as sink:
        if implicit:
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(sink.host, sink.port, context=context, timeout=10)
        else:
            smtp = client(sink)
            smtp.starttls(context=context)
        with smtp:
            assert "starttls" not in smtp.esmtp_features
            send(smtp)
        assert len(sink.messages) == 1


def test_a_client_that_does_not_trust_us_leaves_no_trace() -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(server)
    with Sink(tls=server) as sink:
        with client(sink) as smtp, pytest.raises(ssl.SSLCertVerificationError):
            smtp.starttls(context=ssl.create_default_context())
        wait_for(lambda: not sink.open, 10, "the connection is gone")


# As a process


def test_as_a_process_it_records_before_it_answers(tmp_path: Path) -> None:
    record = tmp_path / "mails.jsonl"
    command = [
        sys.executable,
        "-m",
        "sidecar.demo.sink",
        "--record",
        str(record),
        "--latency-ms",
        "1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = json.loads(process.stdout.readline())["port"]
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as smtp:
            for number in range(3):
                send(smtp, f"Subject: {number}\r\n\r\nx\r\n")
                assert len(record.read_bytes().splitlines()) == number + 1
        process.send_signal(signal.SIGTERM)
        assert json.loads(process.stdout.readline()) == {"accepted": 3}
        assert process.wait(10) == 0
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [line["data"] for line in lines] == [f"Subject: {n}\r\n\r\nx\r\n" for n in range(3)]
    assert lines[0]["rcpt"] == ["c@d.test", "e@f.test"]
    assert not lines[0]["bare"]
