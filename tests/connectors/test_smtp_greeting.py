"""Getting in and leaving: TLS, EHLO, AUTH, NOOP, QUIT."""

import math
import socket
import threading
from dataclasses import replace

import pytest

from sidecar.connectors.smtp_servers import SmtpServer
from sidecar.connectors.smtp_session import Fate
from sidecar.demo.sink import Rule, Sink
from sidecar.errors import AuthFailed, ConnectorError, Throttled, Unavailable
from tests.connectors.conftest import Authority
from tests.connectors.smtp_rig import (
    GARBAGE,
    LARGE,
    Blocking,
    connected,
    send,
)
from tests.support.wait import wait_for

# Getting in


@pytest.mark.parametrize("step", ["connect", "ehlo"])
@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule("", "421 4.7.0 too many"), Throttled),
        (Rule("", "454 4.3.0 not now"), Unavailable),
        (Rule("", drop=True), Unavailable),
        (Rule("", delay=math.inf), Unavailable),
        *((Rule("", reply), Unavailable) for reply in GARBAGE),
    ],
)
def test_a_server_that_will_not_have_us(step: str, rule: Rule, error: type[ConnectorError]) -> None:
    with (
        Sink(rules=[replace(rule, step=step)]) as sink,
        pytest.raises(error) as raised,
        connected(sink, timeout=0.3),
    ):
        pass
    assert raised.type is error
    assert f"{sink.host}:{sink.port}" in str(raised.value)


@pytest.mark.parametrize(
    ("host", "port"),
    [("127.0.0.1", 0), ("no-such-host.invalid", 25), ("a..b", 25), ("::1", 70_000)],
)
def test_nobody_there(host: str, port: int) -> None:
    with pytest.raises(Unavailable):
        Blocking(SmtpServer(host, port, timeout=5.0))


def test_helo_where_ehlo_is_unknown(sink: Sink) -> None:
    sink.rules = [Rule("ehlo", "502 5.5.2 what?")]
    with connected(sink) as session:
        assert not session.session.greeting.pipelining
        assert send(session).fate is Fate.ACCEPTED


@pytest.mark.parametrize(("helo", "said"), [("", "[127.0.0.1]"), ("moodle.test", "moodle.test")])
def test_our_name(sink: Sink, helo: str, said: str) -> None:
    with connected(sink, helo=helo):
        assert sink.log[0][1] == f"EHLO {said}"


@pytest.mark.parametrize("secure", ["tls", "ssl"])
def test_tls(authority: Authority, secure: str) -> None:
    with Sink(tls=authority.server("127.0.0.1"), implicit_tls=secure == "ssl") as sink:
        with connected(sink, secure=secure, ca_file=authority.file) as session:
            assert session.session.greeting.tls.startswith("TLSv1.")
            assert send(session, LARGE).fate is Fate.ACCEPTED
        assert sink.messages[0].data == LARGE


def test_what_is_said_before_tls_is_not_believed(authority: Authority) -> None:
    said = Rule("starttls", "220 go on\r\n250-mitm\r\n250 AUTH PLAIN", times=1)
    with (
        Sink(tls=authority.server("127.0.0.1"), rules=[said]) as sink,
        connected(sink, secure="tls", ca_file=authority.file) as session,
    ):
        assert "AUTH" not in session.session.greeting.offers
        assert session.session.greeting.pipelining


@pytest.mark.parametrize("secure", ["tls", "ssl"])
@pytest.mark.parametrize("wrong", ["authority", "name", "no TLS at all", "hangs"])
def test_tls_that_cannot_be_trusted(
    authority: Authority, stranger: Authority, secure: str, wrong: str
) -> None:
    tls = {
        "authority": stranger.server("127.0.0.1"),
        "name": authority.server("elsewhere.example.test"),
    }
    rules = [Rule("connect", delay=math.inf), Rule("starttls", delay=math.inf)]
    with (
        Sink(
            tls=tls.get(wrong),
            implicit_tls=secure == "ssl",
            rules=rules[secure == "tls" :] if wrong == "hangs" else [],
            users={"moodle": "secret"},
            auth=["PLAIN"],
        ) as sink,
        pytest.raises(Unavailable),
        connected(sink, secure=secure, ca_file=authority.file, user="moodle", timeout=1.0),
    ):
        pass
    assert not any("AUTH" in line for _, line in sink.log)


def test_without_ca_file_the_system_is_asked(authority: Authority) -> None:
    with (
        Sink(tls=authority.server("127.0.0.1")) as sink,
        pytest.raises(Unavailable, match="certificate verify failed"),
        connected(sink, secure="tls"),
    ):
        pass


