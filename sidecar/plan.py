"""When a job will be done, as far as that can be told. Pure."""

from dataclasses import dataclass

MEASURED_SECONDS = 300
"""Over how long the rate of a running job is measured."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a job. left: mails that have not ended; recently: mails sent in the last
    ``over`` seconds of its running; limit: mails a second that its company allows, 0 = any; held:
    why nothing leaves, '' if it may."""

    left: int
    recently: int
    over: float
    limit: int
    held: str


@dataclass(frozen=True, slots=True)
class Plan:
    """seconds: until the job is done, None if that cannot be told; note: by what, or why not."""

    left: int
    per_second: float
    seconds: float | None
    note: str


def plan(known: Progress) -> Plan:
    """How long a job will take: by the rate of the last minutes, at most by its company's limit."""
    measured = known.recently / known.over if known.over > 0 else 0.0
    rate = min(measured, known.limit) if known.limit and measured else measured or known.limit
    if not known.left:
        return Plan(0, rate, 0.0, "")
    if known.held:
        return Plan(known.left, 0.0, None, known.held)
    if not rate:
        return Plan(known.left, 0.0, None, "nothing was sent in the last minutes")
    limited = known.limit and rate >= known.limit * 0.9
    note = f"its rate limit is {known.limit}/s" if limited else "by the rate of the last minutes"
    return Plan(known.left, rate, known.left / rate, note)
