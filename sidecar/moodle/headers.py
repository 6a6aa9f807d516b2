"""Strict reader for the ``headers`` column of {email}: a PHP-serialized array. Pure.

Source: EmailTemplate::queue_for_cron writes it and send_to_user reads it (local/email/lib/api.php,
IOMAD 4.3.9; FACTS §3). What queue_for_cron can write is all that is read: ``attachment`` and
``template`` (stdClass of scalars) and, under integer keys, raw header lines. Everything else is
refused, so no class, reference or nesting is ever followed; that mail stays with Moodle.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from sidecar.errors import HeadersError
from sidecar.moodle.php_values import Scalar, is_empty, to_string

_ARRAY = re.compile(rb"a:(\d{1,4}):\{")
_OBJECT = re.compile(rb'O:8:"stdClass":(\d{1,4}):\{')
_SCALAR = re.compile(
    rb's:(\d{1,9}):"|i:(-?\d{1,19});|b:([01]);|(N);'
    rb"|d:(-?(?:\d{1,20}(?:\.\d{1,20})?(?:E[+-]?\d{1,3})?|INF)|NAN);"
)
_UNSAFE = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """Whom else a template's mails go to, and in whose name. emailfrom: a user id, 0 = none.

    Addresses are as stored: IOMAD splits at the comma, does not trim, and skips what
    validate_email refuses.
    """

    name: str = ""
    lang: str = ""
    emailto: tuple[int, ...] = ()
    emailcc: tuple[int, ...] = ()
    emailtoother: tuple[str, ...] = ()
    emailccother: tuple[str, ...] = ()
    emailfrom: int = 0
    emailfromother: str = ""
    emailfromothername: str = ""
    disabledmanager: bool = False
    disabledsupervisor: bool = False


@dataclass(frozen=True, slots=True)
class AttachmentRef:
    """A file of the dataroot (it may be gone) and the name that the reader sees."""

    filepath: str
    filename: str


@dataclass(frozen=True, slots=True)
class RowHeaders:
    """The column's content. template: None when the row carries none (IOMAD then reads the
    database). raw: further header lines such as ``Cc:x@y``, in order, without CR, LF and NUL.
    """

    template: TemplateOptions | None = None
    attachment: AttachmentRef | None = None
    raw: tuple[str, ...] = ()


class _Malformed(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, at: int, expected: str) -> None:
        super().__init__(expected)
        self.at = at
        self.expected = expected


def parse(value: str | bytes | None, *, max_bytes: int = 1_000_000) -> RowHeaders:
    """Read the column; NULL, '' and '0' are no headers (PHP's empty()).

    Raises HeadersError, which says where and what was expected, never what was found there.
    """
    if value is None:
        return RowHeaders()
    try:
        data = value.encode() if isinstance(value, str) else value
    except UnicodeEncodeError:
        raise HeadersError("headers: not UTF-8") from None
    if data in (b"", b"0"):
        return RowHeaders()
    if len(data) > max_bytes:
        raise HeadersError(f"headers: {len(data)} bytes, more than {max_bytes}")
    try:
        return _row(data)
    except _Malformed as error:
        raise HeadersError(f"headers: expected {error.expected} at byte {error.at}") from None


def template_options(row: Mapping[str, object]) -> TemplateOptions:
    """The same options from a row of {email_template}; raises HeadersError for a bad user id."""
    try:
        return _options(row)
    except _Malformed as error:
        raise HeadersError(f"template: expected {error.expected}") from None


def _row(data: bytes) -> RowHeaders:
    count, at = _open(_ARRAY, data, 0, "an array")
    template: TemplateOptions | None = None
    attachment: AttachmentRef | None = None
    raw: list[str] = []
    keys: set[Scalar] = set()
    for _ in range(count):
        key, start = _scalar(data, at)
        if type(key) is int:
            line, at = _scalar(data, start)
            raw.append(_single_line(line, start))
        elif key == "template":
            template, at = _shared_template(data, start)
        elif key == "attachment":
            file, at = _object(data, start)
            attachment = AttachmentRef(
                _single_line(file.get("filepath"), start), _single_line(file.get("filename"), start)
            )
        else:
            raise _Malformed(at, "an integer, 'template' or 'attachment' as key")
        keys.add(key)
    end = _close(data, at, count, len(keys))
    if end != len(data):
        raise _Malformed(end, "the end of the value")
    return RowHeaders(template, attachment, tuple(raw))


def _shared_template(data: bytes, start: int) -> tuple[TemplateOptions, int]:
    try:
        template, length = _template(data[start:])
    except _Malformed as error:
        raise _Malformed(start + error.at, error.expected) from None
    return template, start + length


@lru_cache(maxsize=32)
def _template(tail: bytes) -> tuple[TemplateOptions, int]:
    """The template is a row's last and largest part, the same byte for byte for a whole job."""
    fields, length = _object(tail, 0)
    return _options(fields), length


def _object(data: bytes, at: int) -> tuple[dict[str, Scalar], int]:
    count, at = _open(_OBJECT, data, at, "an stdClass")
    fields: dict[str, Scalar] = {}
    for _ in range(count):
        key, after = _scalar(data, at)
        if not isinstance(key, str):
            raise _Malformed(at, "the name of a property")
        fields[key], at = _scalar(data, after)
    return fields, _close(data, at, count, len(fields))


def _scalar(data: bytes, at: int) -> tuple[Scalar, int]:
    found = _SCALAR.match(data, at)
    if found is None:
        raise _Malformed(at, "a scalar")
    kind, end = found.lastindex, found.end()
    if kind == 1:
        start, end = end, end + int(found[1])
        if data[end : end + 2] != b'";':
            raise _Malformed(at, "a string of the length it states")
        try:
            return data[start:end].decode(), end + 2
        except UnicodeDecodeError:
            raise _Malformed(at, "a string in UTF-8") from None
    if kind == 2:
        return int(found[2]), end
    if kind == 3:
        return found[3] == b"1", end
    return (None if kind == 4 else float(found[5])), end


def _open(pattern: re.Pattern[bytes], data: bytes, at: int, expected: str) -> tuple[int, int]:
    found = pattern.match(data, at)
    if found is None:
        raise _Malformed(at, expected)
    return int(found[1]), found.end()


def _close(data: bytes, at: int, count: int, distinct: int) -> int:
    if data[at : at + 1] != b"}":
        raise _Malformed(at, f"the end after {count} elements")
    if distinct != count:
        raise _Malformed(at, "every key only once")
    return at + 1


def _single_line(value: Scalar, at: int) -> str:
    if not isinstance(value, str) or not value or _UNSAFE.search(value):
        raise _Malformed(at, "a text without line breaks")
    return value


def _options(row: Mapping[str, object]) -> TemplateOptions:
    def text(name: str) -> str:
        value = row.get(name)
        return "" if is_empty(value) else to_string(value)

    def parts(name: str) -> tuple[str, ...]:
        value = text(name)
        return tuple(value.split(",")) if value else ()

    def ids(name: str) -> tuple[int, ...]:
        return tuple(i for part in parts(name) if (i := _user_id(part)) is not None)

    emailfrom = _user_id(text("emailfrom") or "0")
    if emailfrom is None:
        raise _Malformed(0, "a user id in emailfrom")
    return TemplateOptions(
        name=text("name"),
        lang=text("lang"),
        emailto=ids("emailto"),
        emailcc=ids("emailcc"),
        emailtoother=parts("emailtoother"),
        emailccother=parts("emailccother"),
        emailfrom=emailfrom,
        emailfromother=text("emailfromother"),
        emailfromothername=text("emailfromothername"),
        disabledmanager=not is_empty(row.get("disabledmanager")),
        disabledsupervisor=not is_empty(row.get("disabledsupervisor")),
    )


def _user_id(text: str) -> int | None:
    text = text.strip()
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None
