"""When a company's bounces and complaints are so many that its mail must stop. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

BOUNCE_LIMIT, COMPLAINT_LIMIT = 0.05, 0.001
"""Shares at which a provider begins to doubt the whole account; then it may close it."""
FEWEST_BOUNCES = 5
WINDOW = 1000
"""Mails over which the shares are taken. Of fewer, one complaint says nothing."""

PREFIX = "reputation:"
"""Of the keys, one a company, under which the site row's state keeps a ``Standing``."""


@dataclass(frozen=True, slots=True)
class Standing:
    """since: from when on mails count, Unix seconds; paused: why we stopped the company, or ''."""

    since: int = 0
    paused: str = ""


def verdict(mails: int, bounced: int, complained: int) -> str:
    """Why a company must stop, in the admin's words; '' if it may go on.

    mails: of the last ``WINDOW`` that a provider took; bounced, complained: how many of those.
    """
    if not mails:
        return ""
    if bounced >= max(FEWEST_BOUNCES, BOUNCE_LIMIT * mails):
        share, what, number = bounced / mails, "bounced", bounced
        limit = f"{BOUNCE_LIMIT:.0%}"
    elif complained >= max(1 if mails >= WINDOW else 2, COMPLAINT_LIMIT * mails):
        share, what, number = complained / mails, "were reported as spam", complained
        limit = f"{COMPLAINT_LIMIT:.1%}"
    else:
        return ""
    return (
        f"{number} of the last {mails} mails {what} ({share:.1%}; the limit is {limit}):"
        " clean the addresses, then resume"
    )


def standings(state: Mapping[str, object]) -> dict[int, Standing]:
    """What the site row's state says of each company."""
    found = {}
    for key, value in state.items():
        number = key.removeprefix(PREFIX)
        if key.startswith(PREFIX) and number.isdecimal() and isinstance(value, dict):
            since, paused = value.get("since"), value.get("paused")
            found[int(number)] = Standing(
                since if isinstance(since, int) else 0, paused if isinstance(paused, str) else ""
            )
    return found


def kept(company_id: int, standing: Standing) -> dict[str, object]:
    """A standing as the state keeps it."""
    return {f"{PREFIX}{company_id}": {"since": standing.since, "paused": standing.paused}}
