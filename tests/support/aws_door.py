"""Stands before moto and does what moto cannot: SES's account, and every way in which AWS fails."""

import http.client
import http.server
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import unquote, urlsplit

from sidecar.demo.local_server import LocalServer, QuietHandler

JSON = "application/json"


class Break(Enum):
    """Ends of a connection without an answer."""

    DROP = "AWS has not got the request"
    LOSE = "AWS has done what was asked; its answer is lost"
    HANG = "nothing comes back until the door is closed"
    HALF = "of a SendMessageBatch AWS takes every second message, and says so"


@dataclass(frozen=True)
class Refuse:
    """An error of a JSON service. late: AWS has done what was asked all the same."""

    status: int
    code: str
    message: str = ""


@dataclass(frozen=True)
class Call:
    """One request. service: sqs, dynamodb, ses, …; action: SendMessageBatch, …"""

    service: str
    action: str
    method: str
    path: str
    body: bytes


Trouble = Break | Refuse | None
Plan = Callable[[Call], Trouble]

THROTTLED = Refuse(429, "TooManyRequestsException", "Maximum sending rate exceeded")
OUT = Refuse(503, "ServiceUnavailable", "AWS is out")


def all_is_well(_call: Call) -> Trouble:
    """No trouble."""
    return None


class AwsDoor:
    """An AWS at ``url``: SES's account and identities are answered here, the rest by ``upstream``.

    plan: what happens to a call; it may be changed at any time.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream).netloc
        self.plan: Plan = all_is_well
        self.quota: dict[str, float] = {
            "Max24HourSend": 50_000, "MaxSendRate": 14, "SentLast24Hours": 1234,
        }  # fmt: skip
        self.production, self.sending, self.enforcement = True, True, "HEALTHY"
        self.identities: dict[str, bool] = {}
        """SES's: domain or address → whether it is verified."""
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        door = self

        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                door.answer(self, body)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _do  # noqa: N815

        self._server = LocalServer(Handler)
        self.url = self._server.url

    def close(self) -> None:
        """Let go of everybody."""
        self._closing.set()
        self._server.close()

    def answer(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer a request, or fail as planned."""
        call = _call(request, body)
        with self._lock:
            self.calls[f"{call.service}:{call.action}"] += 1
            trouble = self.plan(call)
        if trouble is Break.HANG:
            self._closing.wait()
        if trouble in {Break.DROP, Break.HANG}:
            request.close_connection = True
            return
        if isinstance(trouble, Refuse):
            text = json.dumps({"__type": trouble.code, "message": trouble.message}).encode()
            _reply(request, trouble.status, text, {"x-amzn-ErrorType": trouble.code})
            return
        failed: list[str] = []
        if trouble is Break.HALF:
            body, failed = _halved(body)
        own = self._own(call)
        status, headers, text = own or self._pass_on(request, body)
        if failed:
            text = _with_failed(text, failed)
        if trouble is Break.LOSE:
            request.close_connection = True
            return
        _reply(request, status, text, headers)

    def _own(self, call: Call) -> tuple[int, dict[str, str], bytes] | None:
        """SES's account and identities."""
        if call.path == "/v2/email/account" and call.method == "GET":
            return _json(
                {
                    "SendQuota": self.quota,
                    "SendingEnabled": self.sending,
                    "ProductionAccessEnabled": self.production,
                    "EnforcementStatus": self.enforcement,
                }
            )
        match = re.fullmatch(r"/v2/email/identities/?([^/?]*)", call.path)
        if not match:
            return None
        name = unquote(match[1]) or json.loads(call.body)["EmailIdentity"]
        if call.method == "POST":
            self.identities.setdefault(name, False)
        if name not in self.identities:
            body = {"message": f"Email identity {name} does not exist."}
            _, headers, text = _json(body)
            return 404, {**headers, "x-amzn-ErrorType": "NotFoundException"}, text
        tokens = [f"token{n}" for n in range(3)] if "@" not in name else []
        return _json(
            {
                "VerifiedForSendingStatus": self.identities[name],
                "DkimAttributes": {"Tokens": tokens},
            }
        )

    def _pass_on(
        self, request: http.server.BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self._upstream, timeout=30)
        try:
            # A request is moto's own whatever name it was sent to.
            headers = {
                k: v
                for k, v in request.headers.items()
                if k.lower() not in {"connection", "content-length"}
            }
            connection.request(request.command, request.path, body, headers)
            answer = connection.getresponse()
            kept = {
                name: value
                for name, value in answer.getheaders()
                if name.lower().startswith("x-amz") or name.lower() in {"content-type", "etag"}
            }
            return answer.status, kept, answer.read()
        finally:
            connection.close()


def _halved(body: bytes) -> tuple[bytes, list[str]]:
    """A SendMessageBatch without every second message, if it has any, and the ids of those."""
    asked = json.loads(body)
    entries = asked["Entries"]
    asked["Entries"] = entries[::2]
    return json.dumps(asked).encode(), [entry["Id"] for entry in entries[1::2]]


def _with_failed(text: bytes, ids: list[str]) -> bytes:
    failed = [{"Id": i, "Code": "InternalError", "SenderFault": False} for i in ids]
    return json.dumps(json.loads(text) | {"Failed": failed}).encode()


def _call(request: http.server.BaseHTTPRequestHandler, body: bytes) -> Call:
    scope = re.search(
        r"Credential=[^/]+/[^/]+/[^/]+/([^/]+)/", request.headers.get("Authorization", "")
    )
    service = scope[1] if scope else ""
    target = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
    query = re.search(rb"(?:^|&)Action=(\w+)", body)
    action = target or (query[1].decode() if query else "")
    path = urlsplit(request.path).path
    if path == "/v2/email/outbound-emails":
        action = "SendEmail"
    return Call(service, action, request.command, path, body)


def _json(value: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": JSON}, json.dumps(value).encode()


def _reply(
    request: http.server.BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    headers: Mapping[str, str],
) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


class Storm:
    """A plan by which a share of SES's sends meets trouble; the same ones with the same seed.

    uncertain: how many of a thousand sends may or may not have been done.
    """

    def __init__(self, share: float, uncertain: float, seed: int) -> None:
        self._chance = random.Random(seed)
        self._share, self._uncertain = share, uncertain
        self.met: Counter[str] = Counter()

    def __call__(self, call: Call) -> Trouble:
        if call.action != "SendEmail":
            return None
        draw = self._chance.random()
        if draw < self._uncertain:
            found: Trouble = self._chance.choice([Break.DROP, Break.LOSE])
        elif draw < self._share:
            found = self._chance.choice([THROTTLED, OUT, Refuse(500, "InternalFailure", "oops")])
        else:
            return None
        self.met[str(found)] += 1
        return found


class Outage:
    """A plan: services that are out while ``on``; slow by ``seconds``."""

    def __init__(self, *services: str) -> None:
        self._services = services
        self.on = False

    def __call__(self, call: Call) -> Trouble:
        return OUT if self.on and call.service in self._services else None


def wait(seconds: float) -> None:
    """Let time pass: only for what has no fact to wait for."""
    time.sleep(seconds)
