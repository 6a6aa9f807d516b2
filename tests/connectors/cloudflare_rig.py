"""Cloudflare's API and our Worker as the connector sees them: documented answers, and faults."""

import gzip
import json
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from sidecar.connectors.accounts import CloudflareAccount
from sidecar.connectors.cloudflare import CloudflareConnector
from sidecar.demo.local_server import LocalServer, QuietHandler
from sidecar.message import JOB, SigningKey, is_signed, parse_envelope

ACCOUNT, JOBS, RESULTS = "a" * 32, "1" * 32, "2" * 32
SITE = "5f0c9a3e7b"
KEY = SigningKey("company-1", "callback-secret-of-company-1")

PUSH, PULL, ACK, METRICS, QUEUE = "batch", "pull", "ack", "metrics", "queue"
REVOKE, STATUS = "revoke", "status"


@dataclass
class Fault:
    """What meets requests of one action ('' all): ``skip`` of them pass, then ``times`` do not.

    status, code: answer so. body: answer this, with ``status``. drop: end the connection, before
    the request was heeded or ``after``. retry_after: the header. gate: wait until it is set, then
    heed. big: only a batch with a message that has as many bytes.
    """

    action: str = ""
    skip: int = 0
    times: int = 1_000_000
    status: int = 0
    code: int = 0
    message: str = "said so"
    body: bytes | None = None
    drop: str = ""
    retry_after: str = ""
    gate: threading.Event | None = None
    big: int = 0


@dataclass
class Message:
    """A message of the results queue."""

    id: str
    body: str
    kind: str = "text"
    visible_at: float = 0.0
    lease: str = ""
    attempts: int = 0


@dataclass
class Cloudflare:
    """What one test has at Cloudflare. asked: (action, fields) of each request that came."""

    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    shelf: list[Message] = field(default_factory=list)
    consumers: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)
    callback: bool = True
    most: object = None
    waiting: int = 0
    url: str = ""
    token: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    made: list[CloudflareConnector] = field(default_factory=list)

    def account(self, **changes: Any) -> CloudflareAccount:
        """The account as it is set up here."""
        values: dict[str, Any] = {
            "account_id": ACCOUNT,
            "api_token": self.token,
            "queue_id": JOBS,
            "results_queue_id": RESULTS,
            "worker_url": f"{self.url}/worker",
            "api_url": f"{self.url}/client/v4",
            "site_uid": SITE,
            "key": KEY,
        }
        return CloudflareAccount(**values | changes)

    def make(self, account: CloudflareAccount | None = None, **options: Any) -> CloudflareConnector:
        """A connector to the account; without an answer it gives up soon."""
        values: dict[str, Any] = {"guard": lambda: None, "timeout": 10.0, "pause": 0, **options}
        values.setdefault("visible", 1.0)
        self.made.append(CloudflareConnector(account or self.account(), **values))
        return self.made[-1]

    def report(self, body: str) -> None:
        """Put a result into the results queue."""
        self.shelf.append(Message(uuid4().hex, body))

    def taken(self) -> list[str]:
        """The Message-IDs of all mails in the jobs queue."""
        return [name for body in list(self.jobs) for name in message_ids(body)]

    def calls(self, action: str) -> list[Any]:
        """The fields of the requests of one action."""
        return [fields for asked, fields in self.asked if asked == action]

    def sizes(self) -> list[int]:
        """How many messages each push carried."""
        return [len(call["messages"]) for call in self.calls(PUSH)]

    # What answers

    def fault(self, action: str, fields: Any) -> Fault | None:
        """Record a request; the fault that is for it."""
        with self.lock:
            self.asked.append((action, fields))
            for fault in self.faults:
                if fault.action not in {"", action} or not _is_big(fault, fields):
                    continue
                if fault.skip:
                    fault.skip -= 1
                elif fault.times:
                    fault.times -= 1
                    return fault
        return None

    def act(self, action: str, queue: str, fields: Any) -> Any:
        """The result of a good request."""
        with self.lock:
            return getattr(self, f"_{action}")(queue, fields)

    def _batch(self, _queue: str, fields: Any) -> Any:
        assert {m["content_type"] for m in fields["messages"]} == {"text"}
        self.jobs += [message["body"] for message in fields["messages"]]
        return {"metadata": {"metrics": {"backlog_count": len(self.jobs)}}}

    def _pull(self, _queue: str, fields: Any) -> Any:
        now = time.monotonic()
        found: list[dict[str, Any]] = []
        for message in self.shelf:
            if message.visible_at <= now and len(found) < min(fields["batch_size"], 5):
                message.visible_at = now + fields["visibility_timeout_ms"] / 1000
                message.lease, message.attempts = uuid4().hex, message.attempts + 1
                body = message.body
                if message.kind != "text":
                    body = b64encode(body.encode()).decode()
                found.append(
                    {
                        "id": message.id,
                        "body": body,
                        "attempts": message.attempts,
                        "timestamp_ms": 1,
                        "lease_id": message.lease,
                        "metadata": {"CF-Content-Type": message.kind},
                    }
                )
        return {"message_backlog_count": len(self.shelf), "messages": found}

    def _ack(self, _queue: str, fields: Any) -> Any:
        leases = {each["lease_id"] for each in fields["acks"]}
        before = len(self.shelf)
        self.shelf[:] = [message for message in self.shelf if message.lease not in leases]
        return {"ackCount": before - len(self.shelf), "retryCount": 0, "warnings": {}}

    def _metrics(self, queue: str, _fields: Any) -> Any:
        count = len(self.jobs) if queue == JOBS else len(self.shelf)
        return {"backlog_count": count, "backlog_bytes": 1, "oldest_message_timestamp_ms": 1}

    def _queue(self, queue: str, _fields: Any) -> Any:
        usual = [{"type": "worker" if queue == JOBS else "http_pull"}]
        name = "jobs" if queue == JOBS else "results"
        consumers = self.consumers.get(queue, usual)
        return {"queue_id": queue, "queue_name": name, "consumers": consumers}

    def worker(self, kind: str, fields: Any) -> Any:
        """The Worker's answer."""
        if kind == STATUS:
            found = {"version": 1, "sender": "resend", "callback": self.callback, "keys": ["k"]}
            return found | ({"max_mail_bytes": self.most} if self.most else {})
        keys = [mail["mail_key"] for mail in fields["mails"]]
        return {"revoked": [key for key in keys if key not in self.claimed]}


