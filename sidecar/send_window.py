"""The hours in which a company's mail may leave. Pure.

``[DAYS] HH:MM-HH:MM[, …] ZONE``, as in ``08:00-18:00 Europe/Berlin`` or
``mon-fri 07:00-12:00, sat 22:00-02:00 Europe/London``. Without days, every day. A window that ends
before it begins runs into the next day; one that ends when it begins lasts a whole day.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sidecar.errors import ConfigError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_PART = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?\s+)?"
    r"(?P<begin>\d{1,2}:\d\d)\s*-\s*(?P<end>\d{1,2}:\d\d)"
)


@dataclass(frozen=True, slots=True)
class Hours:
    """From ``begin`` to ``end`` by the clock on the wall, on these days (0 = Monday)."""

    days: frozenset[int]
    begin: time
    end: time


@dataclass(frozen=True, slots=True)
class SendWindow:
    """Open in any of ``hours``."""

    hours: tuple[Hours, ...]
    zone: ZoneInfo

    def is_open(self, now: float) -> bool:
        """Whether mail may leave at ``now``, Unix seconds."""
        return any(begin <= now < end for begin, end in self._around(now))

    def opens_at(self, now: float) -> float:
        """When mail may leave next: ``now`` if it may, else Unix seconds."""
        if self.is_open(now):
            return now
        return min(begin for begin, _ in self._around(now) if begin > now)

    def _around(self, now: float) -> list[tuple[float, float]]:
        """The windows from yesterday's to those a week ahead, as Unix seconds."""
        today = datetime.fromtimestamp(now, self.zone).date()
        found = []
        for offset in range(-1, 9):
            day = today + timedelta(days=offset)
            for hours in self.hours:
                if day.weekday() in hours.days:
                    last = day if hours.begin < hours.end else day + timedelta(days=1)
                    begin = datetime.combine(day, hours.begin, self.zone)
                    end = datetime.combine(last, hours.end, self.zone)
                    found.append((begin.timestamp(), end.timestamp()))
        return found


def parse(text: str) -> SendWindow:
    """Read a window; raises ConfigError, which says what is wrong and what is meant."""
    body, _, zone_name = text.strip().rpartition(" ")
    try:
        zone = ZoneInfo(zone_name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"send window {text!r}: {zone_name!r} is no time zone; it is written like"
            " '08:00-18:00 Europe/Berlin' or 'mon-fri 08:00-18:00 Europe/Berlin'"
        ) from None
    return SendWindow(tuple(_hours(part.strip().lower(), text) for part in body.split(",")), zone)


def _hours(part: str, text: str) -> Hours:
    found = _PART.fullmatch(part)
    if found is None:
        raise ConfigError(f"send window {text!r}: {part!r} is not like 'mon-fri 08:00-18:00'")
    first = found["first"] or "mon"
    last = found["last"] or found["first"] or "sun"
    for day in (first, last):
        if day not in DAYS:
            raise ConfigError(f"send window {text!r}: {day!r} is none of {', '.join(DAYS)}")
    start, length = DAYS.index(first), (DAYS.index(last) - DAYS.index(first)) % 7 + 1
    days = frozenset((start + offset) % 7 for offset in range(length))
    return Hours(days, _time(found["begin"], text), _time(found["end"], text))


def _time(clock: str, text: str) -> time:
    hour, minute = (int(part) for part in clock.split(":"))
    if (hour, minute) == (24, 0):
        return time(0, 0)
    try:
        return time(hour, minute)
    except ValueError:
        raise ConfigError(f"send window {text!r}: {clock!r} is no time of day") from None


def in_words(seconds: float) -> str:
    """A moment for the admin, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
