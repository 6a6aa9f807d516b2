"""The pages: who may see them, over TLS or not, and what they answer to nonsense."""

import base64
import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trustme
from prometheus_client import CollectorRegistry

from sidecar.errors import DatabaseError
from sidecar.metrics.exporter import AT_ONCE, Door, Exporter
from sidecar.metrics.facts import Fact, FactsCollector
from sidecar.metrics.labels import Bounded, reason

READY: dict[str, object] = {"ready": False, "parts": {"database": {"ok": False, "reason": "away"}}}


def serve(door: Door, registry: CollectorRegistry | None = None) -> Exporter:
    return Exporter(registry or CollectorRegistry(), lambda: True, lambda: (False, READY), door)


@pytest.fixture
def plain() -> Iterator[Exporter]:
    exporter = serve(Door(port=0))
    yield exporter
    exporter.close()


def get(
    url: str, headers: Mapping[str, str] | None = None, context: ssl.SSLContext | None = None
) -> tuple[int, str]:
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_readyz_is_json_with_the_reason(plain: Exporter) -> None:
    status, body = get(f"http://127.0.0.1:{plain.port}/readyz")
    assert (status, json.loads(body)) == (503, READY)
    assert get(f"http://127.0.0.1:{plain.port}/healthz") == (200, "ok\n")
    assert get(f"http://127.0.0.1:{plain.port}/secret")[0] == 404


def test_only_reading_is_answered(plain: Exporter) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{plain.port}/metrics", data=b"x")
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(request, timeout=5)


def test_tls_and_a_password(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    exporter = serve(Door("127.0.0.1", 0, chain, key, "prometheus", "S3cret:ä"))
    try:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        page = f"https://127.0.0.1:{exporter.port}"
        assert get(f"{page}/healthz", None, context)[0] == 200
        for path in ("/metrics", "/readyz"):
            assert get(page + path, None, context)[0] == 401
            assert get(page + path, {"Authorization": "Basic %%%"}, context)[0] == 401
            assert get(page + path, basic("prometheus", "wrong"), context)[0] == 401
            assert get(page + path, basic("prometheus", "S3cret:ä"), context)[0] in {200, 503}
        with socket.create_connection(("127.0.0.1", exporter.port), timeout=5) as rude:
            rude.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert b"manireports" not in rude.recv(1000)
        assert get(f"{page}/healthz", None, context)[0] == 200
    finally:
        exporter.close()


def test_clients_that_say_nothing_do_not_keep_others_out(plain: Exporter) -> None:
    silent = [
        socket.create_connection(("127.0.0.1", plain.port), timeout=5) for _ in range(AT_ONCE - 1)
    ]
    try:
        assert get(f"http://127.0.0.1:{plain.port}/healthz")[0] == 200
    finally:
        for connection in silent:
            connection.close()


def test_a_port_in_use_is_an_oserror(plain: Exporter) -> None:
    with pytest.raises(OSError, match="in use"):
        serve(Door(port=plain.port))


def test_facts_that_cannot_be_read_are_left_out_and_that_is_told() -> None:
    answers: list[dict[str, dict[tuple[str, ...], float]]] = [{"manireports_x": {("1",): 7.0}}]

    def read() -> Mapping[str, Mapping[tuple[str, ...], float]]:
        if not answers:
            raise DatabaseError("away")
        return answers.pop()

    registry = CollectorRegistry()
    registry.register(FactsCollector("t", [Fact("manireports_x", "x", ("company",))], read))
    value = registry.get_sample_value
    assert value("manireports_x", {"company": "1"}) == 7
    registry2 = CollectorRegistry()
    registry2.register(FactsCollector("t", [Fact("manireports_x", "x", ("company",))], read))
    assert registry2.get_sample_value("manireports_x", {"company": "1"}) is None
    assert registry2.get_sample_value("manireports_collector_t_success") == 0


@pytest.mark.parametrize(
    ("code", "label"),
    [
        ("550 5.1.1", "550"),
        ("550", "550"),
        ("suppressed", "suppressed"),
        ("", "none"),
        ("anna@example.test", "other"),
        ("no such user <anna>", "other"),
        ("x" * 50, "other"),
    ],
)
def test_reasons_never_hold_what_a_server_wrote(code: str, label: str) -> None:
    assert reason(code) == label


def test_labels_are_bounded() -> None:
    bounded = Bounded(2)
    assert [bounded(v) for v in ("a", "b", "c", "a")] == ["a", "b", "other", "a"]
