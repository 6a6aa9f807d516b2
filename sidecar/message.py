"""The wire contract, version 1 (DESIGN §6, cloud_workers/contract/README.md). Pure.

A batch goes out as one signed queue message; a signed result comes back, as the body of a callback
or as a queue message of the same form. What comes from outside is believed only as far as
``parse_envelope``, ``is_signed`` and ``parse_result`` have checked it.
"""

import hmac
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from sidecar.errors import MessageError
from sidecar.mail import MailBatch
from sidecar.packing import pack_all
from sidecar.strict_json import Fields, load, printable

VERSION = 1
JOB = "job"
RESULT = "result"

MAX_RESULT_BYTES = 1024 * 1024
"""A longer result payload is refused; the callback page answers 413."""
MAX_MESSAGE_BYTES = 2 * MAX_RESULT_BYTES
"""A longer queue message is refused: twice, because quotes in a payload are escaped."""
MAX_ERROR = 2000
"""Characters of an error text that are kept."""

_HEX32 = re.compile(r"[0-9a-f]{32}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[!-~]{1,64}")
_CODE = re.compile(r"[ -~]{0,50}")
_MESSAGE_ID = re.compile(r"[ -~]{0,255}")
_PAYLOAD = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]*")

_json = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


class BatchStatus(StrEnum):
    """What a worker says of a batch."""

    SENT = "sent"
    PARTIAL_FAILURE = "partial_failure"
    FAILED = "failed"
    DEFERRED = "deferred"
    EXPIRED = "expired"
    REFUSED = "refused"


class MailStatus(StrEnum):
    """What a worker says of a mail."""

    SENT = "sent"
    FAILED = "failed"
    PERMANENTLY_FAILED = "permanently_failed"
    UNKNOWN = "unknown"
    DEFERRED = "deferred"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A company's secret and the name by which messages refer to it."""

    key: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message as it lies in a queue; nothing of it is proven before ``is_signed``."""

    key: str
    kind: str
    timestamp: int
    payload: str = field(repr=False)
    signature: str


@dataclass(frozen=True, slots=True)
class MailResult:
    """What became of one mail.

    message_id: the provider's, only for ``sent``; the other four only for what is not ``sent``.
    retryable: asking again later is sensible; not_before: from then on, Unix seconds, 0 = any time.
    """

    mail_key: str
    id: int
    status: MailStatus
    message_id: str = ""
    error_code: str = ""
    error: str = ""
    retryable: bool = False
    not_before: int = 0


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A worker's report on a batch, or on a part of its mails.

    attempt counts our asks, try_ the worker's, both from 1. final: the worker does nothing more for
    this ask. The two sums are for the eye: only ``recipients`` say what is true.
    """

    site_uid: str
    delivery_id: str
    batch_key: str
    job_id: int
    batch_id: int
    attempt: int
    try_: int
    final: bool
    status: BatchStatus
    emails_sent: int
    emails_failed: int
    errors: tuple[str, ...]
    recipients: tuple[MailResult, ...]


def sign(kind: str, timestamp: int, payload: str, secret: str) -> str:
    """The signature of ``payload``: 64 hex digits. timestamp: Unix seconds."""
    text = f"{kind}.{timestamp}.{payload}".encode("utf-8", "surrogatepass")
    return hmac.new(secret.encode("utf-8", "surrogatepass"), text, sha256).hexdigest()


def is_signed(
    kind: str, timestamp: int, payload: str, signature: str, secrets: Iterable[str]
) -> bool:
    """Whether one of ``secrets`` made ``signature``; an empty secret never did.

    Takes the same time whichever secret fits: every one is tried to the end.
    """
    given = signature.encode(errors="replace")
    found = False
    for secret in secrets:
        same = hmac.compare_digest(sign(kind, timestamp, payload, secret).encode(), given)
        found |= same and bool(secret)
    return found


def delivery_id(site_uid: str, batch_key: str, attempt: int, try_: int, part: int) -> str:
    """The name of one report; part counts from 0 where a report is split."""
    text = "\x1f".join((site_uid, batch_key, str(attempt), str(try_), str(part)))
    return sha256(text.encode()).hexdigest()


def seal(kind: str, payload: str, key: SigningKey, timestamp: int) -> str:
    """The queue message that carries ``payload``: ASCII, signed. timestamp: Unix seconds."""
    return _json(
        {
            "v": VERSION,
            "key": key.key,
            "kind": kind,
            "timestamp": timestamp,
            "payload": payload,
            "signature": sign(kind, timestamp, payload, key.secret),
        }
    )


