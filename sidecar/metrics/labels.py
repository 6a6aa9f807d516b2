"""Keeps the values of labels few: a time series a value, for ever, is what brings Prometheus down.

Pure. Never an address, an id of a mail or a server's own words.
"""

import re
import threading

OTHER = "other"

_REPLY = re.compile(r"^([245]\d\d)\b")
_WORD = re.compile(r"^[A-Za-z][A-Za-z0-9_.-]{0,39}$")


def reason(code: str) -> str:
    """The label for an ``error_code``: the three digits of an SMTP reply, or the code's word."""
    if reply := _REPLY.match(code):
        return reply[1]
    if not code:
        return "none"
    return code if _WORD.match(code) else OTHER


class Bounded:
    """At most ``limit`` different values; whatever comes after those is ``other``. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, value: str) -> str:
        """The value, or ``other``."""
        with self._lock:
            if value not in self._known:
                if len(self._known) >= self._limit:
                    return OTHER
                self._known.add(value)
            return value
