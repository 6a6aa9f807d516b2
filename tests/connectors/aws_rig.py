"""AWS as tests have it: moto, and a front before it that fails as AWS and networks do."""

import gzip
import http.client
import json
import logging
import socket
import socketserver
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import boto3.session
from moto.server import ThreadedMotoServer
from moto.sqs.models import sqs_backends

from sidecar.connectors.accounts import AwsAccount
from sidecar.connectors.aws import AwsConnector
from sidecar.connectors.base import Submission
from sidecar.mail import MailBatch
from sidecar.message import JOB, SigningKey, is_signed, parse_envelope
from tests.connectors.contract import assert_one_each
from tests.connectors.ledger import Ledger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

ACCOUNT_ID, REGION = "123456789012", "eu-west-1"
SITE = "5f0c9a3e7b"
KEY = SigningKey("company-1", "callback-secret-of-company-1")
ACCESS_KEY, SECRET_KEY = "AKIARIGRIGRIGRIGRIG1", "rig/secret/access/key+rig/secret/access"
TIMEOUT = 0.5

# Every request of every test, otherwise.
logging.getLogger("werkzeug").setLevel(logging.WARNING)

SEND, ATTRIBUTES, RECEIVE = "SendMessageBatch", "GetQueueAttributes", "ReceiveMessage"
DELETE, GET_ITEM, PUT_ITEM = "DeleteMessageBatch", "GetItem", "PutItem"


@dataclass
class Fault:
    """What the front does instead of handing a request on; the first that fits counts.

    action: of these requests, '' for all. skip: not to the first so many of them; times: to so many
    only. code: answer this error of AWS, with ``status`` and ``message``. entries: refuse these
    entries of a batch, as code and SenderFault, and hand on the rest. body: answer this, with
    ``status``. drop: end the connection ``before`` the request is handed on, or ``after``. gate:
    wait until it is set, then hand on. first: called before the request is handed on.
    """

    action: str = ""
    skip: int = 0
    times: int = 1_000_000
    status: int = 400
    code: str = ""
    message: str = ""
    entries: Mapping[int, tuple[str, bool]] = field(default_factory=dict)
    body: bytes | None = None
    drop: str = ""
    gate: threading.Event | None = None
    first: Callable[[], object] | None = None


class Asked(NamedTuple):
    """A request that came: its action and its parameters."""

    action: str
    what: dict[str, Any]


MOTO = threading.Lock()
"""DynamoDB writes an item in one piece; threads of moto may both find a condition true."""


class Front:
    """An endpoint of AWS: hands on to moto what no fault is for, and records everything."""

    def __init__(self, behind: tuple[str, int], context: ssl.SSLContext | None = None) -> None:
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.waiting = 0
        self._behind = behind
        self._lock = threading.Lock()
        self._gates: list[threading.Event] = []
        self._server = _Server(self, context)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        scheme = "https" if context else "http"
        self.url = f"{scheme}://localhost:{self._server.server_address[1]}"

    def __enter__(self) -> "Front":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for fault in self.faults:
            if fault.gate:
                fault.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def calls(self, action: str) -> list[dict[str, Any]]:
        """The parameters of the requests of one action, as they came."""
        return [asked.what for asked in self.asked if asked.action == action]

    def sizes(self) -> list[int]:
        """How many messages each call carried."""
        return [len(call["Entries"]) for call in self.calls(SEND)]

    def fault(self, action: str, what: dict[str, Any]) -> Fault | None:
        """Record a request; the fault that is for it."""
        with self._lock:
            self.asked.append(Asked(action, what))
            for fault in self.faults:
                if fault.action in {"", action}:
                    if fault.skip:
                        fault.skip -= 1
                    elif fault.times:
                        fault.times -= 1
                        return fault
        return None

    def wait(self, gate: threading.Event) -> None:
        """Hold a request back."""
        with self._lock:
            self.waiting += 1
        gate.wait(60)
        with self._lock:
            self.waiting -= 1

    def hand_on(self, path: str, body: bytes, headers: dict[str, str]) -> "Answer":
        """Moto's answer."""
        writes = headers.get("X-Amz-Target", "").endswith(".PutItem")
        connection = http.client.HTTPConnection(*self._behind, timeout=60)
        try:
            with MOTO if writes else nullcontext():
                connection.request("POST", path, body, headers)
                response = connection.getresponse()
                content = response.read()
            kept = {k: v for k, v in response.getheaders() if k.lower().startswith(("x-", "conte"))}
            return Answer(response.status, kept, content)
        finally:
            connection.close()


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, front: Front, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.front = front
        self.open: set[socket.socket] = set()
        if context:
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for each in list(self.open):
            super().shutdown_request(each)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        action = self.headers["X-Amz-Target"].rpartition(".")[2]
        front = self.server.front
        fault = front.fault(action, json.loads(body)) or Fault()
        if fault.gate:
            front.wait(fault.gate)
        if fault.first:
            fault.first()
        if fault.drop == "before":
            self.close_connection = True
            return
        answer = self._answer(front, fault, body)
        if fault.drop == "after":
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _answer(self, front: Front, fault: Fault, body: bytes) -> Answer:
        if fault.code:
            fields = {"__type": f"com.amazonaws#{fault.code}", "message": fault.message}
            return Answer(fault.status, {}, json.dumps(fields).encode())
        if fault.body is not None:
            return Answer(fault.status, {}, fault.body)
        if fault.entries:
            return self._refuse_entries(front, fault, body)
        return front.hand_on(self.path, body, dict(self.headers))

    def _refuse_entries(self, front: Front, fault: Fault, body: bytes) -> Answer:
        request = json.loads(body)
        entries: list[dict[str, Any]] = request["Entries"]
        request["Entries"] = [e for i, e in enumerate(entries) if i not in fault.entries]
        answer: dict[str, Any] = {"Successful": []}
        if request["Entries"]:
            kept = {k: v for k, v in self.headers.items() if k.lower() != "content-length"}
            status, _, found = front.hand_on(self.path, json.dumps(request).encode(), kept)
            assert status == 200
            answer = json.loads(found)
        answer["Failed"] = [
            {"Id": entries[i]["Id"], "Code": code, "SenderFault": fault_, "Message": fault.message}
            for i, (code, fault_) in fault.entries.items()
            if i < len(entries)
        ]
        return Answer(200, {}, json.dumps(answer).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing is logged."""


@dataclass(frozen=True)
class Moto:
    """AWS itself, and clients that ask it past any front."""

    address: tuple[str, int]
    sqs: "SQSClient"
    dynamodb: "DynamoDBClient"


@contextmanager
def moto_server() -> Iterator[Moto]:
    """AWS, running."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = server.get_host_and_port()
    session = boto3.session.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION)
    url = "http://{}:{}".format(*address)
    sqs: SQSClient = session.client("sqs", endpoint_url=url)
    dynamodb: DynamoDBClient = session.client("dynamodb", endpoint_url=url)
    try:
        yield Moto(address, sqs, dynamodb)
    finally:
        sqs.close()
        dynamodb.close()
        server.stop()
        if server._server:
            server._server.server_close()


