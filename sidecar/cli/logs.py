"""Log lines as text or as JSON; never values of mails, passwords or keys."""

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

from sidecar.cli.journal import JournalHandler, is_journal

_ABOUT = re.compile(r"\b(job|batch|company|request) (\d{1,18})\b")


def fields_of(message: str) -> dict[str, int]:
    """The ids of what a line is about; lines name them as "job 7 batch 3"."""
    found: dict[str, int] = {}
    for kind, number in _ABOUT.findall(message):
        found.setdefault(kind, int(number))
    return found


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """time (RFC 3339, UTC), level, logger, message, the ids of what it is about, and the
        traceback of a defect."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= fields_of(record.getMessage())
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def plain() -> None:
    """Warnings to standard error, until the configuration says more."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)


def handler(log_format: str, stderr: TextIO) -> logging.Handler:
    """Where lines go: standard error, or the journal itself where that is what reads it.

    The journal keeps time and level by itself, so ``text`` is the bare message there.
    """
    as_json = log_format == "json"
    stream = logging.StreamHandler(stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    stream.setFormatter(JsonFormatter() if as_json else text)
    if not is_journal(stderr, os.environ):
        return stream
    native = JournalHandler(fields_of, stream)
    native.setFormatter(JsonFormatter() if as_json else logging.Formatter("%(message)s"))
    return native


def configure(log_format: str, level: str) -> None:
    """Log as ``text`` or ``json``."""
    logging.basicConfig(level=level, handlers=[handler(log_format, sys.stderr)], force=True)
