"""Mails into the ``emails`` of a queue message, and how many of them one message can carry. Pure.

What the mails of one queue row share is encoded once, as in connectors/mime.py.
"""

import json
import zlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from weakref import WeakKeyDictionary

from sidecar.mail import Address, Attachment, Content, Mail, PackedMails, cut_subject

OVERHEAD = 4096
"""Bytes kept free in every message for all that is neither ``emails`` nor its From and Reply-To.

The fields take under 1,500 with every name as long as its database column. The rest is for the
batch_key of all groups but the first, which is not known yet when mails are packed: another key
compresses a little better or worse, by a few bytes a mail at most.
"""

SHARED_BLOCK = 4096
"""Bytes that text may cost more than alone, because it shares a block and so its Huffman codes with
what was compressed before it: at most a bit for each of the 16,384
symbols of a block (RFC 1951)."""

UNPACKED = 16_000_000
"""Bytes of the mails of one message, unpacked: a worker refuses more than 64 MiB, and that on
Cloudflare has 128 MB of memory for all that it does. A mail that has more by itself goes alone."""

LEVEL = 5
"""Of gzip. Mails of one template: 38 % smaller than level 1 for 1 ms more a hundred; level 6 takes
longer and gains 1 to 2 %."""

_json = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
_shared: WeakKeyDictionary[Content, str] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Packed:
    """groups: what goes into one message each, in order; too_large: mails that fit into none.

    first: the first group as it leaves; None if there is none.
    """

    groups: tuple[tuple[Mail, ...], ...] = field(repr=False)
    too_large: tuple[Mail, ...] = field(repr=False)
    first: PackedMails | None


def pack(
    mails: Sequence[Mail], *, limit: int, batch_size: int, batch_key: str, mail_limit: int = 0
) -> Packed:
    """Split ``mails``, in order, into groups that fit into a message each.

    Every group has at most ``batch_size`` mails, and its ``message.encode_batch`` at most
    ``limit`` bytes. Mails of one row (one Content, side by side) stay together where they can.
    mail_limit: bytes of a mail (``mail_bytes``) that whoever sends it takes; 0: any number.
    batch_key: of the first group. It is compressed once; of the others, only what could be too
    large uncompressed.
    """
    packing = _Packing(limit, batch_size, batch_key)
    for _, row in groupby(mails, key=lambda mail: id(mail.content)):
        of_row = list(row)
        large = [mail for mail in of_row if mail_limit and mail_bytes(mail) > mail_limit]
        packing.too_large += large
        if rest := [mail for mail in of_row if mail not in large]:
            packing.place(rest)
    groups = [group for group in packing.groups if group.mails]
    first = groups[0].packed() if groups else None
    return Packed(tuple(tuple(g.mails) for g in groups), tuple(packing.too_large), first)


def mail_bytes(mail: Mail) -> int:
    """Bytes of a mail as the worker counts them for its sender: texts and headers in UTF-8,
    attachments in base64."""
    content = mail.content
    texts = (_subject(mail), content.html, content.text, *chain(*_headers(mail)))
    files = sum(-(-len(file.content) // 3) * 4 for file in content.attachments)
    return sum(map(_utf8, texts)) + files


def pack_all(mails: Sequence[Mail], batch_key: str) -> PackedMails:
    """All of ``mails``, one or more, in one message of any size; equal for equal input."""
    ids = tuple(mail.id for mail in mails)
    return PackedMails(ids, encode_head(mails[0]), encode_emails(mails, batch_key))


class _Packing:
    """Groups in the making; the last one takes more."""

    def __init__(self, limit: int, batch_size: int, batch_key: str) -> None:
        self._limit, self._batch_size, self._key = limit, batch_size, batch_key
        self.groups = [self._new_group()]
        self.too_large: list[Mail] = []

    def place(self, row: Sequence[Mail]) -> None:
        """Put mails of one row, one or more, into the last group, or into a new one."""
        if self.groups[-1].add(row):
            return
        fresh = self._new_group()
        if fresh.add(row):
            self.groups.append(fresh)
        elif len(row) == 1:
            self.too_large.append(row[0])
        else:
            for mail in row:
                self.place([mail])

    def _new_group(self) -> "_Group":
        return _Group(self._limit, self._batch_size, self._key)


class _Group:
    """Mails for one message; takes more as long as they fit.

    What could be too large uncompressed is compressed, and only as much of it as must be for the
    rest to fit for sure.
    """

    def __init__(self, limit: int, batch_size: int, batch_key: str) -> None:
        self.mails: list[Mail] = []
        self._limit, self._batch_size, self._key = limit, batch_size, batch_key
        self._room = 0
        self._waiting: list[str] = []
        self._waiting_size = 0
        self._unpacked = 0
        self._gzip = compressor()
        self._written: list[bytes] = []
        self._size = 0

    def add(self, row: Sequence[Mail]) -> bool:
        """Take all of ``row``, or change nothing and return False."""
        if len(self.mails) + len(row) > self._batch_size:
            return False
        if not self.mails:
            head = len(_json(encode_head(row[0])))
            self._room = (self._limit - OVERHEAD - head) // 4 * 3
        first = (self.mails or row)[0]
        separator = "," if self.mails else "["
        text = separator + ",".join(encode_mail(mail, self._key, first) for mail in row)
        alone = not self.mails and len(row) == 1
        if self._unpacked + len(text) > UNPACKED and not alone:
            return False
        if not self._surely_fits(text):
            self._write()
            if not (self._surely_fits(text) or self._fits(text)):
                return False
        self._waiting.append(text)
        self._waiting_size += len(text)
        self._unpacked += len(text)
        self.mails += row
        return True

    def packed(self) -> PackedMails:
        """The group as ``pack_all`` makes it; it takes no more mails then."""
        self._waiting.append("]")
        self._written.append(self._gzip.compress("".join(self._waiting).encode("ascii")))
        emails = b64encode(b"".join([*self._written, self._gzip.flush()])).decode("ascii")
        return PackedMails(tuple(m.id for m in self.mails), encode_head(self.mails[0]), emails)

    def _surely_fits(self, text: str) -> bool:
        most = _most_compressed(self._waiting_size + len(text))
        return self._size + most <= self._room

    def _fits(self, text: str) -> bool:
        gzip = self._gzip.copy()
        rest = gzip.compress(f"{text}]".encode("ascii")) + gzip.flush()
        return sum(map(len, self._written)) + len(rest) <= self._room

    def _write(self) -> None:
        self._written.append(self._gzip.compress("".join(self._waiting).encode("ascii")))
        self._size = sum(map(len, self._written)) + len(self._gzip.copy().flush()) + SHARED_BLOCK
        self._waiting.clear()
        self._waiting_size = 0


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
        "subject": _subject(mail),
        "headers": _headers(mail),
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


def _subject(mail: Mail) -> str:
    return cut_subject(mail.subject_prefix + mail.content.subject)


def _headers(mail: Mail) -> list[tuple[str, str]]:
    return [("Message-ID", f"<{mail.message_id}>"), *mail.headers]


def _utf8(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


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
