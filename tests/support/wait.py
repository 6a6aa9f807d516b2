"""Waiting for facts, never for time to pass."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(predicate: Callable[[], T], deadline_seconds: float, what: str) -> T:
    """The first truthy answer of ``predicate``; AssertionError naming ``what`` at the deadline."""
    deadline = time.monotonic() + deadline_seconds
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {deadline_seconds:g} s: {what}")
        time.sleep(0.02)
