"""Waiting for facts with a deadline, and the one way this proof fails."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class ProofError(Exception):
    """Something that must hold did not, or a fact did not come in time."""


def wait_for(what: str, fact: Callable[[], T], seconds: float, step: float = 0.05) -> T:
    """The first truthy answer of `fact`; ProofError naming `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = fact()
        if answer:
            return answer
        if time.monotonic() >= end:
            raise ProofError(f"after {seconds:g} s still not: {what}")
        time.sleep(step)


def must(held: bool, what: str) -> None:
    if not held:
        raise ProofError(what)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
