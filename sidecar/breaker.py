"""The circuit breaker of a (company, provider): after a refusal, wait before trying again. Pure."""

from dataclasses import dataclass

STEPS = (5.0, 30.0, 120.0, 300.0)
"""Seconds to wait after the first, second, third and every further refusal (DESIGN §7)."""


@dataclass(slots=True)
class Breaker:
    """Times are monotonic seconds. ``since``: when the trouble began, None while all is well."""

    failures: int = 0
    open_until: float = 0.0
    since: float | None = None
    reason: str = ""

    def is_open(self, now: float) -> bool:
        """Whether nothing should be tried now."""
        return now < self.open_until

    def refuse(self, now: float, reason: str, for_good: bool) -> float:
        """A refusal: returns how many seconds to wait. for_good: only an admin can mend it."""
        step = STEPS[-1] if for_good else STEPS[min(self.failures, len(STEPS) - 1)]
        if not self.is_open(now):
            self.failures += 1
            self.open_until = now + step
        self.reason = reason
        if self.since is None:
            self.since = now
        return max(0.0, self.open_until - now)

    def accept(self) -> None:
        """All is well."""
        self.failures, self.open_until, self.since, self.reason = 0, 0.0, None, ""

    def down_for(self, now: float) -> float:
        """Seconds since the trouble began; 0 while all is well."""
        return 0.0 if self.since is None else now - self.since
