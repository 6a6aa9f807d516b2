"""Standing reasons in the log."""

import time

import pytest

from sidecar.teller import TELL_SECONDS, Teller


def test_a_reason_is_told_once_in_a_while_and_another_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    teller, began = Teller(), time.monotonic()
    for reason in ("the site moved", "the site moved", "an upgrade runs", "the site moved"):
        teller.tell("nothing may move: %s", reason)
    assert caplog.messages == [
        "nothing may move: the site moved",
        "nothing may move: an upgrade runs",
    ]
    monkeypatch.setattr(time, "monotonic", lambda: began + TELL_SECONDS + 1)
    teller.tell("nothing may move: %s", "the site moved")
    assert caplog.messages[2:] == ["nothing may move: the site moved"]