def _is_big(fault: Fault, fields: Any) -> bool:
    if not fault.big:
        return True
    return any(len(m["body"]) >= fault.big for m in (fields or {}).get("messages", ()))


@contextmanager
def cloudflare() -> Iterator[Cloudflare]:
    """The fake, running."""
    made = Cloudflare(token=f"token-{uuid4().hex}")
    server = LocalServer(_handler(made))
    made.url = server.url
    try:
        yield made
    finally:
        for fault in made.faults:
            if fault.gate:
                fault.gate.set()
        for connector in made.made:
            connector.close(0)
        server.close()


def _handler(cloud: Cloudflare) -> type[QuietHandler]:
    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:  # noqa: N802 - as the base class calls it
            self._serve(b"")

        def do_POST(self) -> None:  # noqa: N802
            self._serve(self.rfile.read(int(self.headers["Content-Length"])))

        def _serve(self, body: bytes) -> None:
            fields = json.loads(body) if body else None
            parts = self.path.strip("/").split("/")
            of_worker = parts[0] == "worker"
            action = parts[-1]
            if not of_worker and action not in {PUSH, PULL, ACK, METRICS}:
                action = QUEUE
            fault = cloud.fault(action, fields) or Fault()
            if fault.gate:
                with cloud.lock:
                    cloud.waiting += 1
                fault.gate.wait(60)
                with cloud.lock:
                    cloud.waiting -= 1
            if fault.drop == "before":
                self.close_connection = True
                return
            status, answer = self._answer(fault, of_worker, action, parts, body, fields)
            if fault.drop == "after":
                self.close_connection = True
                return
            self.send_response_only(status)
            if fault.retry_after:
                self.send_header("Retry-After", fault.retry_after)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _answer(
            self,
            fault: Fault,
            of_worker: bool,
            action: str,
            parts: list[str],
            body: bytes,
            fields: Any,
        ) -> tuple[int, bytes]:
            if fault.body is not None:
                return fault.status or 200, fault.body
            if of_worker:
                return self._of_worker(fault, action, body, fields)
            if fault.status:
                return fault.status, failure(fault.code, fault.message)
            if self.headers["Authorization"] != f"Bearer {cloud.token}":
                return 401, failure(10000, "Authentication error")
            queue = parts[5]
            if parts[:4] != ["client", "v4", "accounts", ACCOUNT] or queue not in {JOBS, RESULTS}:
                return 404, failure(11000, "no such queue")
            result = cloud.act(action, queue, fields)
            found = {"success": True, "errors": [], "messages": [], "result": result}
            return 200, json.dumps(found).encode()

        def _of_worker(
            self, fault: Fault, action: str, body: bytes, fields: Any
        ) -> tuple[int, bytes]:
            if fault.status:
                return fault.status, json.dumps({"error": fault.message}).encode()
            at, key = self.headers["X-ManiReports-Timestamp"], self.headers["X-ManiReports-Key"]
            signature = self.headers["X-ManiReports-Signature"]
            good = is_signed(action, int(at), body.decode(), signature, [KEY.secret])
            if not good or key != KEY.key:
                return 401, b'{"error": "not signed by a key of ours"}'
            if fields["site_uid"] != SITE:
                return 403, b'{"error": "of another site"}'
            return 200, json.dumps(cloud.worker(action, fields)).encode()

    return Handler


def failure(code: int, message: str) -> bytes:
    """Cloudflare's envelope of an error."""
    errors = [{"code": code, "message": message}] if code else []
    fields = {"success": False, "errors": errors, "messages": [], "result": None}
    return json.dumps(fields).encode()


def payload(body: str) -> dict[str, Any]:
    """What a worker reads in a message, which must be signed."""
    envelope = parse_envelope(body)
    assert is_signed(JOB, envelope.timestamp, envelope.payload, envelope.signature, [KEY.secret])
    assert (envelope.kind, envelope.key) == (JOB, KEY.key)
    found: dict[str, Any] = json.loads(envelope.payload)
    return found


def message_ids(body: str) -> list[str]:
    """The Message-IDs of the mails in a message."""
    emails = json.loads(gzip.decompress(b64decode(payload(body)["emails"])))
    return [dict(mail["headers"])["Message-ID"].strip("<>") for mail in emails]
