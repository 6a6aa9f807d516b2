"""The worker on AWS: SQS -> this function -> SES, with a DynamoDB ledger beside it (DESIGN §6).

``handler`` takes signed batches from the jobs queue, sends each mail at most once, and reports
what became of it: to the callback URL, else to the results queue. The ledger is the truth; a
message may come late, twice, or to two functions at once. Nothing in a message says where to send
or to report: that is the environment's alone.

Environment:
  TABLE              DynamoDB table; partition key ``batch_key`` (S), TTL attribute ``expires``
  SITE_UID           the only site whose messages are sent
  KEYS               "key:secret" or "key:secret,key:secret"; or instead
  SECRET_ARN         a secret of Secrets Manager whose string is the same, read again after 5 min
  QUEUE_URL          the jobs queue: messages are put back into it for a while
  RESULTS_QUEUE_URL  takes the reports that the callback does not
  CALLBACK_URL       optional; https, or http on this very host
  CONFIGURATION_SET  optional; of SES
  TENANT_NAME        optional; of SES, which then counts this sender's bounces by itself
  CONCURRENCY        optional; most sends in flight, 1 to 30, default 30
  MAX_RATE           optional; mails a second of all functions together, like 14 or 0.5
  MAX_RECEIVES       optional; the queue's maxReceiveCount, see below

The event source mapping needs ReportBatchItemFailures; the function a time-out of at least a
minute; the queue a visibility time-out of six times that, and a maxReceiveCount well above 4: a
message also comes back because time was short or another function holds its lease. With
MAX_RECEIVES a message that is here for the last time is not worked on, whatever made the others
fail may kill this try too: its mails are reported as failed, "dead_letter", and the queue puts it
into the dead-letter queue.
"""

import base64
import hashlib
import hmac
import json
import os
import random
import re
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zlib
from binascii import b2a_qp
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from enum import Enum, StrEnum
from functools import lru_cache, partial
from http.client import HTTPException
from typing import Any, NamedTuple, NoReturn, TypeVar

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

T = TypeVar("T")

DELAYS = (5, 30, 120)
"""Seconds that the queue keeps a message after its first, second and third try."""
WINDOW, MOST_WINDOW = 8, 30
"""Mails that are claimed at a time: at first and after any trouble, and at most. While SES takes
all of them, a window is twice the last. What is claimed and not yet recorded, one crash leaves
uncertain."""
LIFETIME = 30 * 86400
"""Seconds that the ledger remembers, and that a message may be old."""
PAUSE_DELAY, QUOTA_DELAY = 300, 3600
"""Seconds after which the sidecar may ask again: the account is blocked; its quota is used up."""

CONNECT_TIMEOUT, READ_TIMEOUT = 3.0, 10.0
"""Of SES. No answer in time is not known to be a refusal, so READ_TIMEOUT is generous."""
CALLBACK_TIMEOUT = 3.0
RESERVE = 15.0
"""Seconds kept for the last record and the report."""
LEASE_MARGIN = 5.0
"""Seconds that a lease outlives its function: what clocks may differ."""
RATE_ITEM = "rate"
"""The ledger's item by which all functions share MAX_RATE; no batch_key is spelled so."""
BREATH = 1.0
"""Seconds of rest after a partly refused window: SES counts its rate by the second."""
WINDOW_SECONDS = CONNECT_TIMEOUT + READ_TIMEOUT + RESERVE
"""What must be left of a function's time for a window to begin."""
IDLE = 20.0
"""Seconds after which a kept connection to SES is not trusted to be still there."""

MAX_UNPACKED = 64 * 1024 * 1024
MAX_RAW = 40_000_000  # SES takes no larger message
MAX_MAILS = 2000  # an item of DynamoDB holds about twice as many
MAX_INT = 2**63 - 1
PART = 800
"""Recipients a report: at their longest, escaped twice, they stay under 1,000,000 bytes."""

now = time.time
rest = time.sleep


def handler(event: Mapping[str, Any], context: Any) -> dict[str, list[dict[str, str]]]:
    """Work on the messages of an SQS event; names those that must come again.

    Raises ConfigurationError if the environment is wrong: then the queue keeps all of them.
    """
    settings = read_settings(os.environ)
    with ThreadPoolExecutor(settings.concurrency) as pool:
        worker = Worker(settings, aws_clients(settings.concurrency), pool, context)
        failed = [r["messageId"] for r in event["Records"] if not worker.handle(r)]
    return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}


def log(event: str, **fields: object) -> None:
    """One line of JSON: ids, codes and counts; never an address, a text or a key."""
    print(json.dumps({"event": event, **fields}), flush=True)  # noqa: T201 - Lambda's log


# Configuration -----------------------------------------------------------------------------------


class ConfigurationError(Exception):
    """The environment is wrong; the message names the variable."""


class Key(NamedTuple):
    """A secret and the name by which messages refer to it."""

    name: str
    secret: str


@dataclass(frozen=True)
class Settings:
    """The environment, checked. Either ``keys`` or ``secret_arn`` is empty."""

    table: str
    site_uid: str
    queue_url: str
    results_queue_url: str
    keys: tuple[Key, ...] = field(repr=False)
    secret_arn: str
    callback_url: str
    configuration_set: str
    tenant: str
    concurrency: int
    max_rate: float
    max_receives: int


def read_settings(environ: Mapping[str, str]) -> Settings:
    """``environ`` as Settings; ConfigurationError names what is missing or wrong."""
    keys, arn = environ.get("KEYS", ""), environ.get("SECRET_ARN", "")
    if bool(keys) == bool(arn):
        raise ConfigurationError("KEYS or SECRET_ARN must be set, and only one of them")
    concurrency = environ.get("CONCURRENCY") or str(MOST_WINDOW)
    if concurrency not in map(str, range(1, MOST_WINDOW + 1)):
        raise ConfigurationError(f"CONCURRENCY must be a number from 1 to {MOST_WINDOW}")
    return Settings(
        table=_required(environ, "TABLE"),
        site_uid=_required(environ, "SITE_UID"),
        queue_url=_url(_required(environ, "QUEUE_URL"), "QUEUE_URL"),
        results_queue_url=_url(_required(environ, "RESULTS_QUEUE_URL"), "RESULTS_QUEUE_URL"),
        keys=parse_keys(keys, "KEYS") if keys else (),
        secret_arn=arn,
        callback_url=_callback_url(environ.get("CALLBACK_URL", "")),
        configuration_set=environ.get("CONFIGURATION_SET", ""),
        tenant=environ.get("TENANT_NAME", ""),
        concurrency=int(concurrency),
        max_rate=_positive(environ, "MAX_RATE"),
        max_receives=int(_positive(environ, "MAX_RECEIVES")),
    )


