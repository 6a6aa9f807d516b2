"""Several servers, as smtphosts names them: in order, and back to the first when it is back."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sidecar.connectors.base import Verdict
from sidecar.connectors.smtp_servers import REST, Servers, SmtpServer
from sidecar.demo.sink import Rule, Sink
from sidecar.mail import MailBatch
from tests.connectors.conftest import Authority
from tests.connectors.mails import make_batch
from tests.connectors.smtp_rig import Make, submit
from tests.support.wait import wait_for

A, B, C = (SmtpServer(host) for host in "abc")
DOWN = Rule("connect", "554 5.3.2 closed")


def server_of(sink: Sink) -> SmtpServer:
    return SmtpServer(sink.host, sink.port, timeout=5.0)


def test_a_server_that_failed_rests_and_is_then_tried_by_one() -> None:
    now = [100.0]
    servers = Servers([A, B, C], lambda: now[0])
    assert servers.in_turn() == [A, B, C]
    servers.failed(A)
    assert servers.in_turn() == [B, C, A]
    assert not servers.is_outranked(B)
    assert servers.is_outranked(C)
    now[0] += REST
    assert servers.is_outranked(B)
    assert servers.in_turn() == [A, B, C]
    assert servers.in_turn() == [B, C, A]
    assert not servers.is_outranked(B)
    servers.works(A)
    assert servers.in_turn() == [A, B, C]
    assert servers.is_outranked(B)
    assert not servers.is_outranked(A)


def test_the_second_is_used_while_the_first_is_down_and_the_first_when_it_is_back(
    sink: Sink, make: Make
) -> None:
    now = [0.0]
    with Sink(rules=[DOWN]) as first:
        connector = make(
            servers=[server_of(first), server_of(sink)], connections=3, clock=lambda: now[0]
        )
        submit(connector, make_batch(20), make_batch(20))
        assert len(sink.messages) == 40
        assert first.connections == 1  # the others did not try it again
        first.rules.clear()
        submit(connector, make_batch(10))
        assert len(sink.messages) == 50
        now[0] += REST
        submit(connector, make_batch(10), make_batch(10))
        assert len(first.messages) == 20
        wait_for(lambda: not sink.open, 10, "the second is let go")


def test_in_the_middle_of_a_submit_too(sink: Sink, make: Make) -> None:
    now = [0.0]
    with Sink(rules=[Rule("connect", "554 5.3.2 closed", times=1)]) as first:

        def batches() -> Iterator[MailBatch]:
            yield make_batch(10)
            now[0] += REST
            yield make_batch(10)

        servers = [server_of(first), server_of(sink)]
        connector = make(servers=servers, connections=1, clock=lambda: now[0])
        submissions = list(connector.submit(batches(), lambda _: ()))
        assert {s.verdict for s in submissions} == {Verdict.ACCEPTED}
        # The clock is turned when the second batch is fetched, while the last mail of the first
        # waits: that one goes by either.
        assert (len(first.messages), len(sink.messages)) in {(10, 10), (11, 9)}


def test_one_connection_too_many_is_no_reason_to_use_the_second(sink: Sink, make: Make) -> None:
    with Sink(max_connections=2, latency=0.005) as first:
        connector = make(servers=[server_of(first), server_of(sink)], connections=4)
        submit(connector, make_batch(60))
        assert len(first.messages) == 60
        assert connector.growth.wanted == 2
    assert not sink.connections


def test_each_server_has_its_port_and_its_tls_and_the_choice_is_told(
    sink: Sink, make: Make, authority: Authority
) -> None:
    with (
        Sink(tls=authority.server("127.0.0.1"), implicit_tls=True) as safe,
        Sink(auth=["PLAIN"], users={"moodle": "right"}) as strict,
    ):
        refusing = replace(server_of(strict), user="moodle", password="wrong")
        plain = replace(server_of(sink), secure="tls")
        chosen = replace(server_of(safe), secure="ssl", ca_file=authority.file)
        connector = make(servers=[refusing, plain, chosen])
        probe = connector.probe()
        assert probe.ok
        assert probe.detail.startswith(f"{chosen} sink ESMTP, TLSv1.")
        assert probe.doubt == (
            f"a server before it cannot be used: {refusing}: AUTH PLAIN: wrong credentials;"
            f" {plain}: STARTTLS is not offered"
        )
        submit(connector, make_batch(5))
        assert len(safe.messages) == 5
    assert not make(servers=[refusing, plain]).probe().ok
    assert not make().probe().doubt


@pytest.mark.parametrize("order", [1, -1])
def test_a_probe_asks_the_admins_first_whatever_rests(sink: Sink, make: Make, order: int) -> None:
    with Sink(rules=[DOWN]) as down:
        servers = [server_of(down), server_of(sink)][::order]
        connector = make(servers=servers)
        submit(connector, make_batch(2))
        assert bool(connector.probe().doubt) is (order == 1)
