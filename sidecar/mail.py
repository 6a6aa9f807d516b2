"""What a batch is when it leaves for a connector, and what comes back. Pure."""

import hashlib
from dataclasses import dataclass, field

from sidecar.lifecycle import Recipient

SUBJECT_BYTES = 900
"""Moodle cuts every subject here (moodlelib.php, email_to_user)."""


@dataclass(frozen=True, slots=True)
class Address:
    """A mail address (``local@domain``, ASCII) and its display name (any Unicode, may be empty)."""

    email: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a mail: the name the reader sees, its MIME type, its bytes."""

    filename: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Content:
    """What all mails of one queue row share; connectors may cache its encoded form by identity.

    html: '' for a mail of text alone.
    """

    subject: str = field(repr=False)
    html: str = field(repr=False)
    text: str = field(repr=False)
    attachments: tuple[Attachment, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Mail:
    """One message to one address.

    id: row id of the recipient, for logs and results. headers: further raw header lines as
    (name, value), order kept, already free of CR and LF. message_id: without angle brackets,
    the same for every try of this mail. root_batch: the ``batch_key`` of the batch that first
    carried this mail ('' if that is the one it is in); generation: how often an admin asked for
    it again. to_name: the display name in the header To.
    """

    id: int
    mail_key: str
    message_id: str
    to: str
    sender: Address
    envelope_from: str
    content: Content
    reply_to: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    subject_prefix: str = ""
    tries: int = 0
    root_batch: str = ""
    generation: int = 0
    to_name: str = ""


@dataclass(frozen=True, slots=True)
class PackedMails:
    """Mails as a queue message carries them.

    ids: of the mails, in order. head: JSON of what they share (``packing.encode_head``); emails:
    the mails themselves (``packing.encode_emails``).
    """

    ids: tuple[int, ...]
    head: str = field(repr=False)
    emails: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MailBatch:
    """A batch ready to leave: at most ``batch_size`` mails of one company.

    attempt: how often a connector was asked to take it, from 1; first_issued_at: when it was
    asked first, Unix seconds. packed: its mails where they are packed already; ``mails`` is empty
    then.
    """

    id: int
    batch_key: str
    job_id: int
    company_id: int
    attempt: int
    mails: tuple[Mail, ...]
    job_type: str = ""
    batch_num: int = 0
    first_issued_at: int = 0
    packed: PackedMails | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is now true of one mail.

    status: ``processing`` (about to be sent), ``pending`` (refused for now),
    ``sent``, ``failed`` (retryable final),
    ``permanently_failed`` or ``unknown``. error: the server's text. counted: whether that was a
    try of the mail; ``lifecycle.retry_at`` says when the next one is due.
    """

    mail_id: int
    batch_id: int
    status: Recipient
    error_code: str = ""
    error: str = ""
    counted: bool = True


def cut_subject(subject: str) -> str:
    """``subject`` as far as Moodle would send it, without half a character at the end."""
    encoded = subject.encode("utf-8", "surrogatepass")
    if len(encoded) <= SUBJECT_BYTES:
        return subject
    end = SUBJECT_BYTES
    while encoded[end] & 0xC0 == 0x80:  # inside a character
        end -= 1
    return encoded[:end].decode("utf-8", "surrogatepass")


def capture_hash(
    source: str, source_id: int, source_stamp: int, role: str, address: str, generation: int = 0
) -> str:
    """``email_hash`` of DESIGN §4: the database refuses a second capture of the same mail."""
    parts = (source, str(source_id), str(source_stamp), role, address, str(generation))
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def mail_key(site_uid: str, email_hash: str) -> str:
    """The name of a mail outside the database (DESIGN §4)."""
    return hashlib.sha256(f"{site_uid}\x1f{email_hash}".encode()).hexdigest()
