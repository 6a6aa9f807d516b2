"""Named fail-points: a daemon that kills itself with SIGKILL when it reaches a step.

``python -m tests.faults.points POINT PASSES --config FILE run`` is the real command line. The
product holds no hook: the function at whose begin or end a step lies is wrapped here, before the
command starts, so a fail-point that is off costs nothing. A name that is gone fails at once.
"""

import functools
import importlib
import inspect
import itertools
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.connectors.smtp_session import Fate


@dataclass(frozen=True, slots=True)
class Point:
    """A step. where: ``module:name`` of a function.

    before: die before it works, else after it. when: of its result (after) or its arguments
    (before), whether this call is the step.
    """

    where: str
    before: bool = False
    when: Callable[[Any], bool] = bool


def _always(_: object) -> bool:
    return True


POINTS: Mapping[str, Point] = {
    "peeked": Point("sidecar.pollers.peek:Peek.look", when=_always),
    "locked": Point("sidecar.pollers.iomad_claim:Claim.claim", before=True),
    "claimed before commit": Point("sidecar.pollers.iomad_claim:Claim.claim"),
    "claimed after commit": Point("sidecar.pollers.queue_poller:QueuePoller._chunk", when=_always),
    "SMTP before DATA": Point("sidecar.connectors.smtp_session:SmtpSession._envelope", before=True),
    "after 250 before commit": Point(
        "sidecar.connectors.smtp_session:SmtpSession.send",
        when=lambda result: result.fate is Fate.ACCEPTED,
    ),
    "submitted before record": Point("sidecar.connectors.aws_client:AwsClients.send"),
    "callback stored": Point("sidecar.pollers.results:Results._settle", before=True),
    "half settled": Point("sidecar.settle:apply_results"),
    "settled before counters": Point(
        "sidecar.settle:refresh", before=True, when=lambda arguments: bool(arguments[2])
    ),
}
"""What a daemon can be killed at, in the order in which a mail comes by."""


def arm(name: str, passes: int) -> None:
    """From now on this process dies at a step, the time after ``passes`` times."""
    point = POINTS[name]
    module, _, path = point.where.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, last = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original: Callable[..., Any] = getattr(owner, last)
    count = itertools.count()

    def reached() -> None:
        if next(count) == passes:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(original)
    async def wrapped_coroutine(*arguments: Any, **named: Any) -> Any:
        if point.before and point.when(arguments):
            reached()
        result = await original(*arguments, **named)
        if not point.before and point.when(result):
            reached()
        return result

    @functools.wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if point.before:
            if point.when(arguments):
                reached()
            return original(*arguments, **named)
        result = original(*arguments, **named)
        if point.when(result):
            reached()
        return result

    is_coroutine = inspect.iscoroutinefunction(original)
    setattr(owner, last, wrapped_coroutine if is_coroutine else wrapped)


def program(name: str, passes: int) -> Sequence[str]:
    """The program of ``Sidecar`` that dies at a step."""
    return (sys.executable, "-m", "tests.faults.points", name, str(passes))


if __name__ == "__main__":
    from sidecar.cli import main

    arm(sys.argv[1], int(sys.argv[2]))
    del sys.argv[1:3]
    main()