def parse_keys(text: str, variable: str) -> tuple[Key, ...]:
    """``key:secret,key:secret``; ConfigurationError names ``variable``, never what it holds."""
    pairs = [Key(*pair.strip().partition(":")[::2]) for pair in text.split(",")]
    if len(pairs) > 2 or not all(re.fullmatch(r"[!-~]{1,64}", k.name) and k.secret for k in pairs):
        raise ConfigurationError(f'{variable} must be "key:secret" or "key:secret,key:secret"')
    return tuple(pairs)


def _required(environ: Mapping[str, str], name: str) -> str:
    if value := environ.get(name, "").strip():
        return value
    raise ConfigurationError(f"{name} is not set")


def _positive(environ: Mapping[str, str], name: str) -> float:
    """A number above 0; 0 for none."""
    text = environ.get(name, "").strip()
    if not text:
        return 0.0
    if not re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text) or not float(text):
        raise ConfigurationError(f"{name} must be a number above 0")
    return float(text)


def _url(value: str, name: str) -> str:
    if re.fullmatch(r"https?://[!-~]+", value):
        return value
    raise ConfigurationError(f"{name} is not a URL")


def _callback_url(value: str) -> str:
    if not value:
        return ""
    try:
        url = urllib.parse.urlsplit(_url(value, "CALLBACK_URL"))
        here = url.hostname in {"127.0.0.1", "localhost", "::1"}
        _ = url.port  # may be none
    except ValueError:
        raise ConfigurationError("CALLBACK_URL is not a URL") from None
    if not url.hostname or not (here or url.scheme == "https"):
        raise ConfigurationError("CALLBACK_URL must be https")
    return value


class Aws:
    """The clients, made once a process. Only SES must never be asked twice by boto3 itself."""

    def __init__(self, concurrency: int) -> None:
        self._session: Any = boto3.session.Session()
        unchecked = Config(parameter_validation=False)  # of an item it costs more than the write
        usual = Config(
            retries={"total_max_attempts": 5, "mode": "standard"}, connect_timeout=2, read_timeout=5
        )
        once = Config(
            retries={"total_max_attempts": 1},
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            max_pool_connections=concurrency,
        )
        self.dynamodb: Any = self._session.client("dynamodb", config=usual.merge(unchecked))
        self.sqs: Any = self._session.client("sqs", config=usual)
        self._once = once.merge(unchecked)
        self._ses: Any = None
        self._used = 0.0
        self._secrets: dict[str, tuple[float, tuple[Key, ...]]] = {}

    def ses(self) -> Any:
        """The SES client. A connection that lay idle may be dead, and its mail then be unknown."""
        if self._ses is not None and time.monotonic() - self._used > IDLE:
            self._ses.close()
            self._ses = None
        self._ses = self._ses or self._session.client("sesv2", config=self._once)
        self._used = time.monotonic()
        return self._ses

    def secret(self, arn: str, fresh: bool = False) -> tuple[Key, ...]:
        """The keys in a secret, at most five minutes old."""
        read_at, keys = self._secrets.get(arn, (0.0, ()))
        if fresh or not keys or now() - read_at > 300:
            secrets = self._session.client("secretsmanager")
            text = secrets.get_secret_value(SecretId=arn).get("SecretString", "")
            keys = parse_keys(text, "SECRET_ARN")
            self._secrets[arn] = (now(), keys)
        return keys


aws_clients = lru_cache(maxsize=1)(Aws)


# Messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class Mail:
    """One mail of a message. root: the batch_key of the ledger item that holds its state."""

    id: int
    key: str
    root: str
    generation: int
    to: str
    to_name: str
    sender: tuple[str, str]
    reply_to: str
    subject: str
    html: str
    text: str
    headers: Sequence[tuple[str, str]]
    attachments: Sequence[tuple[str, str, str]]

    @property
    def short(self) -> str:
        """Its name in the ledger."""
        return self.key[:16]


@dataclass(frozen=True, slots=True)
class Job:
    """A batch as it was signed. key: which signs what is reported of it, so that the batch's
    company is told. first_issued_at: Unix seconds."""

    key: Key
    site_uid: str
    batch_key: str
    job_id: int
    batch_id: int
    attempt: int
    company_id: int
    first_issued_at: int
    mails: tuple[Mail, ...] = ()


class Refused(Exception):  # noqa: N818 - DESIGN's word
    """A message that is never worked on, and why; ``job`` if it was signed and names its batch."""

    def __init__(self, reason: str, job: Job | None = None) -> None:
        super().__init__(reason)
        self.job = job


def sign(kind: str, timestamp: int, payload: str, secret: str) -> str:
    """The one signature of the contract, in hex."""
    text = f"{kind}.{timestamp}.{payload}".encode("utf-8", "surrogatepass")
    return hmac.new(secret.encode("utf-8", "surrogatepass"), text, hashlib.sha256).hexdigest()


def open_envelope(body: str, keys: Sequence[Key]) -> tuple[dict[str, Any], Key]:
    """The payload of a queue message, if it is a job that one of ``keys`` has signed, and which."""
    envelope = _object(body, "envelope")
    if _number(envelope, "v") != 1 or _text(envelope, "kind") != "job":
        raise Refused("not a job of version 1")
    timestamp, payload = _number(envelope, "timestamp"), _text(envelope, "payload")
    name, given = _text(envelope, "key"), _text(envelope, "signature").encode(errors="replace")
    found: Key | None = None
    for key in keys:
        same = hmac.compare_digest(sign("job", timestamp, payload, key.secret).encode(), given)
        if same and key.name == name:
            found = key
    if found is None:
        raise Refused("not signed by a key of ours")
    return _object(payload, "payload"), found


def unpack(payload: Mapping[str, Any], key: Key, site_uid: str) -> Job:
    """The batch in a payload that ``key`` has signed."""
    job = Job(
        key=key,
        site_uid=_text(payload, "site_uid"),
        batch_key=_hex(payload, "batch_key", 32),
        job_id=_number(payload, "job_id"),
        batch_id=_number(payload, "batch_id"),
        attempt=_number(payload, "attempt", 1),
        company_id=_number(payload, "company_id"),
        first_issued_at=_number(payload, "first_issued_at"),
    )
    if job.site_uid != site_uid:
        raise Refused("of another site", job)
    if payload.get("encoding") != "gzip+base64":
        raise Refused("encoding: not known", job)
    try:
        mails = tuple(_mail(each, payload) for each in _emails(_text(payload, "emails")))
    except Refused as refusal:
        raise Refused(str(refusal), job) from None
    if not 1 <= len(mails) <= MAX_MAILS:
        raise Refused(f"emails: not 1 to {MAX_MAILS}", job)
    if len({mail.short for mail in mails}) < len(mails):
        raise Refused("emails: the same twice", job)
    return replace(job, mails=mails)


