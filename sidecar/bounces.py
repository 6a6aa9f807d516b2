"""Which refusals are the address's fault, so that it should get no more mail. Pure."""

import re

ADDRESS_CODES = ("bad_address", "bounce", "complaint", "invalid_recipient")
"""Codes of our own that say so."""

_ENHANCED = re.compile(r"\b5\.1\.(?:[0-46]|10)\b|\b5\.2\.1\b")
"""RFC 3463 §3.2, §3.3: bad destination mailbox or system, disabled mailbox; RFC 7505: 5.1.10."""

_REPLY = re.compile(r"^55[013]\b(?!\s*\d\.)")
"""RFC 5321 §4.2.2, without an enhanced code that says more: mailbox unavailable, user not local,
mailbox name not allowed."""


def blames_address(code: str) -> bool:
    """Whether a permanent refusal with this ``error_code`` blames the address, not the mail, its
    sender or a policy."""
    return code in ADDRESS_CODES or bool(_ENHANCED.search(code) or _REPLY.search(code))
