"""Log lines for systemd's journal by its own protocol, with fields that journalctl can ask for.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

import logging
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "manireports-sidecar"

LONGEST = 48_000
"""Bytes of a message that are kept: one datagram holds no more than its socket's buffer."""

_PATIENCE = 1.0
"""Seconds that the journal may take over a line; a hanging one must not stop the mail."""

_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)


def is_journal(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether what is written to ``stream`` goes to the journal: JOURNAL_STREAM names its device
    and inode (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # it is closed, or no file
        return False
    return env.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def datagram(fields: Mapping[str, str]) -> bytes:
    """The fields as the journal reads them; a value with line breaks in its binary form."""
    lines: list[bytes] = []
    for name, value in fields.items():
        content = value.encode("utf-8", "backslashreplace")
        if b"\n" in content:
            length = len(content).to_bytes(8, "little")
            lines.append(b"%s\n%s%s\n" % (name.encode(), length, content))
        else:
            lines.append(b"%s=%s\n" % (name.encode(), content))
    return b"".join(lines)


class JournalHandler(logging.Handler):
    """Sends each line to the journal.

    fields_of: the ids that a message names, as "job" → 7. fallback: gets what the journal does
    not take.
    """

    def __init__(
        self, fields_of: Callable[[str], Mapping[str, int]], fallback: logging.Handler
    ) -> None:
        super().__init__()
        self._fields_of = fields_of
        self._fallback = fallback
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(_PATIENCE)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line, or have the fallback write it."""
        try:
            self._socket.sendto(datagram(self._fields(record)), str(SOCKET))
        except OSError:
            self._fallback.handle(record)
        except Exception:  # noqa: BLE001 - a line that cannot be formatted: as logging's own do
            self.handleError(record)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        text = self.format(record).encode("utf-8", "backslashreplace")
        if len(text) > LONGEST:
            text = text[:LONGEST] + "…".encode()
        found = {
            "MESSAGE": text.decode("utf-8", "ignore"),
            "PRIORITY": str(next((p for level, p in _PRIORITIES if record.levelno >= level), 7)),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
        }
        for kind, number in self._fields_of(record.getMessage()).items():
            found[f"MANIREPORTS_{kind.upper()}"] = str(number)
        return found