def _emails(packed: str) -> list[Any]:
    unzip = zlib.decompressobj(wbits=31)
    try:
        text = unzip.decompress(base64.b64decode(packed, validate=True), MAX_UNPACKED + 1)
        emails = _json(text) if unzip.eof and not unzip.unused_data else None
    except (ValueError, zlib.error, RecursionError):
        emails = None
    if not isinstance(emails, list):
        raise Refused(f"emails: malformed, cut off, or over {MAX_UNPACKED} bytes")
    return emails


def _mail(value: Any, batch: Mapping[str, Any]) -> Mail:
    if not isinstance(value, dict):
        raise Refused("email: no object")
    sender = _get({**batch, **value}, "from", dict)
    headers, attachments = _get(value, "headers", list), _get(value, "attachments", list)
    for header in headers:
        if not isinstance(header, list) or list(map(type, header)) != [str, str]:
            raise Refused("headers: malformed")
    for each in attachments:
        if not isinstance(each, dict):
            raise Refused("attachments: malformed")
    return Mail(
        id=_number(value, "id"),
        key=_hex(value, "mail_key", 64),
        root=_hex(value, "root_batch", 32),
        generation=_number(value, "generation"),
        to=_text(value, "to"),
        to_name=_text({"to_name": "", **value}, "to_name"),
        sender=(_text(sender, "email"), _text(sender, "name")),
        reply_to=_text({**batch, **value}, "reply_to"),
        subject=_text(value, "subject"),
        html=_text(value, "html"),
        text=_text(value, "text"),
        headers=[(name, content) for name, content in headers],
        attachments=[
            (_text(each, "filename"), _text(each, "content_type"), _text(each, "content"))
            for each in attachments
        ],
    )


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        value = _json(text)
    except (ValueError, RecursionError):
        raise Refused(f"{what}: not JSON") from None
    if not isinstance(value, dict):
        raise Refused(f"{what}: no object")
    return value


