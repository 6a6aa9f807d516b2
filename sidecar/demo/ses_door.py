"""Stands before SES and does what moto cannot: throttles some sends, refuses some addresses."""

import http.client
import http.server
import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit


class QuietServer(http.server.ThreadingHTTPServer):
    """A client that hangs up is not news here."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """See above."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of SES v2 for one address. times: how often; 0: always."""

    status: HTTPStatus
    code: str
    message: str
    times: int = 0


class SesDoor:
    """Passes calls on to ``upstream``, the URL of an SES. refusals: address → what it meets."""

    def __init__(self, upstream: str, refusals: Mapping[str, Refusal]) -> None:
        self._upstream = urlsplit(upstream).netloc
        self.refusals = dict(refusals)
        self._met: Counter[str] = Counter()
        self._lock = threading.Lock()
        door = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                refusal = door.refusal(body)
                if refusal:
                    text = json.dumps({"message": refusal.message}).encode()
                    self._answer(refusal.status, text, refusal.code)
                else:
                    status, text = door.pass_on(self.path, dict(self.headers), body)
                    self._answer(status, text)

            def _answer(self, status: int, text: bytes, code: str = "") -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                if code:
                    self.send_header("x-amzn-ErrorType", code)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
                pass

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def refusal(self, body: bytes) -> Refusal | None:
        """What this send meets instead of SES."""
        try:
            address = json.loads(body)["Destination"]["ToAddresses"][0]
        except (ValueError, LookupError, TypeError):
            return None
        refusal = self.refusals.get(address)
        if refusal is None:
            return None
        with self._lock:
            self._met[address] += 1
            return refusal if not refusal.times or self._met[address] <= refusal.times else None

    def pass_on(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """The answer of the SES behind."""
        connection = http.client.HTTPConnection(self._upstream, timeout=30)
        try:
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
