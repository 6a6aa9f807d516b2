"""Serves /metrics and /healthz."""

import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - inherited
        """Scrapes are not news."""


class Exporter:
    """An HTTP server in its own thread, on ``host``:``port``; port 0 takes a free one."""

    def __init__(
        self, registry: CollectorRegistry, healthy: Callable[[], bool], host: str, port: int
    ) -> None:
        metrics = make_wsgi_app(registry)

        def app(
            environ: dict[str, Any], start: Callable[..., Callable[[bytes], object]]
        ) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            if path == "/metrics":
                page: Iterable[bytes] = metrics(environ, start)
                return page
            if path == "/healthz":
                ok = healthy()
                status = "200 OK" if ok else "503 Service Unavailable"
                start(status, [("Content-Type", "text/plain; charset=utf-8")])
                return [b"ok\n" if ok else b"the main loop does not answer\n"]
            start("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"/metrics or /healthz\n"]

        self._server: WSGIServer = make_server(host, port, app, handler_class=_Quiet)
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