def _json(text: str | bytes) -> Any:
    """As the contract wants it: no name twice, no NaN. Raises ValueError, RecursionError."""
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _get(source: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = source.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Refused(f"{name}: missing or malformed")
    return value


def _text(source: Mapping[str, Any], name: str) -> str:
    return _get(source, name, str)


def _number(source: Mapping[str, Any], name: str, least: int = 0) -> int:
    value = _get(source, name, int)
    if not least <= value <= MAX_INT:
        raise Refused(f"{name}: out of range")
    return value


def _hex(source: Mapping[str, Any], name: str, length: int) -> str:
    value = _text(source, name)
    if not re.fullmatch(f"[0-9a-f]{{{length}}}", value):
        raise Refused(f"{name}: malformed")
    return value


# The ledger --------------------------------------------------------------------------------------
#
# One item a batch; the worker and whoever revokes write the same items, so this is their contract:
#
#   batch_key  S  partition key
#   site_uid   S
#   owner      S  token of the function that works on it, "" if none
#   until      N  Unix seconds at which that lease ends, 0 if none
#   try        N  tries that were finished, over all attempts
#   version    N  from 1, one more with each write
#   expires    N  Unix seconds; 30 days after the last write; the table's TTL attribute
#   mails      M  first 16 hex digits of mail_key -> M:
#                   s S  c claimed, s sent, r failed (may be asked again), f failed, u unknown,
#                        x revoked
#                   g N  generation and
#                   a N  attempt of the message (for x: of the revocation) that set it
#                   m S  SES's message id where s is "s"; an error code where it is r, f or u;
#                        else ""
#   asked      N  } the worker's own notes, which may be missing: the attempt that was worked on
#   waits      N  } last, and how many of DELAYS it has used
#
# A mail without an entry is unclaimed. A mail's entry is in the item of the batch that first
# carried it (its root_batch), whichever batch carries it now; a batch of retried mails has an item
# of its own too, for its lease and its tries. A worker holds the leases of all items of a message.
#
# Every write is read (GetItem, ConsistentRead), change, PutItem of the whole item with version + 1
# under the condition
#
#   version = :seen            (an item that was read)
#   attribute_not_exists(batch_key)   (there was none)
#
# and on ConditionalCheckFailedException all of it again from the reading. Attributes that a writer
# does not know stay as they were.
#
# Revoking mails of a root_batch: read; no item means {batch_key, site_uid, owner "", until 0,
# try 0, version 0, mails {}}. For each mail, with the generation and attempt of its last submit:
# if ``claimable(entry, generation, attempt)`` set {"s": "x", "g": generation, "a": attempt,
# "m": ""}; otherwise the worker was first and the entry says what became of it. Put. owner, until
# and try stay as they were: a live lease does not stand in the way of a revocation.


class State(StrEnum):
    """What the ledger knows of a mail."""

    CLAIMED = "c"
    SENT = "s"
    RETRYABLE = "r"
    FAILED = "f"
    UNKNOWN = "u"
    REVOKED = "x"


Item = dict[str, Any]
Entry = dict[str, Any]


def claimable(entry: Entry | None, generation: int, attempt: int) -> bool:
    """Whether a message of this generation and attempt may send the mail. Pure."""
    if entry is None:
        return True
    if entry["s"] == State.RETRYABLE:
        return (generation, attempt) > (entry["g"], entry["a"])
    return bool(entry["s"] == State.FAILED and generation > entry["g"])


class Busy(Exception):  # noqa: N818
    """Another function works on this batch; its lease ends at ``until``, Unix seconds."""

    def __init__(self, until: int) -> None:
        super().__init__(f"leased until {until}")
        self.until = until


class LeaseLost(Exception):  # noqa: N818
    """This function was too slow: another has taken over. Nothing more may be claimed."""


class Ledger:
    """The table. Not for two threads."""

    def __init__(self, client: Any, table: str, site_uid: str) -> None:
        self._client, self._table, self._site_uid = client, table, site_uid
        self._read, self._write = TypeDeserializer().deserialize, TypeSerializer().serialize

    def load(self, batch_key: str) -> Item:
        """The item, or a new one; Refused if it belongs to another site."""
        found = self._client.get_item(
            TableName=self._table, Key={"batch_key": {"S": batch_key}}, ConsistentRead=True
        ).get("Item", {})
        item: Item = {"batch_key": batch_key, "site_uid": self._site_uid, "owner": "", "until": 0}
        item |= {"try": 0, "version": 0, "mails": {}, "asked": 0, "waits": 0}
        item |= {name: self._read(value) for name, value in found.items()}
        if item["site_uid"] != self._site_uid:
            raise Refused("the ledger's item is of another site")
        return item

    def save(self, item: Item) -> bool:
        """Write it if nobody did since it was read. On True ``item`` is as in the table."""
        item["expires"] = int(now()) + LIFETIME
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(batch_key)"}
        if item["version"]:
            condition = {
                "ConditionExpression": "#version = :seen",
                "ExpressionAttributeNames": {"#version": "version"},
                "ExpressionAttributeValues": {":seen": self._write(item["version"])},
            }
        item["version"] += 1
        written = {name: self._write(value) for name, value in item.items()}
        try:
            self._client.put_item(TableName=self._table, Item=written, **condition)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True


class Books:
    """The ledger items of one message, under this function's lease until ``close``."""

    def __init__(self, ledger: Ledger, job: Job, until: int) -> None:
        self._ledger, self._job = ledger, job
        self._token, self._until = uuid.uuid4().hex, until
        roots = {mail.root for mail in job.mails} - {job.batch_key}
        self._keys = [*sorted(roots), job.batch_key]
        self._items: dict[str, Item] = {}
        self._news = self._lost = False

    @property
    def waits(self) -> int:
        """How many of DELAYS this attempt has used."""
        return int(self._items[self._job.batch_key]["waits"])

    @property
    def tries(self) -> int:
        """The number of the last try that was finished and told anything new."""
        return int(self._items[self._job.batch_key]["try"])

    def entry(self, mail: Mail) -> Entry | None:
        """What is known of a mail of the message."""
        entry: Entry | None = self._items[mail.root]["mails"].get(mail.short)
        return entry

    def claimable(self) -> list[Mail]:
        """The mails that this message may send; those that have failed before come last."""
        found = [mail for mail in self._job.mails if self._may_claim(mail, self.entry(mail))]
        return sorted(found, key=lambda mail: (self.entry(mail) is not None, mail.root))

    def take(self) -> None:
        """Lease all items; Busy if another function holds one. What a dead one left is unknown."""
        try:
            for key in self._keys:
                self._change(key, self._lease)
        except Busy:
            for key in self._items:
                self._change(key, self._free)
            raise

    def turn(self, results: "Mapping[Mail, Result]", window: Sequence[Mail]) -> list[Mail]:
        """Record the last window's results, claim the next; the mails that are really claimed.

        One write, if all of them are of one root. Raises LeaseLost, the results being recorded.
        """
        late = now() >= self._until
        if late:  # whoever takes over may have some of the items already
            window = ()
        steps: list[tuple[Mapping[Mail, Result], Sequence[Mail]]] = [(results, window)]
        if len({mail.root for mail in (*results, *window)}) > 1:
            steps = [(results, ()), ({}, window)]  # never more than one window uncertain
        for recorded, claimed in steps:
            for key in sorted({mail.root for mail in (*recorded, *claimed)}):
                self._change(key, partial(self._record, recorded, claimed))
            if self._lost or late:
                self._change(self._job.batch_key, self._count)
                raise LeaseLost
        mine = [mail for mail in window if self.entry(mail) == self._entry(mail, State.CLAIMED)]
        self._news = self._news or bool(mine)
        return mine

    def close(self, results: "Mapping[Mail, Result]", waits: int) -> None:
        """Record the last results and end the leases; the try counts if it brought anything new."""
        for key in self._keys:
            self._change(key, partial(self._close, results, waits))
        if self._lost:
            raise LeaseLost

    def bury(self) -> None:
        """End the leases; this was a try, although nothing was sent."""
        for key in self._keys:
            self._change(key, self._end)
        if self._lost:
            raise LeaseLost

    def _change(self, key: str, change: Callable[[Item], None]) -> None:
        item = self._items.get(key) or self._ledger.load(key)
        for _ in range(50):
            change(item)
            if self._ledger.save(item):
                self._items[key] = item
                return
            item = self._ledger.load(key)  # a revocation, or our own write whose answer was lost
        raise RuntimeError("the ledger's item changes all the time")

    def _mine(self, item: Item) -> bool:
        return (item["owner"], item["until"]) == (self._token, self._until)

    def _may_claim(self, mail: Mail, entry: Entry | None) -> bool:
        return claimable(entry, mail.generation, self._job.attempt)

    def _entry(self, mail: Mail, state: str, note: str = "") -> Entry:
        return {"s": state, "g": mail.generation, "a": self._job.attempt, "m": note}

    # What _change does to an item; again, if another writer was faster.

    def _lease(self, item: Item) -> None:
        if not self._mine(item):
            if item["owner"] and item["until"] > now():
                raise Busy(int(item["until"]))
            for entry in item["mails"].values():
                if entry["s"] == State.CLAIMED:
                    entry |= {"s": State.UNKNOWN, "m": "lease_expired"}
            self._news = self._news or bool(item["owner"])
        item |= {"owner": self._token, "until": self._until}
        if item["batch_key"] == self._job.batch_key:
            if self._job.attempt > item["asked"]:
                item |= {"asked": self._job.attempt, "waits": 0}
            self._news = self._news or item["waits"] > 0 or item["try"] == 0

    def _record(self, results: "Mapping[Mail, Result]", window: Sequence[Mail], item: Item) -> None:
        mine, entries = self._mine(item), item["mails"]
        self._lost = self._lost or not mine
        for mail, result in results.items():
            known = entries.get(mail.short, {}).get("s") in {State.CLAIMED, State.UNKNOWN}
            if mail.root == item["batch_key"] and known:
                if result.state:
                    entries[mail.short] = self._entry(mail, result.state, result.note)
                else:
                    del entries[mail.short]
        for mail in window if mine else ():
            here = mail.root == item["batch_key"]
            if here and self._may_claim(mail, entries.get(mail.short)):
                entries[mail.short] = self._entry(mail, State.CLAIMED)

    def _free(self, item: Item) -> None:
        if self._mine(item):
            item |= {"owner": "", "until": 0}

    def _count(self, item: Item) -> None:
        item["try"] += 1

    def _end(self, item: Item) -> None:
        self._close({}, 0, item)
        if item["batch_key"] == self._job.batch_key and not (self._news or self._lost):
            self._count(item)

    def _close(self, results: "Mapping[Mail, Result]", waits: int, item: Item) -> None:
        self._record(results, (), item)
        self._free(item)
        if item["batch_key"] == self._job.batch_key:
            item["waits"] = waits
            item["try"] += int(self._news or self._lost)


class Rate:
    """MAX_RATE, shared by all functions through an item of the ledger's table.

    The item says until when the rate is used up (``used``, N, Unix seconds). Whoever wants to send
    moves that on, in one conditional write, and waits until its own share begins.
    """

    def __init__(self, client: Any, table: str, per_second: float) -> None:
        self._client, self._table, self.per_second = client, table, per_second

    def reserve(self, mails: int) -> float:
        """Seconds to wait before so many mails may be sent. They are counted, sent or not."""
        if not self.per_second:
            return 0.0
        cost = mails / self.per_second
        for _ in range(20):
            moment = now()
            end = self._move("used + :more", cost, "used > :now", moment) or self._move(
                ":more", moment + cost, "attribute_not_exists(used) OR used <= :now", moment
            )
            if end:
                return max(0.0, end - cost - moment)
        raise RuntimeError("the rate's item changes all the time")

    def _move(self, used: str, more: float, condition: str, moment: float) -> float:
        """Until when the rate is used up then; 0 if the condition does not hold."""
        values = {
            ":more": f"{more:.6f}",
            ":now": f"{moment:.6f}",
            ":end": str(int(now()) + LIFETIME),
        }
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key={"batch_key": {"S": RATE_ITEM}},
                UpdateExpression=f"SET used = {used}, expires = :end",
                ConditionExpression=condition,
                ExpressionAttributeValues={name: {"N": value} for name, value in values.items()},
                ReturnValues="UPDATED_NEW",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return 0.0
            raise
        return float(answer["Attributes"]["used"]["N"])


# The message as SES gets it ----------------------------------------------------------------------
#
# Built by hand as the sidecar's SMTP path does it: email.message takes 25 times as long, and breaks
# long header values without blanks (List-Unsubscribe) into encoded words, which no reader undoes.

_ADDRESS = re.compile(
    r"(?=.{3,254}\Z)[!#-'*+\-./0-9=?A-Z^-~]+@(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f.:IPv]+\])"
)
_PRINTABLE = re.compile(r"(?!.*=\?)[ -~]*")
_FOLD = re.compile(r"(?!.{0,66}\Z)(.{1,64}\S) (?=\S)")
_OURS = {"date", "from", "to", "subject", "mime-version", "x-manireports-mail"}


class Unsendable(Exception):  # noqa: N818
    """This mail cannot be sent as it is; ``code`` says why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def build(mail: Mail) -> bytes:
    """The message of ``mail``: ASCII, CRLF, no line over 998. Raises Unsendable.

    Further To and Cc headers, of which IOMAD writes several, are joined: RFC 5322 allows one each,
    and SES refuses more. They are for the eye, mail goes to ``mail.to`` alone.
    """
    separator = ",\r\n "
    shown = {"to": [_mailbox((mail.to, mail.to_name), "invalid_address")], "cc": []}
    for name, value in mail.headers:
        shown.get(name.lower(), []).append(_value(value))
    lines = [
        f"Date: {formatdate()}",
        f"From: {_mailbox(mail.sender, 'invalid_sender')}",
        *(f"{name.title()}: {separator.join(all_)}" for name, all_ in shown.items() if all_),
        f"Subject: {_value(mail.subject)}",
    ]
    if mail.reply_to:
        lines.append(f"Reply-To: {_value(mail.reply_to)}")
    lines += [_header(name, value) for name, value in mail.headers if name.lower() not in shown]
    lines += [f"X-ManiReports-Mail: {mail.key}", "MIME-Version: 1.0\r\n"]
    try:
        plain = _text_part("plain", mail.text)
        body = plain + b"\r\n"
        if mail.html:
            body = _multipart("alternative", [plain, _text_part("html", mail.html)])
        if mail.attachments:
            body = _multipart("mixed", [body, *map(_attachment, mail.attachments)])
        message = "\r\n".join(lines).encode("ascii") + body
    except ValueError:  # a lone surrogate, base64 that is none
        raise Unsendable("invalid_content", "a text or an attachment cannot be decoded") from None
    if len(message) > MAX_RAW:
        raise Unsendable("too_large", f"{len(message)} bytes; SES takes {MAX_RAW}")
    return message


def _address(value: str, code: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise Unsendable(code, "not an address that can be sent to or from")
    return value


def _mailbox(one: tuple[str, str], code: str) -> str:
    address = _address(one[0], code)
    name = _clean(one[1])
    if not name:
        return address
    if len(name) > 60 or not _PRINTABLE.fullmatch(name):
        return f"{_encoded_words(name)} <{address}>"
    return '"{}" <{}>'.format(name.replace("\\", "\\\\").replace('"', '\\"'), address)


def _header(name: str, value: str) -> str:
    lower = name.lower()
    if not re.fullmatch(r"[!-9;-~]{1,70}", name) or lower in _OURS or lower.startswith("content-"):
        raise Unsendable("invalid_header", f"the header {_line(name, 70)} cannot be given")
    return f"{name}: {_value(value)}"


def _clean(value: str) -> str:
    if re.search(r"[\r\n\0]", value):
        raise Unsendable("invalid_header", "CR, LF or NUL in a header")
    return value.strip(" \t")


def _value(value: str) -> str:
    """An unstructured header value, folded at blanks; encoded words for what is not plain ASCII."""
    value = _clean(value)
    if _PRINTABLE.fullmatch(value):
        folded = _FOLD.sub("\\1\r\n ", value)
        if max(map(len, folded.split("\r\n"))) <= 900:
            return folded
    return _encoded_words(value)


def _encoded_words(text: str) -> str:
    """RFC 2047: whole characters, words of at most 75."""
    words, word = [], b""
    for character in text:
        try:
            encoded = character.encode()
        except UnicodeEncodeError:
            raise Unsendable("invalid_header", "a header is not Unicode") from None
        if len(word) + len(encoded) > 39:
            words.append(word)
            word = b""
        word += encoded
    words.append(word)
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in words)


def _multipart(kind: str, parts: Sequence[bytes]) -> bytes:
    boundary = f"=_{uuid.uuid4().hex}"  # "=_" comes in no encoded body (RFC 2045 §6.7)
    head = f'Content-Type: multipart/{kind};\r\n boundary="{boundary}"\r\n'.encode()
    body = b"".join(b"\r\n--%s\r\n%s" % (boundary.encode(), part) for part in parts)
    return b"%s%s\r\n--%s--\r\n" % (head, body, boundary.encode())


def _text_part(kind: str, text: str) -> bytes:
    # Encoded with LF and turned afterwards: b2a_qp chooses its line ends by the first it meets.
    encoded = b2a_qp(re.sub(rb"\r\n?", b"\n", text.encode())).replace(b"\n", b"\r\n")
    head = f"Content-Type: text/{kind}; charset=utf-8\r\n"
    return head.encode() + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + encoded


def _attachment(attachment: tuple[str, str, str]) -> bytes:
    filename, kind, content = attachment
    kind = kind.partition(";")[0].strip()
    if not re.fullmatch(r"(?i)(?!multipart/|message/)[\w!#$&^.+-]+/[\w!#$&^.+-]+", kind, re.ASCII):
        kind = "application/octet-stream"
    head = (
        f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n"
        f"Content-Disposition: attachment;{_filename(_clean(filename))}\r\n\r\n"
    )
    lines = base64.encodebytes(base64.b64decode(content, validate=True))
    return head.encode("ascii") + lines.replace(b"\n", b"\r\n")


def _filename(name: str) -> str:
    """The parameter filename; by RFC 2231 where it is not short plain ASCII."""
    if len(name) <= 60 and _PRINTABLE.fullmatch(name) and not re.search(r'[\\"]', name):
        return f' filename="{name}"'
    escaped = "utf-8''" + urllib.parse.quote(name, safe="")
    pieces = re.findall(r"(?:%..|[^%]){1,20}", escaped)
    if len(pieces) == 1:
        return f"\r\n filename*={pieces[0]}"
    return ";".join(f"\r\n filename*{n}*={piece}" for n, piece in enumerate(pieces))


def _line(text: str, most: int) -> str:
    """One printable line of ASCII."""
    return re.sub(r"[^ -~]+", "?", text)[:most]


# Sending -----------------------------------------------------------------------------------------


class Kind(Enum):
    """What an answer of SES means for the mail, and for the rest of its batch."""

    SENT = "sent"
    SOON = "refused for now; the message is tried again by the queue"
    DEFER = "the daily quota is used up; nothing more is sent for an hour"
    PAUSE = "the account or its set-up is in the way; nothing more is sent until someone looks"
    DROP = "this mail will never be taken"
    LATER = "refused, and we do not know the reason; this mail alone may be asked for again"
    UNKNOWN = "it may have been sent; never tried again"


_MEANINGS = {
    Kind.SOON: """
        Throttling ThrottlingException TooManyRequestsException RequestThrottled RequestTimeout
        RequestTimeoutException InternalFailure InternalServerError InternalServerErrorException
        ServiceUnavailable ServiceUnavailableException
        EndpointConnectionError ConnectTimeoutError ProxyConnectionError""",
    Kind.DEFER: "LimitExceededException daily_quota_exceeded",
    Kind.PAUSE: """
        AccountSuspendedException SendingPausedException MailFromDomainNotVerifiedException
        NotFoundException ConfigurationSetDoesNotExist AccessDenied AccessDeniedException
        ExpiredToken ExpiredTokenException IncompleteSignature InvalidClientTokenId
        InvalidSignatureException MissingAuthenticationToken MissingAuthenticationTokenException
        OptInRequired RequestExpired RequestTimeTooSkewed SignatureDoesNotMatch
        UnrecognizedClientException NoCredentialsError PartialCredentialsError
        CredentialRetrievalError NoRegionError
        identity_not_verified sending_paused invalid_sender""",
    Kind.DROP: """
        MessageRejected BadRequestException InvalidParameterValue ParamValidationError
        invalid_address invalid_content invalid_header too_large""",
    Kind.UNKNOWN: "ReadTimeoutError ConnectionClosedError HTTPClientError SSLError",
}
ERRORS = {code: kind for kind, codes in _MEANINGS.items() for code in codes.split()}
"""By SES's code, the name of boto3's exception, or a code of ours (lower case).

boto3's three in SOON are raised before a connection stood, so that nothing was sent; NotFound is
the configuration set.
"""

TEXTS = (
    (re.compile("daily (message|sending) quota exceeded", re.IGNORECASE), "daily_quota_exceeded"),
    (re.compile("maximum sending rate exceeded", re.IGNORECASE), "ThrottlingException"),
    (re.compile("not verified|did not have authority", re.IGNORECASE), "identity_not_verified"),
    (re.compile("sending (is )?(paused|suspended)", re.IGNORECASE), "sending_paused"),
)
"""Where SES gives one code to different things, its text decides."""

STATES = {
    Kind.SENT: State.SENT,
    Kind.PAUSE: State.RETRYABLE,
    Kind.LATER: State.RETRYABLE,
    Kind.DROP: State.FAILED,
    Kind.UNKNOWN: State.UNKNOWN,
}
"""What the ledger says of it afterwards; of the others nothing: they are unclaimed again."""


@dataclass(frozen=True, slots=True)
class Result:
    """What SES said of one mail. note: its message id or an error code; text: for the admin."""

    kind: Kind
    note: str
    text: str = ""
    state: str = ""


_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")


def send(mail: Mail, job: Job, ses: Any, options: Mapping[str, str], last: bool) -> Result:
    """Send one mail, once. options: further fields of the call; last: what is refused for now has
    been tried often enough."""
    try:
        raw = build(mail)
        tags = {"batch_key": job.batch_key, "mail_key": mail.key, "company_id": str(job.company_id)}
        tags["site_uid"] = job.site_uid
        answer = ses.send_email(
            FromEmailAddress=mail.sender[0],
            Destination={"ToAddresses": [mail.to]},
            Content={"Raw": {"Data": raw}},
            EmailTags=[{"Name": n, "Value": v} for n, v in tags.items() if _TAG.fullmatch(v)],
            **options,
        )
    except Exception as error:  # noqa: BLE001 - whatever it was, this mail has to have an outcome
        kind, code, text = classify(error)
        state = STATES.get(kind, State.RETRYABLE if last and kind is Kind.SOON else "")
        return Result(kind, _line(code, 50), _line(text, 200), state)
    if not answer.get("MessageId"):  # something between us and SES has answered
        return Result(Kind.UNKNOWN, "no_message_id", "no answer of SES", State.UNKNOWN)
    return Result(Kind.SENT, _line(answer["MessageId"], 255), state=State.SENT)


def classify(error: Exception) -> tuple[Kind, str, str]:
    """What an error of a send means, its code and its text."""
    if isinstance(error, Unsendable):
        return ERRORS[error.code], error.code, str(error)
    if not isinstance(error, ClientError):
        names = [cls.__name__ for cls in type(error).__mro__]
        code = next((name for name in names if name in ERRORS), names[0])
        return ERRORS.get(code, Kind.UNKNOWN), code, str(error)
    code, text = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    for pattern, meaning in TEXTS:
        if pattern.search(text):
            code = meaning
    answer = error.response["ResponseMetadata"]
    status = answer["HTTPStatusCode"]
    return ERRORS.get(code) or _by_status(status, answer), code or f"http_{status}", text


def _by_status(status: int, answer: Mapping[str, Any]) -> Kind:
    """An answer without a code that we know. Behind a gateway's 502 and 504 SES may have sent."""
    if status == 429:
        return Kind.SOON
    if status >= 500:
        empty = answer.get("HTTPHeaders", {}).get("content-length", "0") == "0"
        return Kind.UNKNOWN if empty or status in {502, 504} else Kind.SOON
    return {401: Kind.PAUSE, 403: Kind.PAUSE, 413: Kind.DROP}.get(status, Kind.LATER)


# One message -------------------------------------------------------------------------------------


@dataclass
class Try:
    """One pass over a message, and how it ends.

    unrecorded: what is sent and not yet in the ledger; stop: why the rest was not tried; soon: a
    mail was refused for now; left: mails that are unclaimed still.
    """

    unrecorded: dict[Mail, "Result"] = field(default_factory=dict)
    stop: Result | None = None
    soon: bool = False
    left: list[Mail] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def take_in(self, results: dict[Mail, Result]) -> None:
        """The results of one window."""
        self.unrecorded = results
        self.left += [mail for mail, result in results.items() if not result.state]
        for mail, result in results.items():
            self.texts[mail.key] = result.text
            error = f"{result.note}: {result.text}"
            if result.kind is not Kind.SENT and error not in self.errors and len(self.errors) < 10:
                self.errors.append(error)
        by_kind = {result.kind: result for result in results.values()}
        self.soon = self.soon or Kind.SOON in by_kind
        self.stop = by_kind.get(Kind.PAUSE) or by_kind.get(Kind.DEFER)
        if by_kind and not self.stop and by_kind.keys() <= {Kind.SOON, Kind.UNKNOWN}:
            self.stop = by_kind.get(Kind.SOON) or by_kind[Kind.UNKNOWN]  # nobody answers there

    def end(self, waits: int) -> "End":
        """What follows, when the queue has brought the message back ``waits`` times for trouble."""
        if not self.left:
            return End(final=True)
        if self.stop and self.stop.kind in {Kind.PAUSE, Kind.DEFER, Kind.LATER}:
            delay = QUOTA_DELAY if self.stop.kind is Kind.DEFER else PAUSE_DELAY
            return End(final=True, not_before=int(now()) + delay)
        if self.stop and waits >= len(DELAYS):
            return End(final=True, not_before=int(now()) + PAUSE_DELAY)
        if self.stop or (self.soon and waits < len(DELAYS)):
            return End(final=False, delay=DELAYS[waits], waits=waits + 1)
        return End(final=False, finished=False, waits=waits)


@dataclass(frozen=True)
class End:
    """final: the message is done; otherwise the queue brings it again after ``delay`` seconds.

    finished: this try is over and is reported; otherwise only the time was. not_before: when the
    sidecar may ask for the mails that are left; waits: what the ledger notes.
    """

    final: bool
    finished: bool = True
    delay: int = 0
    not_before: int = 0
    waits: int = 0


class Worker:
    """One invocation of the function."""

    def __init__(
        self, settings: Settings, aws: Aws, pool: ThreadPoolExecutor, context: Any
    ) -> None:
        self._settings, self._aws, self._pool, self._context = settings, aws, pool, context
        self._ledger = Ledger(aws.dynamodb, settings.table, settings.site_uid)
        self._rate = Rate(aws.dynamodb, settings.table, settings.max_rate)
        # No function holds more than a second of the rate: the others wait for their share.
        most = int(settings.max_rate) or 1
        self._most = min(settings.concurrency, most) if settings.max_rate else settings.concurrency

    def handle(self, record: Mapping[str, Any]) -> bool:
        """Work on one message; False: the queue must bring it again."""
        message = record["messageId"]
        try:
            if not self._time_for_a_window():
                log("no time left", message=message)
                return self._back(record, 0)
            act = self._bury if self._is_last(record) else self._work
            return act(self._open(record["body"]), record)
        except Refused as refusal:
            log("refused", message=message, reason=str(refusal), length=len(record["body"]))
            if refusal.job is None:
                return True
            reported = self._report(refusal.job, 1, True, "refused", [], [str(refusal)])
            return reported or self._back(record, DELAYS[1])
        except Busy as busy:
            log("leased by another", message=message, until=busy.until)
            return self._back(record, busy.until - int(now()) + 1)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad message never fails nine good
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{frame.name}:{frame.lineno}"
            log("trouble", message=message, error=type(error).__name__, where=where)
            return self._back(record, DELAYS[1])

    def _open(self, body: str) -> Job:
        settings = self._settings
        try:
            keys = settings.keys or self._aws.secret(settings.secret_arn)
            payload, key = open_envelope(body, keys)
        except Refused:
            if settings.keys:
                raise
            # The secret may have been changed since we read it.
            keys = self._aws.secret(settings.secret_arn, fresh=True)
            payload, key = open_envelope(body, keys)
        return unpack(payload, key, settings.site_uid)

    def _work(self, job: Job, record: Mapping[str, Any]) -> bool:
        began = time.monotonic()
        books = Books(self._ledger, job, int(now() + self._left() + LEASE_MARGIN) + 1)
        books.take()
        waits = books.waits
        expired = now() - job.first_issued_at > LIFETIME
        if expired:
            gone = Result(Kind.LATER, "expired", EXPLAINED["expired"])
            done = Try(stop=gone, left=books.claimable(), errors=[gone.text])
        else:
            done = self._send_all(books, job, last=waits >= len(DELAYS))
        end = done.end(waits)
        books.close(done.unrecorded, end.waits)
        delivered = True
        if end.finished:
            recipients = describe(job, books, done, end)
            status = "expired" if expired else summarize(recipients, len(job.mails))
            tries = max(1, books.tries)
            delivered = self._report(job, tries, end.final, status, recipients, done.errors)
        names = {"message": record["messageId"], "batch": job.batch_key, "job": job.job_id}
        counts = {"attempt": job.attempt, "try": books.tries, "mails": len(job.mails)}
        ended = {"left": len(done.left), "final": end.final, "delivered": delivered}
        log("batch", **names, **counts, **ended, seconds=round(time.monotonic() - began, 3))
        if end.final:
            return delivered or self._back(record, DELAYS[1])
        return self._back(record, end.delay)

    def _is_last(self, record: Mapping[str, Any]) -> bool:
        """Whether the queue would bring this message no more."""
        most = self._settings.max_receives
        received = record.get("attributes", {}).get("ApproximateReceiveCount", "0")
        return bool(most) and int(received) >= most

    def _bury(self, job: Job, record: Mapping[str, Any]) -> bool:
        """Say that the queue gives the message up; it is in the dead-letter queue then.

        What the ledger does not know was not sent by it, and may be asked for again.
        """
        books = Books(self._ledger, job, int(now() + self._left() + LEASE_MARGIN) + 1)
        books.take()
        gone = Result(Kind.LATER, "dead_letter", EXPLAINED["dead_letter"])
        done = Try(stop=gone, left=books.claimable(), errors=[gone.text])
        books.bury()
        recipients = describe(job, books, done, End(final=True))
        status = summarize(recipients, len(job.mails))
        log("dead letter", message=record["messageId"], batch=job.batch_key, left=len(done.left))
        self._report(job, books.tries, True, status, recipients, done.errors)
        return self._back(record, 0)

    def _send_all(self, books: Books, job: Job, last: bool) -> Try:
        """Window after window, until all are tried, SES is in trouble or time is short."""
        done, todo, full = Try(), books.claimable(), min(WINDOW, self._most)
        settings = self._settings
        named = {"ConfigurationSetName": settings.configuration_set, "TenantName": settings.tenant}
        options = {name: value for name, value in named.items() if value}
        sender = partial(send, job=job, last=last, ses=self._aws.ses(), options=options)
        size = 1 if books.waits else full  # after trouble one goes ahead
        while todo and not done.stop and self._time_for_a_window():
            window = todo[:size]
            if not self._wait_for_rate(len(window)):
                break
            todo = todo[len(window) :]
            claimed = books.turn(done.unrecorded, window)
            done.take_in(dict(zip(claimed, self._pool.map(sender, claimed), strict=True)))
            kinds = {result.kind for result in done.unrecorded.values()}
            size = min(2 * size, self._most) if kinds == {Kind.SENT} and size >= full else full
            if todo and not done.stop and Kind.SOON in kinds:
                rest(BREATH)
        done.left += todo
        return done

    def _wait_for_rate(self, mails: int) -> bool:
        """Wait until so many mails may be sent; False if there is not the time for that."""
        seconds = self._rate.reserve(mails)
        if self._left() - seconds <= WINDOW_SECONDS:
            return False
        if seconds:
            rest(seconds)
        return True

    def _left(self) -> float:
        return float(self._context.get_remaining_time_in_millis()) / 1000

    def _time_for_a_window(self) -> bool:
        return self._left() > WINDOW_SECONDS

    def _back(self, record: Mapping[str, Any], seconds: int) -> bool:
        """Let the queue bring the message again after so many seconds. Is always False."""
        try:
            self._aws.sqs.change_message_visibility(
                QueueUrl=self._settings.queue_url,
                ReceiptHandle=record["receiptHandle"],
                VisibilityTimeout=min(max(seconds, 0), 43_200),
            )
        except (BotoCoreError, ClientError) as error:  # then it comes when its time-out ends
            log("visibility not changed", message=record["messageId"], error=type(error).__name__)
        return False

    # Reporting

    def _report(
        self,
        job: Job,
        tries: int,
        final: bool,
        status: str,
        recipients: Sequence[Mapping[str, object]],
        errors: Sequence[str],
    ) -> bool:
        """Report one try; whether someone has taken every part of it."""
        counts = Counter(recipient["status"] for recipient in recipients)
        for part in range(max(1, -(-len(recipients) // PART))):
            names = (job.site_uid, job.batch_key, job.attempt, tries, part)
            payload = {
                "site_uid": job.site_uid,
                "delivery_id": hashlib.sha256("\x1f".join(map(str, names)).encode()).hexdigest(),
                "batch_key": job.batch_key,
                "job_id": job.job_id,
                "batch_id": job.batch_id,
                "attempt": job.attempt,
                "try": tries,
                "final": final,
                "status": status,
                "emails_sent": counts["sent"],
                "emails_failed": counts["failed"] + counts["permanently_failed"],
                "errors": errors,
                "recipients": recipients[part * PART : (part + 1) * PART],
            }
            text = json.dumps(payload, separators=(",", ":"))
            if not self._call_back(text, job.key) and not self._queue_result(text, job.key):
                return False
        return True

    def _call_back(self, payload: str, key: Key) -> bool:
        """POST it, up to three times; whether the site has it."""
        for tried in range(3 if self._settings.callback_url else 0):
            if self._left() < CALLBACK_TIMEOUT + 2:
                break
            if tried:
                rest(random.uniform(0.1, 0.5))  # noqa: S311 - only spreads the load
            timestamp = int(now())
            headers = {
                "Content-Type": "application/json",
                "X-ManiReports-Key": key.name,
                "X-ManiReports-Timestamp": str(timestamp),
                "X-ManiReports-Signature": sign("result", timestamp, payload, key.secret),
            }
            status = post(self._settings.callback_url, payload.encode("ascii"), headers)
            if status in {200, 202}:
                return True
            log("callback failed", status=status)
            if 300 <= status < 500:
                break  # the same again would be refused again
        return False

    def _queue_result(self, payload: str, key: Key) -> bool:
        timestamp = int(now())
        message = {
            "v": 1,
            "key": key.name,
            "kind": "result",
            "timestamp": timestamp,
            "payload": payload,
            "signature": sign("result", timestamp, payload, key.secret),
        }
        try:
            self._aws.sqs.send_message(
                QueueUrl=self._settings.results_queue_url,
                MessageBody=json.dumps(message, separators=(",", ":")),
            )
        except (BotoCoreError, ClientError) as error:
            log("results queue failed", error=type(error).__name__)
            return False
        return True


EXPLAINED = {
    "dead_letter": "the queue gave the message up, it is in the dead-letter queue: `aws redrive`",
    "expired": "the message was too old: it was not sent",
    "lease_expired": "the worker died while it was sending this mail: it may have been sent",
    "revoked": "taken back before it was sent",
}
"""The texts of codes that are ours; of SES's, the ledger keeps the code alone."""


def describe(job: Job, books: Books, done: Try, end: End) -> list[dict[str, object]]:
    """What is known of each mail of the message, as the report says it."""
    found = []
    for mail in job.mails:
        entry = books.entry(mail)
        said: dict[str, object] = {"mail_key": mail.key, "id": mail.id}
        if entry is not None and entry["s"] == State.SENT:
            found.append(said | {"status": "sent", "message_id": entry["m"]})
            continue
        not_before = 0
        if entry is not None:
            status = STATUSES[entry["s"]]
            code = "revoked" if status == "revoked" else entry["m"]
        elif not end.final or done.stop is None:
            continue
        elif done.stop.note in {"expired", "dead_letter"}:
            status, code = "failed", done.stop.note
        else:
            status, code, not_before = "deferred", done.stop.note, end.not_before
        text = done.texts.get(mail.key) or EXPLAINED.get(code) or f"SES: {code}"
        said |= {"status": status, "error_code": code, "error": text}
        said |= {"retryable": status in {"failed", "deferred"}, "not_before": not_before}
        found.append(said)
    return found


STATUSES = {
    State.RETRYABLE: "failed",
    State.FAILED: "permanently_failed",
    State.UNKNOWN: "unknown",
    State.REVOKED: "revoked",
}


def summarize(recipients: Sequence[Mapping[str, object]], mails: int) -> str:
    """The status of a batch of so many mails."""
    statuses = Counter(recipient["status"] for recipient in recipients)
    if statuses["sent"]:
        return "sent" if statuses["sent"] == mails else "partial_failure"
    return "deferred" if statuses["deferred"] or not statuses else "failed"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: reports go where the environment says."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """The status of the answer; 0 if there was none."""
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - checked
    try:
        with _opener.open(request, timeout=CALLBACK_TIMEOUT) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (OSError, HTTPException):
        return 0
