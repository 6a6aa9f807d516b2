"""An HTTP server on a free port of this machine, in threads of its own."""

import http.server
import threading


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """Requests are not news."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
        """See above."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is not news either."""


class LocalServer:
    """Serves ``handler`` at ``url`` until closed."""

    def __init__(self, handler: type[QuietHandler]) -> None:
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
