"""Reads the wire as a worker would, with nothing of the sidecar's own code."""

import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from sidecar.mail import Address, Attachment, Content, Mail, MailBatch

CONTRACT = Path(__file__).resolve().parents[2] / "cloud_workers" / "contract"


def vectors(name: str) -> Any:
    """One of the files of golden vectors."""
    return json.loads((CONTRACT / "vectors" / f"{name}.json").read_text("utf-8"))


def schema(name: str) -> Draft202012Validator:
    """The validator of one of the schemas, itself validated."""
    loaded = json.loads((CONTRACT / f"{name}.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(loaded)
    return Draft202012Validator(loaded)


def text_of(case: Mapping[str, Any]) -> str:
    """The string of a case that must be refused."""
    if "text" in case:
        return str(case["text"])
    return "".join(piece * times for piece, times in case["pieces"])


def open_message(message: str, secret: str) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """A genuine job message → (envelope, payload without emails, mails)."""
    envelope = json.loads(message)
    signed = f"{envelope['kind']}.{envelope['timestamp']}.{envelope['payload']}".encode()
    wanted = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    assert envelope["signature"] == wanted
    payload = json.loads(envelope["payload"])
    emails = base64.b64decode(payload.pop("emails"), validate=True)
    return envelope, payload, json.loads(gzip.decompress(emails))


def batch_of(payload: Mapping[str, Any], mails: list[Any]) -> MailBatch:
    """The batch that these fields say."""
    contents: dict[str, Content] = {}
    return MailBatch(
        id=payload["batch_id"],
        batch_key=payload["batch_key"],
        job_id=payload["job_id"],
        company_id=payload["company_id"],
        attempt=payload["attempt"],
        mails=tuple(_mail_of(mail, payload, contents) for mail in mails),
        job_type=payload["type"],
        batch_num=payload["batch_num"],
        first_issued_at=payload["first_issued_at"],
    )


def _mail_of(mail: Any, payload: Mapping[str, Any], contents: dict[str, Content]) -> Mail:
    row = json.dumps([mail[field] for field in ("subject", "html", "text", "attachments")])
    content = contents.setdefault(row, _content_of(mail))
    sender = mail.get("from", payload["from"])
    own = mail["root_batch"] == payload["batch_key"]
    return Mail(
        id=mail["id"],
        mail_key=mail["mail_key"],
        message_id=mail["headers"][0][1].removeprefix("<").removesuffix(">"),
        to=mail["to"],
        sender=Address(sender["email"], sender["name"]),
        envelope_from="bounces@moodle.example.test",
        content=content,
        reply_to=mail.get("reply_to", payload["reply_to"]),
        headers=tuple((name, value) for name, value in mail["headers"][1:]),
        root_batch="" if own else mail["root_batch"],
        generation=mail["generation"],
    )


def _content_of(mail: Any) -> Content:
    files = (
        Attachment(file["filename"], file["content_type"], base64.b64decode(file["content"]))
        for file in mail["attachments"]
    )
    return Content(mail["subject"], mail["html"], mail["text"], tuple(files))