def encode_batch(batch: MailBatch, site_uid: str, key: SigningKey, timestamp: int) -> str:
    """The complete queue message of a batch of one or more mails: ASCII, equal for equal input."""
    packed = batch.packed or pack_all(batch.mails, batch.batch_key)
    fields = _json(
        {
            "site_uid": site_uid,
            "batch_key": batch.batch_key,
            "job_id": batch.job_id,
            "batch_id": batch.id,
            "batch_num": batch.batch_num,
            "attempt": batch.attempt,
            "type": batch.job_type,
            "company_id": batch.company_id,
            "first_issued_at": batch.first_issued_at,
            "encoding": "gzip+base64",
            "emails": packed.emails,
        }
    )
    return seal(JOB, f"{packed.head[:-1]},{fields[1:]}", key, timestamp)


def encode_result(result: BatchResult) -> str:
    """The payload of a report; what a worker written in Python sends."""
    fields = {
        "site_uid": result.site_uid,
        "delivery_id": result.delivery_id,
        "batch_key": result.batch_key,
        "job_id": result.job_id,
        "batch_id": result.batch_id,
        "attempt": result.attempt,
        "try": result.try_,
        "final": result.final,
        "status": result.status,
        "emails_sent": result.emails_sent,
        "emails_failed": result.emails_failed,
        "errors": result.errors,
        "recipients": [_mail_fields(mail) for mail in result.recipients],
    }
    return _json(fields)


def _mail_fields(mail: MailResult) -> dict[str, object]:
    name: dict[str, object] = {"mail_key": mail.mail_key, "id": mail.id, "status": mail.status}
    if mail.status == MailStatus.SENT:
        return name | {"message_id": mail.message_id}
    return name | {
        "error_code": mail.error_code,
        "error": mail.error,
        "retryable": mail.retryable,
        "not_before": mail.not_before,
    }


def parse_envelope(text: str) -> Envelope:
    """A queue message, of any kind, unproven; MessageError names what is malformed."""
    fields = Fields(load(text, MAX_MESSAGE_BYTES))
    if fields.number("v") != VERSION:
        raise MessageError(f"v: only version {VERSION} is known")
    kind = fields.text("kind", _NAME)
    if kind not in {JOB, RESULT}:
        raise MessageError("kind: neither job nor result")
    return Envelope(
        key=fields.text("key", _NAME),
        kind=kind,
        timestamp=fields.number("timestamp"),
        payload=fields.text("payload", _PAYLOAD),
        signature=fields.text("signature", _HEX64),
    )


def parse_result(payload: str) -> BatchResult:
    """A report; MessageError names what is malformed. Fields that are not known are ignored.

    An error text is made one printable line of at most MAX_ERROR characters, not refused: it
    must not cost the results that came with it.
    """
    fields = Fields(load(payload, MAX_RESULT_BYTES))
    recipients = tuple(
        _mail_result(Fields(item, f"recipients[{number}]."))
        for number, item in enumerate(fields.items("recipients"))
    )
    if len({mail.mail_key for mail in recipients}) < len(recipients):
        raise MessageError("recipients: a mail_key is given twice")
    return BatchResult(
        site_uid=fields.text("site_uid", _NAME),
        delivery_id=fields.text("delivery_id", _HEX64),
        batch_key=fields.text("batch_key", _HEX32),
        job_id=fields.number("job_id"),
        batch_id=fields.number("batch_id"),
        attempt=fields.number("attempt", 1),
        try_=fields.number("try", 1),
        final=fields.flag("final"),
        status=fields.choice("status", BatchStatus),
        emails_sent=fields.number("emails_sent"),
        emails_failed=fields.number("emails_failed"),
        errors=tuple(
            printable(item, f"errors[{number}]", MAX_ERROR)
            for number, item in enumerate(fields.items("errors"))
        ),
        recipients=recipients,
    )


def _mail_result(fields: Fields) -> MailResult:
    status = fields.choice("status", MailStatus)
    key, row = fields.text("mail_key", _HEX64), fields.number("id")
    if status is MailStatus.SENT:
        return MailResult(key, row, status, message_id=fields.text("message_id", _MESSAGE_ID))
    return MailResult(
        key,
        row,
        status,
        error_code=fields.text("error_code", _CODE),
        error=fields.line("error", MAX_ERROR),
        retryable=fields.flag("retryable"),
        not_before=fields.number("not_before"),
    )
