"""What a recorded message says, for comparing with what IOMAD's own cron sent."""

import email
import hashlib
from email.message import EmailMessage, Message
from email.policy import default
from typing import NamedTuple

from sidecar.demo.sink import Received


class Said(NamedTuple):
    """One message as its reader and its server see it."""

    rcpt: str
    envelope_from: str
    from_email: str
    from_name: str
    reply_to: str | None
    subject: str
    html: str
    attachments: tuple[tuple[str, str], ...]


def parsed(received: Received) -> EmailMessage:
    """The message, parsed with the modern policy."""
    message = email.message_from_bytes(received.data, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def said(received: Received) -> Said:
    """What the message says; trailing white space of the body does not count.

    An empty HTML body needs no part.
    """
    message = parsed(received)
    html = message.get_body(("html",))
    assert html is not None or not text_of(received).strip()
    (sender,) = message["From"].addresses
    attachments = tuple(
        (part.get_filename() or "", hashlib.sha256(_bytes(part)).hexdigest())
        for part in message.iter_attachments()
    )
    return Said(
        rcpt=received.recipients[0],
        envelope_from=received.sender,
        from_email=sender.addr_spec,
        from_name=sender.display_name,
        reply_to=str(message["Reply-To"]) if message["Reply-To"] else None,
        subject=str(message["Subject"]),
        html=html.get_content().replace("\r\n", "\n").rstrip() if html else "",
        attachments=attachments,
    )


def text_of(received: Received) -> str:
    """The plain text part."""
    part = parsed(received).get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def _bytes(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content
