"""SES's events, as SNS puts them into a queue: enveloped or raw, with our tags or without. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.connectors.base import Feedback, FeedbackKind

TEXT_LENGTH = 300
MAIL_HEADER = "x-manireports-mail"
"""What the worker writes into each mail: the mail_key. Feedback of an identity carries no tags."""

SOFT = {
    "MailboxFull": "the mailbox is full",
    "MessageTooLarge": "the message is too large for the mailbox",
    "ContentRejected": "the content was rejected",
    "AttachmentRejected": "an attachment was rejected",
}
"""Transient bounces that say what happened. Of the others many are automatic answers."""

_BLANKS = re.compile(r"[\x00-\x20\x7f-\x9f]+")
_HEX = re.compile(r"[0-9a-f]{64}")


def parse_feedback(body: str) -> tuple[Feedback, ...]:
    """What a message of the feedback queue says; empty if that concerns no mail, or nobody."""
    event = _object(body)
    if isinstance(event.get("Message"), str) and "mail" not in event:  # SNS's envelope
        event = _object(event["Message"])
    mail = event.get("mail")
    kind = event.get("eventType") or event.get("notificationType")
    if not isinstance(mail, dict) or not isinstance(kind, str):
        return ()
    message_id = mail.get("messageId")
    if not isinstance(message_id, str):
        return ()
    tags = _mapping(mail, "tags")
    key = _first(tags.get("mail_key")) or _header(mail)
    site = _first(tags.get("site_uid"))
    return tuple(
        Feedback(
            kind=found,
            address=address,
            message_id=message_id[:255],
            mail_key=key if _HEX.fullmatch(key) else "",
            site_uid=site[:64],
            text=_line(text),
        )
        for found, address, text in _said(kind, event, mail)
        if address
    )


def _said(
    kind: str, event: Mapping[str, Any], mail: Mapping[str, Any]
) -> Iterator[tuple[FeedbackKind, str, str]]:
    """What happened, to which address, and the diagnostic."""
    if kind == "Bounce":
        yield from _bounces(_mapping(event, "bounce"))
    elif kind == "Complaint":
        complaint = _mapping(event, "complaint")
        said = str(complaint.get("complaintFeedbackType") or "no type is given")
        if said != "not-spam":
            for each in _objects(complaint, "complainedRecipients"):
                yield FeedbackKind.COMPLAINED, _address(each.get("emailAddress")), said
    elif kind == "Delivery":
        delivery = _mapping(event, "delivery")
        for each in _list(delivery, "recipients"):
            said = str(delivery.get("smtpResponse") or "")
            yield FeedbackKind.DELIVERED, _address(each), said
    elif kind == "Reject":
        reason = str(_mapping(event, "reject").get("reason") or "no reason is given")
        for each in _list(mail, "destination"):
            yield FeedbackKind.REJECTED, _address(each), reason


def _bounces(bounce: Mapping[str, Any]) -> Iterator[tuple[FeedbackKind, str, str]]:
    type_, subtype = str(bounce.get("bounceType")), str(bounce.get("bounceSubType"))
    if type_ == "Permanent":
        kind, why = FeedbackKind.BOUNCED, subtype
    elif type_ == "Transient" and subtype in SOFT:
        kind, why = FeedbackKind.SOFT_BOUNCED, SOFT[subtype]
    else:
        return
    for each in _objects(bounce, "bouncedRecipients"):
        said = each.get("diagnosticCode") or each.get("status") or ""
        yield kind, _address(each.get("emailAddress")), f"{why}: {said}" if said else why


def _address(value: object) -> str:
    """An address as the mail's own row has it; SES may put a name before it."""
    if not isinstance(value, str):
        return ""
    inner = re.search(r"<([^<>]*)>\s*\Z", value)
    return (inner[1] if inner else value).strip()[:320]


def _header(mail: Mapping[str, Any]) -> str:
    for header in _objects(mail, "headers"):
        if str(header.get("name")).lower() == MAIL_HEADER:
            return str(header.get("value"))
    return ""


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _mapping(source: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = source.get(name)
    return value if isinstance(value, dict) else {}


def _list(source: Mapping[str, Any], name: str) -> list[Any]:
    value = source.get(name)
    return value if isinstance(value, list) else []


def _objects(source: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    yield from (each for each in _list(source, name) if isinstance(each, dict))


def _first(value: object) -> str:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], str) else ""


def _line(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()[:TEXT_LENGTH]
