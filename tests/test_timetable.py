"""The timetable when the clock is set."""

import time
from collections.abc import Iterator
from threading import Event

import pytest

from sidecar.timetable import Timetable
from tests.support.wait import wait_for

INTERVAL = 60.0
"""Seconds; longer than any wait of these tests."""


class Work:
    """Counts how often it was done."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1

    def wait(self, times: int) -> None:
        """Until it was done so often."""
        wait_for(lambda: self.times == times, 10, f"done {times} times")


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def timetable(work: Work) -> Iterator[Timetable]:
    made = Timetable()
    made.every(INTERVAL, work, "work")
    made.start()
    work.wait(1)
    yield made
    made.stop()


def test_what_is_wanted_soon_is_done_before_its_interval_is_over(
    timetable: Timetable, work: Work
) -> None:
    timetable.soon("work", 0.05)
    work.wait(2)


def test_what_is_planned_as_it_should_be_is_left_alone(timetable: Timetable, work: Work) -> None:
    other = Event()
    timetable.every(INTERVAL, other.set, "other")
    timetable.keep()
    assert other.wait(10)
    assert work.times == 1


@pytest.mark.parametrize("jump", [-3600, -900, 900])
def test_a_clock_that_was_set_is_noticed_once_and_wakes_all(
    timetable: Timetable,
    work: Work,
    jump: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = time.time
    monkeypatch.setattr("sidecar.timetable.time.time", lambda: real() + jump)
    timetable.keep()
    work.wait(2)
    timetable.keep()
    assert [r.getMessage() for r in caplog.records] == [f"the clock was set by {jump:+d} s"]


def test_what_was_planned_by_the_old_clock_after_that_is_done_now(
    timetable: Timetable, work: Work
) -> None:
    timetable.soon("work", 3600)
    timetable.keep()
    work.wait(2)


def test_what_was_removed_is_not_done_again(timetable: Timetable, work: Work) -> None:
    timetable.remove("work")
    timetable.keep()
    with pytest.raises(LookupError):
        timetable.soon("work", 0)
    assert work.times == 1
