"""AWS around the worker: moto, an SES that fails as SES does, and the callback page."""

import base64
import hashlib
import itertools
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import boto3
from moto.sqs.models import sqs_backends

from cloud_workers.aws import lambda_handler
from sidecar.mail import Address, Attachment, Content, Mail, MailBatch
from sidecar.message import (
    RESULT,
    BatchResult,
    MailStatus,
    SigningKey,
    encode_batch,
    is_signed,
    parse_envelope,
    parse_result,
)
from tests.contract.wire import schema

ACCOUNT_ID, REGION = "123456789012", "eu-west-1"
SITE = "5f0c9a3e7b"
KEY = SigningKey("company-1", "callback-secret-of-company-1")
OLD_KEY = SigningKey("company-1-old", "its-secret-of-last-year")
SENDER = Address("noreply@moodle.example.test", "Moodle of Björn")
CONTENT = Content(
    "Your new account", "<p>Dear Björn,</p>\n<p>welcome.</p>", "Dear Björn,\nwelcome."
)
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIARIGRIGRIGRIGRIG1",
    "AWS_SECRET_ACCESS_KEY": "rig/secret/access/key",
    "AWS_DEFAULT_REGION": REGION,
}

_numbers = itertools.count(1)


def make_mail(to: str | None = None, **changes: Any) -> Mail:
    """A good mail with an id, a key and an address of its own."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "id": number,
        "mail_key": hashlib.sha256(str(number).encode()).hexdigest(),
        "message_id": f"{number}@moodle.example.test",
        "to": f"user{number}@example.test" if to is None else to,
        "sender": SENDER,
        "envelope_from": SENDER.email,
        "content": CONTENT,
    }
    return Mail(**values | changes)


def make_batch(mails: Iterable[Mail] | int, **changes: Any) -> MailBatch:
    """A batch of these mails, or of so many good ones, asked for now for the first time."""
    chosen = [make_mail() for _ in range(mails)] if isinstance(mails, int) else mails
    values: dict[str, Any] = {
        "id": next(_numbers),
        "batch_key": secrets.token_hex(16),
        "job_id": 31,
        "company_id": 7,
        "attempt": 1,
        "mails": tuple(chosen),
        "job_type": "user_create",
        "first_issued_at": int(time.time()),
    }
    return MailBatch(**values | changes)


def retried(batch: MailBatch, mails: Iterable[Mail], generation: int = 1) -> MailBatch:
    """The batch of a child job that sends ``mails`` of ``batch`` again."""
    again = [replace(m, root_batch=batch.batch_key, generation=generation) for m in mails]
    return make_batch(again)


class Mood(Enum):
    """What the SES of the rig can do besides taking and refusing a mail."""

    TAKE = "takes it"
    HANG = "takes it, and never answers"
    LOSE = "takes it, and ends the connection without an answer"
    GARBAGE = "takes it, and answers what is no JSON"
    DROP = "ends the connection, not having taken it"


@dataclass(frozen=True)
class Refuse:
    """An answer of SES: its status, code and text; no code: the body is ``text`` as it is."""

    status: int
    code: str = ""
    text: str = ""


@dataclass(frozen=True)
class Taken:
    """A mail that SES took responsibility for."""

    to: str
    sender: str
    raw: bytes
    tags: dict[str, str]
    configuration_set: str
    tenant: str

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def mail_key(self) -> str:
        return str(self.message["X-ManiReports-Mail"])


class _Server:
    """An HTTP server on this host, one thread a connection."""

    def __init__(self) -> None:
        rig = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                rig.answer(self, body)

            def do_GET(self) -> None:
                rig.answer(self, b"")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.socket.close()

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        raise NotImplementedError


def reply(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


class FakeSes(_Server):
    """SES v2 SendEmail. mood: what happens to a mail to this address, asked for the n-th time."""

    def __init__(self) -> None:
        super().__init__()
        self.hung = threading.Event()
        self.reset()

    def reset(self) -> None:
        """As if new; who waits is let go."""
        self.hung.set()
        self.hung = threading.Event()
        self.taken: list[Taken] = []
        self.asked: Counter[str] = Counter()
        self.most_at_once = self._now = 0
        self.mood: Callable[[str, int], Mood | Refuse] = lambda to, nth: Mood.TAKE
        self.before: Callable[[str], object] = lambda to: None

    def __exit__(self, *args: object) -> None:
        self.hung.set()
        super().__exit__(*args)

    def times(self) -> Counter[str]:
        """mail_key -> how often it was taken."""
        return Counter(taken.mail_key for taken in self.taken)

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        fields = json.loads(body)
        (to,) = fields["Destination"]["ToAddresses"]
        with self.lock:
            self.asked[to] += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            mood = self.mood(to, self.asked[to])
        try:
            self.before(to)
            self._answer(request, fields, to, mood)
        finally:
            with self.lock:
                self._now -= 1

    def _answer(
        self, request: BaseHTTPRequestHandler, fields: dict[str, Any], to: str, mood: Mood | Refuse
    ) -> None:
        if isinstance(mood, Refuse):
            text = json.dumps({"message": mood.text}) if mood.code else mood.text
            named = {"x_amzn_ErrorType": mood.code} if mood.code else {}
            reply(request, mood.status, text.encode(), **named)
            return
        if mood is not Mood.DROP:
            self.taken.append(
                Taken(
                    to,
                    fields["FromEmailAddress"],
                    base64.b64decode(fields["Content"]["Raw"]["Data"]),
                    {tag["Name"]: tag["Value"] for tag in fields["EmailTags"]},
                    fields.get("ConfigurationSetName", ""),
                    fields.get("TenantName", ""),
                )
            )
        if mood is Mood.TAKE:
            reply(request, 200, json.dumps({"MessageId": f"ses-{to}"}).encode())
        elif mood is Mood.GARBAGE:
            reply(request, 200, b"{oops")
        else:
            if mood is Mood.HANG:
                self.hung.wait(30)
            request.close_connection = True


class CallbackPage(_Server):
    """The page that takes results. status: what it answers, in turn; the last one for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """As if new."""
        self.statuses = [202]
        self.asked = 0
        self.stored: list[tuple[str, dict[str, str]]] = []
        self.location = ""

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        with self.lock:
            self.asked += 1
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            if status in {200, 202}:
                self.stored.append((body.decode("ascii"), dict(request.headers)))
        reply(request, status, b"", **({"Location": self.location} if self.location else {}))


