"""The bytes of a mail, built cheaply (RFC 5322, 2045-2047, 2231). Pure.

What the mails of one queue row share is encoded once; a mail adds only its few header lines. Every
line is ASCII, ends in CRLF and is short of 998 characters; no bare CR or LF survives, so no text of
a user can end the message, start another or add a header.
"""

import re
import time
from base64 import b64encode, encodebytes
from binascii import b2a_qp
from email.utils import formatdate
from functools import lru_cache
from secrets import token_hex
from urllib.parse import quote
from weakref import WeakKeyDictionary

from sidecar.mail import SUBJECT_BYTES, Address, Attachment, Content, Mail, cut_subject

_ADDRESS = re.compile(
    r"(?=.{3,254}\Z)[!#-'*+\-./0-9=?A-Z^-~]+@(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f.:IPv]+\])"
)
_MESSAGE_ID = re.compile(r"[!-;=?-~]{1,900}")
_HEADER_NAME = re.compile(r"[!-9;-~]{1,70}")
_CONTENT_TYPE = re.compile(
    r"(?!multipart/|message/)[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII | re.IGNORECASE
)
_UNSAFE = re.compile(r"[\r\n\0]")
_PRINTABLE = re.compile(r"(?!.*=\?)[ -~]*")
_ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?: [\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
_FOLD = re.compile(r"(?!.{0,66}\Z)(.{1,64}\S) (?=\S)")
_LINE_END = re.compile(rb"\r\n?")
_FROM_LINE = re.compile(rb"^From ", re.MULTILINE)
_ESCAPES = re.compile(r"(?:%..|[^%]){1,20}")
_OURS = frozenset({"date", "from", "subject", "message-id", "mime-version"})

_bodies: WeakKeyDictionary[Content, bytes] = WeakKeyDictionary()


def build(mail: Mail) -> bytes:
    """The message of ``mail``; its Date is now.

    Raises ValueError, with the reason, for what must not or cannot be sent: CR, LF or NUL in a
    header, an address that is not one ASCII address, text that is not Unicode.
    """
    body = _bodies.get(mail.content)
    if body is None:
        body = _bodies[mail.content] = _body(mail.content)
    if mail.envelope_from:
        address(mail.envelope_from)
    if not _MESSAGE_ID.fullmatch(mail.message_id):
        raise ValueError("the Message-ID is malformed")
    lines = [
        f"Date: {_date(int(time.time()))}",
        f"To: {_mailbox(Address(mail.to, mail.to_name))}",
        f"From: {_sender(mail.sender)}",
        f"Subject: {_text(cut_subject(mail.subject_prefix + mail.content.subject))}",
        f"Message-ID: <{mail.message_id}>",
    ]
    if mail.reply_to:
        lines.append(f"Reply-To: {_text(mail.reply_to)}")
    lines += [_header(name, value) for name, value in mail.headers]
    lines.append("MIME-Version: 1.0\r\n")
    return "\r\n".join(lines).encode("ascii") + body


def address(value: str) -> str:
    """``value`` if it is one plain address, fit for MAIL, RCPT and a header; else ValueError.

    Narrower than RFC 5321: ASCII, no quoted local part, at most 254 characters.
    """
    if not _ADDRESS.fullmatch(value):
        raise ValueError(f"not an address that can be sent to: {value[:254]!r}")
    return value


def clean(value: str) -> str:
    """``value`` without outer blanks; ValueError if it could end a header (header injection)."""
    if _UNSAFE.search(value):
        raise ValueError("header injection: CR, LF or NUL in a header")
    return value.strip(" \t")


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, localtime=True)


@lru_cache(maxsize=64)
def _sender(sender: Address) -> str:
    return _mailbox(sender)


def _mailbox(one: Address) -> str:
    name = clean(one.name)
    if not name:
        return address(one.email)
    if len(name) > 60 or not _PRINTABLE.fullmatch(name):
        phrase = _encoded_words(name)
    elif _ATOMS.fullmatch(name):
        phrase = name
    else:
        phrase = '"{}"'.format(name.replace("\\", "\\\\").replace('"', '\\"'))
    return f"{phrase} <{address(one.email)}>"


def _header(name: str, value: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"not a header name: {name[:70]!r}")
    if name.lower() in _OURS or name.lower().startswith("content-"):
        raise ValueError(f"the header {name} cannot be given twice")
    return f"{name}: {_text(value)}"


@lru_cache(maxsize=256)
def _text(value: str) -> str:
    """An unstructured header value, folded; encoded words for what is not plain ASCII."""
    value = clean(value)
    if _PRINTABLE.fullmatch(value):
        folded = _FOLD.sub("\\1\r\n ", value)
        if max(map(len, folded.split("\r\n"))) <= SUBJECT_BYTES:
            return folded
    return _encoded_words(value)


def _encoded_words(text: str) -> str:
    """RFC 2047 §2: whole characters, lines of at most 76 with the longest header name of ours."""
    words, word = [], b""
    for character in text:
        encoded = character.encode()
        if len(word) + len(encoded) > 39:
            words.append(word)
            word = b""
        word += encoded
    words.append(word)
    return "\r\n ".join(f"=?utf-8?b?{b64encode(word).decode()}?=" for word in words)


def _body(content: Content) -> bytes:
    """Everything from Content-Type on.

    A boundary holds ``=_``, which neither quoted-printable nor base64 can produce (RFC 2045 §6.7).
    """
    plain = _text_part(b"plain", content.text)
    parts = plain + b"\r\n"
    if content.html:
        parts = _multipart(b"alternative", [plain, _text_part(b"html", content.html)])
    if not content.attachments:
        return parts
    return _multipart(b"mixed", [parts, *map(_attachment_part, content.attachments)])


def _multipart(kind: bytes, parts: list[bytes]) -> bytes:
    boundary = b"=_" + token_hex(12).encode()
    head = b'Content-Type: multipart/%s;\r\n boundary="%s"\r\n' % (kind, boundary)
    body = b"".join(b"\r\n--%s\r\n%s" % (boundary, part) for part in parts)
    return b"%s%s\r\n--%s--\r\n" % (head, body, boundary)


def _text_part(kind: bytes, text: str) -> bytes:
    # Encoded with LF and turned afterwards: b2a_qp chooses its line ends by the first it meets.
    # A line that starts with "From " would be changed by mbox stores (RFC 2049 §3).
    encoded = b2a_qp(_LINE_END.sub(b"\n", text.encode()))
    encoded = _FROM_LINE.sub(b"F=\nrom ", encoded).replace(b"\n", b"\r\n")
    return (
        b"Content-Type: text/%s; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n%s" % (kind, encoded)
    )


def _attachment_part(attachment: Attachment) -> bytes:
    kind = attachment.content_type.partition(";")[0].strip()
    if not _CONTENT_TYPE.fullmatch(kind):
        kind = "application/octet-stream"
    head = (
        f"Content-Type: {kind}\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        f"Content-Disposition: attachment;{_filename(clean(attachment.filename))}\r\n\r\n"
    )
    return head.encode("ascii") + encodebytes(attachment.content).replace(b"\n", b"\r\n")


def _filename(name: str) -> str:
    """The parameter filename; by RFC 2231 where it is not short plain ASCII."""
    if len(name) <= 60 and _PRINTABLE.fullmatch(name) and not re.search(r'[\\"]', name):
        return f' filename="{name}"'
    pieces = _ESCAPES.findall("utf-8''" + quote(name, safe=""))
    if len(pieces) == 1:
        return f"\r\n filename*={pieces[0]}"
    return ";".join(f"\r\n filename*{n}*={piece}" for n, piece in enumerate(pieces))
