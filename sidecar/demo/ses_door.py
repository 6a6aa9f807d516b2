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

from sidecar.demo.local_server import LocalServer, QuietHandler


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

        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802 - as the base class calls it
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

        self._server = LocalServer(Handler)
        self.url, self.close = self._server.url, self._server.close

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