@dataclass
class Context:
    """Lambda's: how much time is left, in seconds, each time that it is asked."""

    left: Callable[[], float] = lambda: 300.0

    def get_remaining_time_in_millis(self) -> int:
        return int(self.left() * 1000)


def client(name: str, endpoint: str) -> Any:
    """A client of moto."""
    return boto3.client(
        name,  # type: ignore[call-overload]
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


@dataclass
class Rig:
    """The worker's surroundings, empty. ``environment`` is the worker's."""

    ses: FakeSes
    page: CallbackPage
    endpoint: str
    sqs: Any
    dynamodb: Any
    name: str
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.queue = self.sqs.create_queue(QueueName=f"{self.name}-jobs")["QueueUrl"]
        self.results = self.sqs.create_queue(QueueName=f"{self.name}-results")["QueueUrl"]
        self.dynamodb.create_table(
            TableName=self.name,
            KeySchema=[{"AttributeName": "batch_key", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "batch_key", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        self.environment = {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_SESV2": self.ses.url,
            "TABLE": self.name,
            "SITE_UID": SITE,
            "KEYS": f"{KEY.key}:{KEY.secret},{OLD_KEY.key}:{OLD_KEY.secret}",
            "QUEUE_URL": self.queue,
            "RESULTS_QUEUE_URL": self.results,
            "CALLBACK_URL": f"{self.page.url}/callback",
            "CONCURRENCY": "8",  # windows that do not grow, unless a test is about that
        }

    # The jobs queue and what is called with its messages

    def ask(self, batch: MailBatch, site_uid: str = SITE, key: SigningKey = KEY) -> MailBatch:
        """Put the message of ``batch`` into the jobs queue."""
        self.put(encode_batch(batch, site_uid, key, int(time.time())))
        return batch

    def put(self, body: str) -> None:
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=body)

    def receive(self) -> dict[str, Any]:
        """The event with which Lambda calls the function: what is visible now, at most ten."""
        found = self.sqs.receive_message(
            QueueUrl=self.queue,
            MaxNumberOfMessages=10,
            VisibilityTimeout=3600,
            MessageSystemAttributeNames=["All"],
        )
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": dict(message.get("Attributes", {})),
                "eventSource": "aws:sqs",
            }
            for message in found.get("Messages", [])
        ]
        return {"Records": records}

    def call(self, event: dict[str, Any], context: Context | None = None) -> int:
        """Call the function, delete what it is done with, as Lambda does; how many come again."""
        answer = lambda_handler.handler(event, context or Context())
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        for record in event["Records"]:
            if record["messageId"] not in failed:
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=record["receiptHandle"])
        return len(failed)

    def run(self, context: Context | None = None) -> int:
        """Let the function work on what is visible; how many messages come again."""
        return self.call(self.receive(), context)

    def delays(self) -> list[int]:
        """For each message in the jobs queue: in how many seconds it becomes visible."""
        now = time.time()
        return [max(0, round(m.visible_at / 1000 - now)) for m in self._messages()]

    def wake(self) -> None:
        """Make every message visible, as if its time had passed."""
        for message in self._messages():
            message.visible_at = 0

    def _messages(self) -> list[Any]:
        queue = sqs_backends[ACCOUNT_ID][REGION].queues[f"{self.name}-jobs"]
        return [m for m in queue._messages if m.id not in queue.deleted_messages]

    # What came of it

    def item(self, batch: MailBatch) -> dict[str, Any]:
        """The ledger's item, as DynamoDB has it."""
        found = self.dynamodb.get_item(
            TableName=self.name, Key={"batch_key": {"S": batch.batch_key}}, ConsistentRead=True
        )
        item: dict[str, Any] = found.get("Item", {})
        return item

    def states(self, batch: MailBatch) -> list[str]:
        """The state letter of each mail of the batch in the item of its root; '' if unclaimed."""
        roots = {mail.root_batch or batch.batch_key for mail in batch.mails}
        entries: dict[str, Any] = {}
        for root in roots:
            item = self.item(replace(batch, batch_key=root))
            entries |= item.get("mails", {}).get("M", {})
        found = [entries.get(mail.mail_key[:16], {}).get("M", {}) for mail in batch.mails]
        return [entry.get("s", {}).get("S", "") for entry in found]

    def reports(self, key: SigningKey = KEY) -> list[BatchResult]:
        """What the callback page has stored, in order; every one signed and well-formed."""
        found = []
        for body, headers in self.page.stored:
            timestamp = int(headers["X-Manireports-Timestamp"])
            assert headers["X-Manireports-Key"] == key.key
            assert headers["Content-Type"] == "application/json"
            assert abs(timestamp - time.time()) < 300
            signature = headers["X-Manireports-Signature"]
            assert is_signed(RESULT, timestamp, body, signature, [key.secret])
            found.append(checked(body))
        return found

    def queued_reports(self, key: SigningKey = KEY) -> list[BatchResult]:
        """What the results queue holds; every one signed and well-formed."""
        found = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.results, MaxNumberOfMessages=10
        ).get("Messages"):
            for message in messages:
                assert len(message["Body"].encode()) <= 1_048_576
                schema("envelope").validate(json.loads(message["Body"]))
                envelope = parse_envelope(message["Body"])
                assert (envelope.key, envelope.kind) == (key.key, RESULT)
                assert is_signed(
                    RESULT, envelope.timestamp, envelope.payload, envelope.signature, [key.secret]
                )
                found.append(checked(envelope.payload))
        return found


def checked(payload: str) -> BatchResult:
    """A result that keeps the contract: schema, sidecar's own reader, size."""
    schema("result").validate(json.loads(payload))
    assert len(payload.encode()) <= 1_000_000
    return parse_result(payload)


def statuses(report: BatchResult) -> Counter[MailStatus]:
    return Counter(mail.status for mail in report.recipients)


def attachment(size: int, name: str = "Übersicht.pdf") -> Attachment:
    return Attachment(name, "application/pdf", secrets.token_bytes(size))
