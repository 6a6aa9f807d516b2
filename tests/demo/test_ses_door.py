"""The door before SES: lets through, throttles, refuses."""

import http.client
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

import pytest

from sidecar.demo.ses_door import Refusal, SesDoor

PATH = "/v2/email/outbound-emails"
NO_MAILBOX = Refusal(HTTPStatus.BAD_REQUEST, "MessageRejected", "no such mailbox")
THROTTLED = Refusal(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequestsException", "too fast", times=2)


@dataclass
class Behind:
    """The SES behind the door: what it was asked."""

    door: SesDoor
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)

    def send(self, to: str | None, body: bytes = b"") -> tuple[int, str | None, bytes]:
        """Status, SES's name of the error, text."""
        data = body if to is None else json.dumps({"Destination": {"ToAddresses": [to]}}).encode()
        connection = http.client.HTTPConnection(urlsplit(self.door.url).netloc, timeout=10)
        try:
            connection.request("POST", PATH, data, {"Authorization": "AWS4 for " + str(to)})
            answer = connection.getresponse()
            return answer.status, answer.getheader("x-amzn-ErrorType"), answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def _behind() -> Iterator[Behind]:
    asked: list[tuple[str, str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers["Authorization"], body))
            answer = json.dumps({"MessageId": f"id-{len(asked)}"}).encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    door = SesDoor(f"http://127.0.0.1:{server.server_port}", {})
    yield Behind(door, asked)
    door.close()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def behind(_behind: Behind) -> Behind:
    """A door that refuses nobody yet."""
    _behind.asked.clear()
    _behind.door.refusals = {}
    return _behind


def test_what_meets_no_refusal_goes_through_as_it_is(behind: Behind) -> None:
    behind.door.refusals = {"bad@x.test": NO_MAILBOX}
    status, error, text = behind.send("good@x.test")
    assert (status, error, json.loads(text)) == (200, None, {"MessageId": "id-1"})
    ((path, authorization, body),) = behind.asked
    assert (path, authorization) == (PATH, "AWS4 for good@x.test")
    assert json.loads(body) == {"Destination": {"ToAddresses": ["good@x.test"]}}


def test_an_address_is_refused_every_time_and_never_reaches_ses(behind: Behind) -> None:
    behind.door.refusals = {"bad@x.test": NO_MAILBOX}
    for _ in range(3):
        status, error, text = behind.send("bad@x.test")
        assert (status, error) == (400, "MessageRejected")
        assert json.loads(text) == {"message": "no such mailbox"}
    assert behind.asked == []


def test_a_throttled_address_goes_through_after_so_many_times(behind: Behind) -> None:
    behind.door.refusals = {"busy@x.test": THROTTLED}
    answers = [behind.send("busy@x.test")[0] for _ in range(4)]
    assert answers == [429, 429, 200, 200]
    assert len(behind.asked) == 2


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"<html>", b'{"Destination":[]}'])
def test_what_is_no_send_goes_through(behind: Behind, body: bytes) -> None:
    behind.door.refusals = {"bad@x.test": NO_MAILBOX}
    assert behind.send(None, body)[0] == HTTPStatus.OK
    assert behind.asked[0][2] == body
