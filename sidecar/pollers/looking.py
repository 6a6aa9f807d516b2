"""When a drain looks at the queue again. Pure; all times are monotonic seconds."""

LOOK_SECONDS = 0.5
"""After so long a drain looks again, once all that it knows of had a turn: what has come meanwhile
gets its own."""

LOOK_SHARE = 0.2
"""Part of a drain's time that looking may take, however much waits; when something ripens, half."""


def next_look(began: float, ended: float, ripens: float | None, *, walked: bool) -> float:
    """When to look after a look: sooner if something ripens, or if somebody may wait unseen.

    walked: the whole queue has been seen once.
    """
    soon, spent = ended + LOOK_SECONDS, ended - began
    if not walked:
        return soon
    at = max(soon, ended + spent / LOOK_SHARE)
    return at if ripens is None else min(at, max(soon, ended + spent, ripens))
