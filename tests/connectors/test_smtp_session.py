"""One session over a real socket, against a server that fails as it is told to."""

import math
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sidecar.connectors.smtp_servers import SmtpServer
from sidecar.connectors.smtp_session import Fate, Result
from sidecar.demo.sink import Rule, Sink
from sidecar.errors import LeaseLostError
from tests.connectors.smtp_rig import (
    GARBAGE,
    LARGE,
    MESSAGE,
    RECIPIENT,
    SENDER,
    SMUGGLED,
    Blocking,
    always,
    connected,
    send,
)
from tests.support.wait import wait_for


@pytest.fixture(params=[True, False], ids=["pipelining", "one by one"])
def sink(request: pytest.FixtureRequest) -> Iterator[Sink]:
    with Sink(pipelining=request.param) as running:
        yield running


# What a mail's fate is


def test_mails_arrive_byte_for_byte(sink: Sink) -> None:
    with connected(sink) as session:
        for message in (MESSAGE, SMUGGLED, LARGE, b".\r\n", b"..x\r\n", b""):
            result = send(session, message)
            assert result == Result(Fate.ACCEPTED, "dot", "250 2.0.0", "kept")
    assert [m.data for m in sink.messages] == [MESSAGE, SMUGGLED, LARGE, b".\r\n", b"..x\r\n", b""]
    assert {(m.sender, m.recipients) for m in sink.messages} == {(SENDER, (RECIPIENT,))}
    assert sink.connections == 1


def test_a_mail_without_sender(sink: Sink) -> None:
    with connected(sink) as session:
        assert session.send("", RECIPIENT, MESSAGE, always).fate is Fate.ACCEPTED
    assert sink.messages[0].sender == ""


@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize("code", ["451 4.3.0", "452 4.2.2", "550 5.1.1", "552 5.2.2", "554"])
def test_a_refusal_at_any_step_leaves_the_session_usable(sink: Sink, step: str, code: str) -> None:
    sink.rules = [Rule(step, f"{code} because", times=1)]
    with connected(sink) as session:
        fate = Fate.REFUSED_TEMPORARILY if code < "5" else Fate.REFUSED_PERMANENTLY
        assert send(session) == Result(fate, step, code, "because")
        assert session.session.is_open
        assert send(session).fate is Fate.ACCEPTED
    assert len(sink.messages) == 1


@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "dot"])
def test_421_at_any_step_ends_the_session(sink: Sink, step: str) -> None:
    sink.rules = [Rule(step, "421 4.3.2 going down")]
    with connected(sink) as session:
        result = send(session)
        assert result == Result(Fate.REFUSED_TEMPORARILY, step, "421 4.3.2", "going down")
        assert not session.session.is_open
    assert not sink.messages


@pytest.mark.parametrize("rest", ["drop", "354", "503"])
def test_a_refused_recipient_stays_refused_whatever_follows(sink: Sink, rest: str) -> None:
    after = {
        "drop": Rule("data", drop=True),
        "354": Rule("data", "354 to nobody"),
        "503": Rule("data", "503 no recipient"),
    }
    sink.rules = [Rule("rcpt", "550 5.1.1 who?"), after[rest]]
    with connected(sink) as session:
        result = send(session)
        assert result == Result(Fate.REFUSED_PERMANENTLY, "rcpt", "550 5.1.1", "who?")
        assert session.session.is_open == (
            rest != "drop" or not session.session.greeting.pipelining
        )
        if session.session.is_open:
            sink.rules = []
            assert send(session).fate is Fate.ACCEPTED
        assert len(sink.messages) == session.session.is_open


@pytest.mark.parametrize("step", ["mail", "rcpt", "data"])
@pytest.mark.parametrize("how", [Rule("", drop=True), Rule("", delay=math.inf)])
def test_lost_before_the_message(sink: Sink, step: str, how: Rule) -> None:
    sink.rules = [replace(how, step=step)]
    with connected(sink, timeout=0.3) as session:
        result = send(session)
        assert (result.fate, result.code) == (Fate.LOST_BEFORE_FINAL_DOT, "")
        assert "closed" in result.text or "timed out" in result.text
        assert not session.session.is_open
    assert not sink.messages


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("how", [Rule("dot", drop=True), Rule("dot", delay=math.inf)])
def test_lost_after_the_final_dot(sink: Sink, how: Rule, kept: bool) -> None:
    sink.rules = [replace(how, keep=kept)]
    with connected(sink, timeout=0.3) as session:
        result = send(session)
        assert (result.fate, result.code) == (Fate.LOST_AFTER_FINAL_DOT, "")
        assert not session.session.is_open
    assert len(sink.messages) == (kept or how.delay == math.inf)