class Aws:
    """What one test has at AWS: two queues and a ledger of its own, and the front to reach them."""

    def __init__(self, moto: Moto, context: ssl.SSLContext | None = None) -> None:
        self.front = Front(moto.address, context)
        self.sqs, self.dynamodb = moto.sqs, moto.dynamodb
        self._made: list[AwsConnector] = []
        name = uuid4().hex
        self.jobs, self.results, self.table = f"jobs-{name}", f"results-{name}", f"ledger-{name}"

    def __enter__(self) -> "Aws":
        self.front.__enter__()
        self.sqs.create_queue(QueueName=self.jobs)
        self.sqs.create_queue(QueueName=self.results, Attributes={"VisibilityTimeout": "1"})
        self.dynamodb.create_table(
            TableName=self.table,
            KeySchema=[{"AttributeName": "batch_key", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "batch_key", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.front.__exit__()
        for connector in self._made:
            connector.close(0)

    def url(self, queue: str) -> str:
        """The URL of a queue."""
        return f"{self.front.url}/{ACCOUNT_ID}/{queue}"

    def account(self, **changes: Any) -> AwsAccount:
        """The account as it is set up here."""
        values: dict[str, Any] = {
            "region": REGION,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
            "queue_url": self.url(self.jobs),
            "results_queue_url": self.url(self.results),
            "ledger_table": self.table,
            "endpoint_url": self.front.url,
            "site_uid": SITE,
            "key": KEY,
        }
        return AwsAccount(**values | changes)

    def make(self, account: AwsAccount | None = None, **options: Any) -> AwsConnector:
        """A connector to the account; without an answer it gives up soon."""
        values: dict[str, Any] = {"guard": lambda: None, "wait": 0, "timeout": 10.0, **options}
        self._made.append(AwsConnector(account or self.account(), **values))
        return self._made[-1]

    def reset(self) -> None:
        """No faults, nothing asked, no jobs."""
        self.front.faults, self.front.asked = [], []
        self._messages.clear()

    @property
    def _messages(self) -> list[Any]:
        return sqs_backends[ACCOUNT_ID][REGION].queues[self.jobs]._messages

    def messages(self) -> list[Any]:
        """What is in the jobs queue, in the order in which it came."""
        return list(self._messages)

    def taken(self) -> list[str]:
        """The Message-IDs of all mails in the jobs queue."""
        return [name for message in self.messages() for name in message_ids(message.body)]

    def report(self, body: str) -> None:
        """Put a result into the results queue."""
        self.sqs.send_message(QueueUrl=self.url(self.results), MessageBody=body)


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


def submit(connector: AwsConnector, batches: Sequence[MailBatch]) -> list[Submission]:
    """Submit them; the results in the order of the batches."""
    ledger = Ledger()
    found = list(connector.submit(iter(batches), ledger))
    assert not ledger.calls
    assert_one_each(found, list(batches))
    by_id = {submission.batch_id: submission for submission in found}
    return [by_id[batch.id] for batch in batches]


@contextmanager
def hanging_up() -> Iterator[str]:
    """The URL of a server that ends every connection in the middle of the TLS handshake."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(10)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"https://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
