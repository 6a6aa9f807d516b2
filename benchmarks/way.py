"""A way of sending that is measured."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    """One way of sending.

    run: sends so many mails to this port; the seconds that took. answers: for how many answers of
    the server in a row one mail waits, divided by the connections that wait side by side. most:
    mails of a run, for what is slow by itself.
    """

    run: Callable[[int, int], float]
    answers: float
    most: int | None = None