def test_lost_in_the_middle_of_a_large_message(sink: Sink) -> None:
    sink.rules = [Rule("body", drop=True)]
    with connected(sink) as session:
        assert send(session, LARGE).fate is Fate.LOST_BEFORE_FINAL_DOT
    assert not sink.messages


def test_a_server_that_refuses_and_leaves_in_the_middle_of_a_large_message(sink: Sink) -> None:
    sink.rules = [Rule("body", "552 5.3.4 too big", drop=True)]
    with connected(sink) as session:
        result = send(session, LARGE)
        assert result == Result(Fate.REFUSED_PERMANENTLY, "data", "552 5.3.4", "too big")
        assert not session.session.is_open


def test_a_server_that_hangs_in_the_middle_of_a_large_message() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    with listening, ServerThatStopsReading(listening) as server:
        session = Blocking(SmtpServer("127.0.0.1", server.port, timeout=0.3))
        session.greet()
        assert send(session, LARGE).fate is Fate.LOST_BEFORE_FINAL_DOT
        assert not session.session.is_open


class ServerThatStopsReading:
    """Answers four commands, then reads nothing more."""

    def __init__(self, listening: socket.socket) -> None:
        self.port = int(listening.getsockname()[1])
        self._listening = listening
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "ServerThatStopsReading":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _serve(self) -> None:
        client, _ = self._listening.accept()
        with client, client.makefile("rb") as lines:
            client.sendall(b"220 hello\r\n")
            for _ in range(3):
                lines.readline()
                client.sendall(b"250 ok\r\n")
            lines.readline()
            client.sendall(b"354 go on\r\n")
            self._done.wait(30)


@pytest.mark.parametrize("reply", GARBAGE)
@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "dot"])
def test_what_is_no_reply_ends_the_session(sink: Sink, step: str, reply: str) -> None:
    sink.rules = [Rule(step, reply)]
    with connected(sink) as session:
        lost_after = step == "dot"
        wanted = Fate.LOST_AFTER_FINAL_DOT if lost_after else Fate.LOST_BEFORE_FINAL_DOT
        assert send(session).fate is wanted
        assert not session.session.is_open


def test_a_message_over_the_limit_of_the_server_is_not_even_begun() -> None:
    with Sink(size=1_000) as sink, connected(sink) as session:
        result = send(session, LARGE)
        assert (result.fate, result.code) == (Fate.REFUSED_PERMANENTLY, "552 5.3.4")
        assert send(session).fate is Fate.ACCEPTED
        assert [line for _, line in sink.log if "MAIL" in line] == [
            f"MAIL FROM:<{SENDER}> SIZE={len(MESSAGE)}"
        ]


def test_texts_of_several_lines_are_one_without_controls(sink: Sink) -> None:
    sink.rules = [Rule("rcpt", "550-5.1.1 no \x1b[31msuch\r\n550 5.1.1 user\x07 here")]
    with connected(sink) as session:
        assert send(session).text == "no [31msuch user here"


@pytest.mark.parametrize("bad", ["", "a@b\r\nRCPT TO:<x@y.test>", "a@b> X=<c", "a b@c.test"])
def test_an_address_that_is_none_is_never_said(sink: Sink, bad: str) -> None:
    with connected(sink) as session:
        with pytest.raises(ValueError, match="not an address"):
            send(session, recipient=bad)
        assert send(session).fate is Fate.ACCEPTED
    assert len(sink.messages) == 1


def test_pipelining_does_not_wait_for_answers() -> None:
    with Sink(rules=[Rule("mail", delay=math.inf)]) as sink:
        with connected(sink, timeout=0.3) as session:
            assert send(session).fate is Fate.LOST_BEFORE_FINAL_DOT
        assert [line[:4] for _, line in sink.log] == ["EHLO", "MAIL", "RCPT", "DATA"]


def test_without_pipelining_each_command_waits() -> None:
    with Sink(rules=[Rule("mail", delay=math.inf)], pipelining=False) as sink:
        with connected(sink, timeout=0.3) as session:
            assert send(session).fate is Fate.LOST_BEFORE_FINAL_DOT
        assert [line[:4] for _, line in sink.log] == ["EHLO", "MAIL"]


# The guard


@pytest.mark.parametrize("message", [MESSAGE, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_guard_that_says_no_stops_the_mail(sink: Sink, message: bytes, call: int) -> None:
    calls: list[None] = []

    def guard() -> None:
        calls.append(None)
        if len(calls) == call:
            raise LeaseLostError

    with connected(sink) as session:
        with pytest.raises(LeaseLostError):
            session.send(SENDER, RECIPIENT, message, guard)
        assert not session.session.is_open
    wait_for(lambda: not sink.open, 10, "the sink sees the end")
    assert not sink.messages
    assert any(line == "DATA" for _, line in sink.log) == (call == 2)
