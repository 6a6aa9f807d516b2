"""Log lines: what they say of themselves, as JSON and to systemd's journal."""

import io
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TextIO

import pytest

from sidecar.cli import journal, logs
from sidecar.cli.journal import JournalHandler, is_journal

Fields = dict[str, str]


def record(message: str, *args: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("sidecar.dispatch", level, __file__, 1, message, args, None)


def failed() -> logging.LogRecord:
    made = record("a defect", level=logging.ERROR)
    try:
        int("odd")
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("job 7 batch 3 waits 30 s", {"job": 7, "batch": 3}),
        ("company 2 is paused: too many bounces", {"company": 2}),
        ("request 9: resume done", {"request": 9}),
        ("job 7 goes on as job 8", {"job": 7}),
        ("jobs 7, batchless, job x, myjob 5", {}),
        ("job 1234567890123456789", {}),
    ],
)
def test_the_ids_that_a_line_names(message: str, found: dict[str, int]) -> None:
    assert logs.fields_of(message) == found


def test_a_line_as_json() -> None:
    made = record("job %d batch %d waits: “%s”", 7, 3, "4.7.0\nlater", level=logging.WARNING)
    made.created = 1_700_000_000.25
    line = logs.JsonFormatter().format(made)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "warning",
        "logger": "sidecar.dispatch",
        "message": "job 7 batch 3 waits: “4.7.0\nlater”",
        "job": 7,
        "batch": 3,
    }
    assert "ValueError" in json.loads(logs.JsonFormatter().format(failed()))["exception"]


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What journald is to a service: a datagram socket."""
    monkeypatch.setattr(journal, "SOCKET", tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "journal"))
        made.settimeout(5)
        yield made


@pytest.fixture
def stderr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TextIO]:
    """Standard error, as systemd makes it: JOURNAL_STREAM names what it is."""
    with (tmp_path / "stderr").open("w+", encoding="utf-8") as file:
        found = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        yield file


@pytest.fixture
def handler(listening: socket.socket, stderr: TextIO) -> Iterator[logging.Handler]:
    with closing(logs.handler("text", stderr)) as made:
        yield made


def understood(data: bytes) -> Fields:
    """A datagram as the journal's own documentation says that it is read."""
    found: Fields = {}
    while data:
        name, mark, rest = data.partition(b"\n")
        if b"=" in name:
            name, _, value = name.partition(b"=")
            data = rest
        else:
            assert mark
            length = int.from_bytes(rest[:8], "little")
            value, data = rest[8 : 8 + length], rest[8 + length + 1 :]
            assert rest[8 + length : 8 + length + 1] == b"\n"
        found[name.decode()] = value.decode()
    return found


def test_the_journal_gets_fields(listening: socket.socket, handler: logging.Handler) -> None:
    handler.handle(record("job %d batch %d: company 2 = late", 7, 3, level=logging.WARNING))
    assert understood(listening.recv(100_000)) == {
        "MESSAGE": "job 7 batch 3: company 2 = late",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "manireports-sidecar",
        "MANIREPORTS_JOB": "7",
        "MANIREPORTS_BATCH": "3",
        "MANIREPORTS_COMPANY": "2",
    }


def test_levels_are_priorities(listening: socket.socket, handler: logging.Handler) -> None:
    for level, priority in (
        (logging.DEBUG, "7"),
        (logging.INFO, "6"),
        (logging.WARNING, "4"),
        (logging.ERROR, "3"),
        (logging.CRITICAL, "2"),
    ):
        handler.handle(record("x", level=level))
        assert understood(listening.recv(100_000))["PRIORITY"] == priority


def test_a_value_cannot_make_fields_of_its_own(
    listening: socket.socket, handler: logging.Handler
) -> None:
    handler.handle(record("the server said %s", "no\nPRIORITY=0\nMANIREPORTS_JOB=1"))
    found = understood(listening.recv(100_000))
    assert found["MESSAGE"] == "the server said no\nPRIORITY=0\nMANIREPORTS_JOB=1"
    assert found["PRIORITY"] == "6"
    assert "MANIREPORTS_JOB" not in found
    handler.handle(failed())
    assert "Traceback" in understood(listening.recv(100_000))["MESSAGE"]


def test_what_is_too_long_for_a_datagram_is_cut(
    listening: socket.socket, handler: logging.Handler
) -> None:
    handler.handle(record("é" * 300_000))
    told = understood(listening.recv(200_000))["MESSAGE"]
    assert told == "é" * (journal.LONGEST // 2) + "…"


def test_json_stays_json_in_the_journal(listening: socket.socket, stderr: TextIO) -> None:
    with closing(logs.handler("json", stderr)) as made:
        made.handle(record("job 7 ends"))
    found = understood(listening.recv(100_000))
    assert json.loads(found["MESSAGE"])["job"] == 7
    assert found["MANIREPORTS_JOB"] == "7"


def test_without_the_socket_standard_error_has_the_line(
    handler: logging.Handler, stderr: TextIO, tmp_path: Path
) -> None:
    (tmp_path / "journal").unlink()
    handler.handle(record("job 7 ends"))
    stderr.seek(0)
    assert stderr.read().endswith(" INFO    job 7 ends\n")


def test_a_redirected_standard_error_is_obeyed(stderr: TextIO, tmp_path: Path) -> None:
    assert is_journal(stderr, os.environ)
    assert not is_journal(stderr, {})
    with (tmp_path / "elsewhere").open("w", encoding="utf-8") as file:
        assert not isinstance(logs.handler("text", file), JournalHandler)
    assert not is_journal(file, os.environ), "it is closed"
    assert not is_journal(io.StringIO(), os.environ)
