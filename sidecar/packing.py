"""Mails into the ``emails`` of a queue message, and how many of them one message can carry. Pure.

What the mails of one queue row share is encoded once, as in connectors/mime.py.
"""

import json
import zlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from weakref import WeakKeyDictionary

from sidecar.mail import Address, Attachment, Content, Mail, cut_subject

OVERHEAD = 4096
"""Bytes kept free in every message for all that is neither ``emails`` nor its From and Reply-To.

The fields take under 1,500 with every name as long as its database column. The rest is for the
batch_key, which is not known yet when mails are packed: another key compresses a little better or
worse, by a few bytes a mail at most.
"""

LEVEL = 5
"""Of gzip. Mails of one template: 38 % smaller than level 1 for 1 ms more a hundred; level 6 takes
longer and gains 1 to 2 %."""

_SOME_KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

_json = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
_shared: WeakKeyDictionary[Content, str] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Packed:
    """groups: what goes into one message each, in order; too_large: mails that fit into none."""

    groups: tuple[tuple[Mail, ...], ...] = field(repr=False)
    too_large: tuple[Mail, ...] = field(repr=False)


def pack(mails: Sequence[Mail], *, limit: int, batch_size: int) -> Packed:
    """Split ``mails``, in order, into groups that fit into a message each.

    Every group has at most ``batch_size`` mails, and its ``message.encode_batch`` at most
    ``limit`` bytes. Mails of one row (one Content, side by side) stay together where they can.
    Compresses only what could be too large uncompressed.
    """
    groups: list[tuple[Mail, ...]] = []
    too_large: list[Mail] = []
    group = _Group(limit, batch_size)

    def place(row: Sequence[Mail]) -> None:
        nonlocal group
        if group.add(row):
            return
        fresh = _Group(limit, batch_size)
        if fresh.add(row):
            groups.append(tuple(group.mails))
            group = fresh
        elif len(row) == 1:
            too_large.append(row[0])
        else:
            for mail in row:
                place([mail])

    for _, row in groupby(mails, key=lambda mail: id(mail.content)):
        place(list(row))
    if group.mails:
        groups.append(tuple(group.mails))
    return Packed(tuple(groups), tuple(too_large))


class _Group:
    """Mails for one message; takes more as long as they fit."""

    def __init__(self, limit: int, batch_size: int) -> None:
        self.mails: list[Mail] = []
        self._batch_size = batch_size
        self._limit = limit
        self._room = 0
        self._raw = 0
        self._waiting: list[str] = []
        self._gzip = compressor()
        self._written = 0

    def add(self, row: Sequence[Mail]) -> bool:
        """Take all of ``row``, or change nothing and return False."""
        if len(self.mails) + len(row) > self._batch_size:
            return False
        if not self.mails:
            head = len(_json(encode_head(row[0])))
            self._room = (self._limit - OVERHEAD - head) // 4 * 3
        first = (self.mails or row)[0]
        text = "".join(f",{encode_mail(mail, _SOME_KEY, first)}" for mail in row)
        raw = self._raw + len(text)
        if _most_compressed(raw) <= self._room:
            self._waiting.append(text)
        elif not self._fits("".join([*self._waiting, text])):
            return False
        self._raw = raw
        self.mails += row
        return True

    def _fits(self, text: str) -> bool:
        gzip = self._gzip.copy()
        written = self._written + len(gzip.compress(text.encode("ascii")))
        whole = gzip.copy()
        if written + len(whole.compress(b"]")) + len(whole.flush()) > self._room:
            return False
        self._gzip, self._written = gzip, written
        self._waiting.clear()
        return True


def encode_head(first: Mail) -> str:
    """What a batch that begins with ``first`` says once for all its mails: JSON of an object."""
    return _json({"from": _address(first.sender), "reply_to": first.reply_to})


def encode_mail(mail: Mail, batch_key: str, first: Mail) -> str:
    """JSON of one mail of a batch that begins with ``first``, whose From and Reply-To it shares.

    Any string passes: what is no Unicode text (a lone surrogate) stays escaped, and the worker
    refuses that mail alone.
    """
    fields: dict[str, object] = {
        "id": mail.id,
        "mail_key": mail.mail_key,
        "root_batch": mail.root_batch or batch_key,
        "generation": mail.generation,
        "to": mail.to,
        "subject": cut_subject(mail.subject_prefix + mail.content.subject),
        "headers": [("Message-ID", f"<{mail.message_id}>"), *mail.headers],
    }
    if mail.to_name:
        fields["to_name"] = mail.to_name
    if mail.sender != first.sender:
        fields["from"] = _address(mail.sender)
    if mail.reply_to != first.reply_to:
        fields["reply_to"] = mail.reply_to
    shared = _shared.get(mail.content)
    if shared is None:
        shared = _shared[mail.content] = _content(mail.content)
    return f"{_json(fields)[:-1]},{shared[1:]}"


def encode_emails(mails: Sequence[Mail], batch_key: str) -> str:
    """base64 of gzip of the JSON array of ``mails``, one or more; equal for equal input."""
    gzip = compressor()
    text = ",".join(encode_mail(mail, batch_key, mails[0]) for mail in mails)
    return b64encode(gzip.compress(f"[{text}]".encode("ascii")) + gzip.flush()).decode("ascii")


def compressor() -> "zlib._Compress":
    """Writes gzip, with no time in its header."""
    return zlib.compressobj(LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)


def _most_compressed(raw: int) -> int:
    """The most that gzip makes of ``raw`` bytes (zlib, deflateBound, for any parameters)."""
    return raw + (raw >> 3) + (raw >> 6) + 64


def _address(address: Address) -> dict[str, str]:
    return {"email": address.email, "name": address.name}


def _content(content: Content) -> str:
    attachments = [_attachment(attachment) for attachment in content.attachments]
    return _json({"html": content.html, "text": content.text, "attachments": attachments})


def _attachment(attachment: Attachment) -> dict[str, str]:
    return {
        "filename": attachment.filename,
        "content_type": attachment.content_type,
        "content": b64encode(attachment.content).decode("ascii"),
    }
