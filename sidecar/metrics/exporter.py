"""Serves /metrics, /healthz and /readyz, with TLS and a password where they are set."""

import base64
import binascii
import hmac
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

log = logging.getLogger(__name__)

Start = Callable[..., Callable[[bytes], object]]
Ready = Callable[[], tuple[bool, Mapping[str, object]]]

_OK, _NOT = "200 OK", "503 Service Unavailable"

AT_ONCE = 16
"""Connections that are served at the same time; more are closed at once."""

PATIENCE = 15
"""Seconds that a client may take over its request."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where and to whom the pages are shown.

    certificate, key: PEM files, for TLS. user, password: for /metrics and /readyz; /healthz tells
    nothing and asks for nothing.
    """

    host: str = "127.0.0.1"
    port: int = 9469
    certificate: Path | None = None
    key: Path | None = None
    user: str = ""
    password: str = field(default="", repr=False)

    def opens_for(self, authorization: str) -> bool:
        """Whether this header's name and password are the right ones."""
        if not self.user:
            return True
        scheme, _, given = authorization.partition(" ")
        try:
            told = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            told = b""
        right = f"{self.user}:{self.password}".encode()
        return hmac.compare_digest(told, right) and scheme.lower() == "basic"


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - inherited
        """Scrapes are not news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    tls: ssl.SSLContext | None = None

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._places = threading.Semaphore(AT_ONCE)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """As inherited, without asking DNS for a name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def get_request(self) -> tuple[Any, Any]:
        """A connection; the handshake is made in its own thread."""
        connection, peer = super().get_request()
        connection.settimeout(PATIENCE)
        if self.tls is not None:
            connection = self.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, peer

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it in a thread of its own, if there is a place."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As inherited; the place is free afterwards."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that breaks off, or speaks no TLS, is no trouble of ours."""
        log.debug("a client of the metrics page failed", exc_info=True)


class Exporter:
    """An HTTP server in its own thread; port 0 takes a free one.

    healthy: whether the process works at all; ready: whether mail can flow, and why not. Raises
    OSError (ssl.SSLError among them) if it cannot serve.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        healthy: Callable[[], bool],
        ready: Ready,
        door: Door,
    ) -> None:
        self._healthy = healthy
        self._ready = ready
        self._door = door
        self._metrics = make_wsgi_app(registry)
        tls = None
        if door.certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.minimum_version = ssl.TLSVersion.TLSv1_2
            tls.load_cert_chain(door.certificate, door.key)
        self._server = make_server(
            door.host, door.port, self._answer, server_class=_Server, handler_class=_Handler
        )
        self._server.tls = tls
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="exporter", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            return _text(start, "405 Method Not Allowed", "GET", [("Allow", "GET, HEAD")])
        path = environ.get("PATH_INFO", "")
        if path == "/healthz":
            ok = self._healthy()
            return _text(start, _OK if ok else _NOT, "ok" if ok else "the main loop stands still")
        if path not in ("/metrics", "/readyz"):
            return _text(start, "404 Not Found", "/metrics, /healthz or /readyz")
        if not self._door.opens_for(environ.get("HTTP_AUTHORIZATION", "")):
            ask = [("WWW-Authenticate", 'Basic realm="manireports-sidecar", charset="UTF-8"')]
            return _text(start, "401 Unauthorized", "a name and a password are needed", ask)
        if path == "/metrics":
            page: Iterable[bytes] = self._metrics(environ, start)
            return page
        ok, why = self._ready()
        body = json.dumps(why, ensure_ascii=False, indent=2)
        return _text(start, _OK if ok else _NOT, body, kind="application/json")


def _text(
    start: Start,
    status: str,
    body: str,
    headers: Iterable[tuple[str, str]] = (),
    kind: str = "text/plain; charset=utf-8",
) -> list[bytes]:
    fixed = [("Content-Type", kind), ("X-Content-Type-Options", "nosniff")]
    start(status, [*fixed, ("Cache-Control", "no-store"), *headers])
    return [f"{body}\n".encode()]
