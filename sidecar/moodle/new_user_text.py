"""The text of the mail with a new password: chosen by language, filled in. Pure.

A template is the plain text of core's language strings ``newusernewpasswordsubj`` and
``newusernewpasswordtext``; tags in it are HTML. Placeholders are ``{name}`` or, as in language
packs, ``{$a->name}``. Values are never read again after they were put in, and never open a tag.
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.errors import MoodleError
from sidecar.moodle.html_to_text import html_to_text

PLACEHOLDERS = (
    "firstname",
    "lastname",
    "fullname",
    "sitename",
    "username",
    "newpassword",
    "link",
    "signoff",
)
NEEDED = ("username", "newpassword")
"""Without these the user could not log in."""

BUILT_IN = (
    "New user account",
    """Hi {fullname},

A new account has been created for you at '{sitename}', with a temporary password.

Your login information is now:
   username: {username}
   password: {newpassword}
             (you will have to change it when you log in for the first time)

To start using '{sitename}', log in at
   {link}

If you need help, please contact the site administrator.
{signoff}""",
)
"""Subject and body in English, until the site has its own in ``manireports_cloud_templates``."""

_FIELD = re.compile(r"\{(?:\$a->)?([A-Za-z_$][\w$>-]*)\}")
_OLD_NAMES = {"admin": "signoff", "alternativefullname": "fullname"}
"""Names that language packs use for the same."""

_BETWEEN_TAGS = re.compile(r">\s+<")
_BEFORE_TAG = re.compile(r"[\r\n]<")
_AFTER_TAG = re.compile(r">[\r\n]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")
_ESCAPED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class TemplateError(MoodleError):
    """A mail template cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Filled:
    """One user's mail; html and text say the same."""

    subject: str = field(repr=False)
    html: str = field(repr=False)
    text: str = field(repr=False)


class MailText:
    """A template, read once, filled in for many users."""

    def __init__(self, subject: str, body: str) -> None:
        """Raises TemplateError for a placeholder that nobody fills in, and where one is missing."""
        self._subject = _pieces(subject)
        self._body = _pieces(_to_html(body))
        missing = [name for name in NEEDED if name not in self._body[1::2]]
        if missing:
            raise TemplateError(f"the body has no {{{missing[0]}}}")

    def fill(self, values: Mapping[str, str], prefix: str) -> Filled:
        """The mail for one user. values: by PLACEHOLDERS; prefix: begins the subject."""
        subject = _joined(self._subject, values)
        body = _joined(self._body, {name: _in_html(value) for name, value in values.items()})
        page = f'<div class="text_to_html">{body}</div>'
        return Filled(_line(prefix + subject), page, html_to_text(page))


def languages(own: str, site: str, parents: Mapping[str, str]) -> list[str]:
    """Where to look for a text, in order: the user's language, the site's, English.

    Each is followed by those it derives from: parents says so, or its name (de_du → de).
    """
    order: dict[str, None] = {}
    for start in (own, site, "en"):
        lang = start.strip().lower()
        while lang and lang not in order:
            order[lang] = None
            lang = parents.get(lang) or lang.rpartition("_")[0]
    return list(order)


def _pieces(template: str) -> Sequence[str]:
    """Text, placeholder, text, placeholder, … text."""
    pieces = _FIELD.split(template)
    pieces[1::2] = [_OLD_NAMES.get(name, name) for name in pieces[1::2]]
    unknown = [name for name in pieces[1::2] if name not in PLACEHOLDERS]
    if unknown:
        raise TemplateError(f"nobody fills in {{{unknown[0]}}}")
    return pieces


def _joined(pieces: Sequence[str], values: Mapping[str, str]) -> str:
    return "".join(values[piece] if odd % 2 else piece for odd, piece in enumerate(pieces))


def _to_html(text: str) -> str:
    """text_to_html of lib/weblib.php."""
    text = _BETWEEN_TAGS.sub("><", text)
    text = _AFTER_TAG.sub("> ", _BEFORE_TAG.sub(" <", text))
    return _LINE_END.sub("<br />\n", text)


def _in_html(value: str) -> str:
    return html.escape(_ESCAPED.sub(" ", value)).replace("\n", "<br />\n")


def _line(text: str) -> str:
    """On one line: no value ends a header."""
    return _CONTROLS.sub(" ", text).strip()
