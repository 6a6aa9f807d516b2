"""Mails and batches to send."""

import itertools
from collections.abc import Iterable
from typing import Any

from sidecar.mail import Address, Content, Mail, MailBatch

_ids = itertools.count(1)

CONTENT = Content(
    "Your new account", "<p>Dear Björn,</p>\n<p>welcome.</p>", "Dear Björn,\nwelcome."
)


def make_mail(to: str = "", **changes: Any) -> Mail:
    """A good mail with an id and an address of its own."""
    number = next(_ids)
    values: dict[str, Any] = {
        "id": number,
        "mail_key": f"key-{number}",
        "message_id": f"{number}@moodle.example.test",
        "to": to or f"user{number}@example.test",
        "sender": Address("noreply@moodle.example.test", "Rig Support"),
        "envelope_from": "noreply@moodle.example.test",
        "content": CONTENT,
    }
    return Mail(**values | changes)


def make_batch(mails: Iterable[Mail] | int) -> MailBatch:
    """A batch of these mails, or of so many good ones."""
    number = next(_ids)
    chosen = [make_mail() for _ in range(mails)] if isinstance(mails, int) else mails
    return MailBatch(number, f"batch-{number}", 1, 1, 1, tuple(chosen))
