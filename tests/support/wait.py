"""Waiting for facts, never for time to pass."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SHORTEST, LONGEST = 0.01, 0.1
"""Seconds between two looks: what takes long is asked for less often, for a look costs too."""


def wait_for(predicate: Callable[[], T], deadline_seconds: float, what: str) -> T:
    """The first truthy answer of ``predicate``; AssertionError naming ``what`` at the deadline."""
    began = time.monotonic()
    while True:
        answer = predicate()
        if answer:
            return answer
        waited = time.monotonic() - began
        if waited >= deadline_seconds:
            raise AssertionError(f"not within {deadline_seconds:g} s: {what}")
        time.sleep(min(LONGEST, SHORTEST + waited / 20))
