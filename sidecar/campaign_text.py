"""A campaign's text with placeholders, and what it becomes for one recipient. Pure.

``{word}`` (letters, digits, underscores, a letter first) is a placeholder; ``{{word}}`` writes a
literal ``{word}``. Any other brace, as in CSS, is text.
"""

import html
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.errors import CampaignError

_MARK = re.compile(r"\{(\{[A-Za-z][A-Za-z0-9_]*\})\}|\{([A-Za-z][A-Za-z0-9_]*)\}")

_BLANKS = re.compile(r"[\t\r\n]")

STANDARD = frozenset(
    {
        "firstname",
        "lastname",
        "fullname",
        "coursename",
        "courseurl",
        "lastaccess",
        "sitename",
        "unsubscribeurl",
    }
)
"""Placeholders that every recipient has; keys of an outbox row's ``data`` add to them."""

DEFAULT_SUBJECT = "{coursename} is waiting for you"

DEFAULT_BODY = """\
<p>Dear {firstname},</p>
<p>you are enrolled in <a href="{courseurl}">{coursename}</a>. Your last visit: {lastaccess}.</p>
<p>Three things that help to get going again:</p>
<ul>
<li>Open the course now and finish just one activity.</li>
<li>Set aside half an hour on two fixed days of the week.</li>
<li>Stuck? Ask in the course's forum, or write to your trainer.</li>
</ul>
<p><a href="{courseurl}">Go on with {coursename}</a></p>
<p>{sitename}</p>
<p><small>No more mails of this kind: <a href="{unsubscribeurl}">unsubscribe</a></small></p>
"""


@dataclass(frozen=True, slots=True)
class CampaignText:
    """A subject and an HTML body, with placeholders."""

    subject: str = field(repr=False)
    body: str = field(repr=False)

    @property
    def names(self) -> frozenset[str]:
        """Every placeholder in it."""
        marks = (*_MARK.finditer(self.subject), *_MARK.finditer(self.body))
        return frozenset(mark[2] for mark in marks if mark[2])

    def own_names(self) -> frozenset[str]:
        """The placeholders for which each outbox row must have a value."""
        return self.names - STANDARD

    def complaint(self) -> str:
        """The reason for the admin if only the standard placeholders have a value; '' for none."""
        missing = self.own_names()
        return complain(missing) if missing else ""

    def render(self, values: Mapping[str, str]) -> tuple[str, str]:
        """Subject (one line, plain) and HTML body (values escaped).

        Raises CampaignError when a placeholder has no value.
        """
        clean = {name: _clean(value) for name, value in values.items()}
        subject = " ".join(_fill(self.subject, clean).split())
        escaped = {name: html.escape(value) for name, value in clean.items()}
        return _clean(subject), _fill(self.body, escaped)


ENGLISH = CampaignText(DEFAULT_SUBJECT, DEFAULT_BODY)
"""What a campaign without a text says where the site has no text of its own."""


def read_data(data: str | None) -> dict[str, str]:
    """The values of an outbox row: a JSON object of texts and numbers.

    Raises CampaignError with the reason.
    """
    if not data:
        return {}
    try:
        found = json.loads(data)
    except ValueError:
        raise CampaignError("data is not JSON") from None
    if not isinstance(found, dict):
        raise CampaignError("data is not a JSON object")
    wrong = [key for key, value in found.items() if not isinstance(value, str | int | float)]
    if wrong:
        raise CampaignError(f"data: {wrong[0][:50]!r} is neither text nor a number")
    return {key: str(value) for key, value in found.items()}


def complain(missing: frozenset[str]) -> str:
    """The reason for the admin: these placeholders have no value."""
    names = ", ".join(f"{{{name}}}" for name in sorted(missing))
    return f"unknown placeholder {names}: correct the text, or give it a value in each row's data"


def _fill(text: str, values: Mapping[str, str]) -> str:
    """Every placeholder replaced, once: what a value holds is never looked at again."""
    missing = {mark[2] for mark in _MARK.finditer(text) if mark[2]} - values.keys()
    if missing:
        raise CampaignError(complain(frozenset(missing)))
    return _MARK.sub(lambda mark: mark[1] or values[mark[2]], text)


def _clean(value: str) -> str:
    """Without control characters (line breaks and tabs become blanks) and half characters."""
    whole = value.encode("utf-8", "replace").decode()
    return "".join(c for c in _BLANKS.sub(" ", whole) if unicodedata.category(c) != "Cc")
