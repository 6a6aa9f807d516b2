"""Dates as a user reads them: in the user's language and time zone. Pure."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale, UnknownLocaleError
from babel.dates import format_date

SERVER_ZONE = "99"
"""What ``user.timezone`` and ``$CFG->timezone`` hold for "the server's"."""


@lru_cache(maxsize=512)
def locale_of(lang: str) -> Locale:
    """The locale of a language of Moodle (``de``, ``pt_br``, ``de_du``); English if there is none.

    A variant that only Moodle knows counts as its parent. Moodle's ``en`` is British.
    """
    name = lang.strip()
    if name in ("", "en"):
        return Locale("en", "GB")
    while name:
        try:
            return Locale.parse(name)
        except (UnknownLocaleError, ValueError):
            name = name.rpartition("_")[0]
    return Locale("en", "GB")


@lru_cache(maxsize=512)
def zone_of(*names: str) -> tzinfo:
    """The first of these time zones that says one (core_date::get_user_timezone); else UTC.

    A name such as ``Europe/Berlin``, or hours east of UTC as old sites have them.
    """
    for name in names:
        zone = _zone(name.strip())
        if zone is not None:
            return zone
    return UTC


def _zone(name: str) -> tzinfo | None:
    if not name or name == SERVER_ZONE:
        return None
    try:
        hours = float(name)
    except ValueError:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return None
    return timezone(timedelta(hours=hours)) if -13 <= hours <= 14 else None


def local_date(moment: int, lang: str, zone: tzinfo) -> str:
    """The day of a moment (Unix seconds), in words: ``3 March 2026``."""
    return format_date(datetime.fromtimestamp(moment, zone), "long", locale_of(lang))
