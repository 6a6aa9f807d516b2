"""Plays the plugin's callback page where there is no PHP: checks the signature, stores the raw
body, answers 202.

The answers are those of moodle_plugin/ui/ajax/cloud_callback.php; one suite of tests is for both.
"""

import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

from sidecar.demo.local_server import LocalServer, QuietHandler
from sidecar.errors import MessageError
from sidecar.message import MAX_RESULT_BYTES, RESULT, is_signed, parse_result
from sidecar.store import inbox
from sidecar.store.database import Database
from sidecar.store.inbox import Delivery

PATH = "/local/manireports/ui/ajax/cloud_callback.php"
CLOCK_SECONDS = 300
"""How far a report's time may be off."""

_TIMESTAMP = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")

Refuse = Callable[[Delivery], HTTPStatus | None]


class CallbackPage:
    """The page on a port of its own.

    secrets: callback key → secret, asked for each request. refuse: a status to answer instead of
    taking a good report.
    """

    def __init__(
        self,
        database: Database,
        secrets: Callable[[], Mapping[str, str]],
        refuse: Refuse = lambda _delivery: None,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self.refuse = refuse
        page = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:  # noqa: N802 - as the base class calls it
                status = page.take(self.path, self._headers(), self._body())
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _headers(self) -> dict[str, str]:
                return {name.lower(): value for name, value in self.headers.items()}

            def _body(self) -> bytes:
                length = int(self.headers.get("Content-Length") or 0)
                return self.rfile.read(min(length, MAX_RESULT_BYTES + 1))

        self._server = LocalServer(Handler)
        self.url = self._server.url + PATH
        self.close = self._server.close

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> HTTPStatus:
        """What the page answers to a report; the names of ``headers`` are in lower case."""
        if path != PATH:
            return HTTPStatus.NOT_FOUND
        if len(body) > MAX_RESULT_BYTES:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if not _TIMESTAMP.fullmatch(headers.get("x-manireports-timestamp") or ""):
            return HTTPStatus.BAD_REQUEST
        return self._take(headers, body.decode(errors="replace"))

    def _take(self, headers: Mapping[str, str], payload: str) -> HTTPStatus:
        key = headers.get("x-manireports-key") or ""
        signature = headers.get("x-manireports-signature") or ""
        secret = self._secrets().get(key, "")
        signed_at = int(headers["x-manireports-timestamp"])
        fresh = abs(time.time() - signed_at) <= CLOCK_SECONDS
        if not fresh or not is_signed(RESULT, signed_at, payload, signature, [secret]):
            return HTTPStatus.UNAUTHORIZED
        try:
            result = parse_result(payload)
        except MessageError:
            return HTTPStatus.BAD_REQUEST
        delivery = Delivery(result.delivery_id, key, signed_at, payload, signature)
        if refusal := self.refuse(delivery):
            return refusal
        with self._database.write(None) as tx:
            new = inbox.store(tx, self._database, [delivery])
        return HTTPStatus.ACCEPTED if new else HTTPStatus.OK
