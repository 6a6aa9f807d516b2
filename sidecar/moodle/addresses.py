"""Which addresses Moodle accepts, and the form in which they go to the wire. Pure.

Source: validate_email (lib/weblib.php), PHPMailer::validateAddress, addOrEnqueueAnAddress and
punyencodeAddress (lib/phpmailer, Moodle 4.3). Moodle leaves PHPMailer's validator at 'php', which
is PHP's FILTER_VALIDATE_EMAIL: the pattern below is PHP's own (ext/filter/logical_filters.c,
after Michael Rushton), with its look-ahead counts done by ``_length`` and its labels unnested,
so that no input makes it slow.
"""

import re

import idna

from sidecar.errors import AddressError

_ATOM = r"[!#-'*+\-/-9=?^-~A-Z]+"
_QUOTED = r'"(?:[\x01-\x08\x0B\x0C\x0E-\x1F!#-\[\]-\x7F]|\\[\x00-\x7F])*"'
_WORD = rf"(?:{_ATOM}|{_QUOTED})"
_LABEL = r"[a-z0-9]+(?:-+[a-z0-9]+)*"
_DOMAIN = rf"(?!.*[^.]{{64}})(?:{_LABEL}\.)+(?=[a-z]){_LABEL}"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_HEX = r"[a-f0-9]{1,4}"
_IPV6 = (
    rf"IPv6:(?:{_HEX}(?::{_HEX}){{7}}"
    rf"|(?!(?:.*[a-f0-9][:\]]){{7,}})(?:{_HEX}(?::{_HEX}){{0,5}})?::(?:{_HEX}(?::{_HEX}){{0,5}})?)"
)
_MAPPED = (
    rf"IPv6:(?:{_HEX}(?::{_HEX}){{5}}:"
    rf"|(?!(?:.*[a-f0-9]:){{5,}})(?:{_HEX}(?::{_HEX}){{0,3}})?::(?:{_HEX}(?::{_HEX}){{0,3}}:)?)"
)
_LITERAL = rf"\[(?:{_IPV6}|(?:{_MAPPED})?{_OCTET}(?:\.{_OCTET}){{3}})\]"
_ADDRESS = re.compile(
    rf"({_WORD}(?:\.{_WORD})*)@(?:{_DOMAIN}|{_LITERAL})", re.IGNORECASE | re.ASCII | re.DOTALL
)
_FORBIDDEN = re.compile(r"[\r\n<>]")
_SPACE_OR_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_ESCAPED = re.compile(r"\\.", re.DOTALL)

_MAX_ADDRESS = 254
_MAX_LOCAL = 64
_TRIMMED = " \t\n\r\0\x0b"
"""What PHP's trim() takes off."""


def is_valid(address: str) -> bool:
    """Whether validate_email accepts it as it stands: nothing is trimmed, and no IDN passes."""
    if len(address) > 320 or _FORBIDDEN.search(address):
        return False
    found = _ADDRESS.fullmatch(address)
    return (
        found is not None and _length(found[1]) <= _MAX_LOCAL and _length(address) <= _MAX_ADDRESS
    )


def to_ascii(address: str) -> str:
    """The address for RCPT and To: trimmed, its domain in ASCII (UTS 46), as PHPMailer does.

    Raises AddressError with the reason for the admin. The result has no white space and no
    control characters. Unlike PHP, idna refuses symbols such as emoji in a domain (IDNA 2008).
    """
    address = address.strip(_TRIMMED)
    local, at, domain = address.rpartition("@")
    if not address:
        raise AddressError("the address is empty")
    if "\r" in address or "\n" in address:
        raise AddressError("the address has a line break in it")
    if not at:
        raise AddressError("the address has no @")
    if not local.isascii():
        raise AddressError("the part before the @ has characters outside ASCII")
    if len(local) > _MAX_LOCAL:
        raise AddressError(f"the part before the @ is longer than {_MAX_LOCAL} characters")
    if len(address) > _MAX_ADDRESS:
        raise AddressError(f"the address is longer than {_MAX_ADDRESS} characters")
    if not domain.isascii():
        address = f"{local}@{_ascii_domain(domain)}"
    if len(address) > _MAX_ADDRESS:
        raise AddressError(f"the address in ASCII is longer than {_MAX_ADDRESS} characters")
    if not is_valid(address):
        many = address.count("@") > 1
        raise AddressError(
            "the field holds more than one address" if many else "this is no mail address"
        )
    if _SPACE_OR_CONTROL.search(address):
        raise AddressError("the address has a space or a control character in it")
    return address


def _ascii_domain(domain: str) -> str:
    try:
        return idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
    except UnicodeError:  # idna.IDNAError is one
        raise AddressError("the part after the @ is no international domain name") from None


def _length(text: str) -> int:
    """Characters without quotes and escapes, as PHP's pattern counts them."""
    if '"' not in text and "\\" not in text:
        return len(text)
    return len(_ESCAPED.sub("x", text).replace('"', ""))