@pytest.mark.parametrize(
    ("offered", "asked", "used"),
    [
        (["PLAIN"], "", "PLAIN"),
        (["LOGIN", "PLAIN"], "", "LOGIN"),
        (["PLAIN", "LOGIN", "CRAM-MD5"], "", "CRAM-MD5"),
        (["PLAIN", "LOGIN", "CRAM-MD5"], "PLAIN", "PLAIN"),
        (["PLAIN", "LOGIN", "CRAM-MD5"], "login", "LOGIN"),
        (["PLAIN"], "LOGIN", "PLAIN"),
        (["XOAUTH2", "PLAIN"], "XOAUTH2", "PLAIN"),
    ],
)
def test_auth(offered: list[str], asked: str, used: str) -> None:
    user, password = "søren", "gehëim wort"
    with Sink(auth=offered, users={user: password}) as sink:
        with connected(sink, user=user, password=password, auth_type=asked) as session:
            assert session.session.greeting.auth == used
            assert send(session).fate is Fate.ACCEPTED
        with pytest.raises(AuthFailed) as raised, connected(sink, user=user, password="hunter2"):
            pass
    assert raised.value.code == "535 5.7.8"
    assert "hunter2" not in repr(raised.value)


@pytest.mark.parametrize(
    ("reply", "error", "code"),
    [
        ("534 5.7.9 too weak", AuthFailed, "534 5.7.9"),
        ("454 4.7.0 not now", Unavailable, "454 4.7.0"),
        ("421 4.7.0 too often", Throttled, "421 4.7.0"),
        ("334 !", Unavailable, ""),
    ],
)
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_auth_refused(mechanism: str, reply: str, error: type[ConnectorError], code: str) -> None:
    with (
        Sink(auth=[mechanism], rules=[Rule("auth", reply)]) as sink,
        pytest.raises(error) as raised,
        connected(sink, user="u", password="p", timeout=0.5),
    ):
        pass
    assert raised.type is error
    assert raised.value.code.startswith(code)


@pytest.mark.parametrize("offered", [[], ["GSSAPI"]])
def test_no_auth_that_we_know(offered: list[str]) -> None:
    with (
        Sink(auth=offered) as sink,
        pytest.raises(AuthFailed, match="no AUTH"),
        connected(sink, user="u", password="p"),
    ):
        pass


def test_the_password_is_never_shown() -> None:
    assert "hunter2" not in repr(SmtpServer("h", user="u", password="hunter2"))


# Staying and leaving


def test_noop_says_whether_the_server_is_there(sink: Sink) -> None:
    with connected(sink) as session:
        assert session.noop()
        sink.rules = [Rule("noop", "421 4.4.2 idle too long")]
        assert not session.noop()
        assert not session.session.is_open


def test_quit_does_not_wait_longer_than_asked(sink: Sink) -> None:
    sink.rules = [Rule("quit", delay=math.inf)]
    with connected(sink, timeout=60.0) as session:
        session.quit(0.2)
        assert not session.session.is_open


@pytest.mark.parametrize(
    ("where", "fate"),
    [("mail", Fate.LOST_BEFORE_FINAL_DOT), ("dot", Fate.LOST_AFTER_FINAL_DOT)],
)
@pytest.mark.parametrize("secure", ["", "tls"])
def test_cut_frees_whoever_waits(authority: Authority, secure: str, where: str, fate: Fate) -> None:
    hang = Rule(where, delay=math.inf)
    with (
        Sink(rules=[hang], tls=authority.server("127.0.0.1")) as sink,
        connected(sink, timeout=60.0, secure=secure, ca_file=authority.file) as session,
    ):
        fates: list[Fate] = []
        sending = threading.Thread(target=lambda: fates.append(send(session).fate))
        sending.start()
        wait_for(lambda: hang.times < Rule("").times, 10, "the server hangs")
        session.session.wire.cut()
        sending.join(10)
        assert fates == [fate]


def test_a_reply_that_drips_is_timed_out_as_a_whole() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def drip() -> None:
        client, _ = listening.accept()
        with client:
            while not done.wait(0.02):
                client.sendall(b"2")

    thread = threading.Thread(target=drip)
    thread.start()
    with listening:
        session = Blocking(SmtpServer("127.0.0.1", listening.getsockname()[1], timeout=0.3))
        with pytest.raises(Unavailable, match="timed out"):
            session.greet()
        done.set()
        thread.join(10)
