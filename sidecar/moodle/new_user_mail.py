"""The mail that brings a new user's password: who may get it, from whom it comes, what it says.

Source: setnew_password_and_mail, email_to_user, over_bounce_threshold and
can_send_from_real_email_address in lib/moodlelib.php of Moodle 4.3 (FACTS §4, end). Differences:
the mail is always in UTF-8, the site's name is not passed through filters, and what
``messageinbound`` or an MNet host would add is not made: such users stay with Moodle.
"""

import hashlib
import re
import struct
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from sidecar.errors import AddressError
from sidecar.mail import Address
from sidecar.moodle.addresses import is_valid, to_ascii
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.mail_settings import noreply_address
from sidecar.moodle.names import full_name
from sidecar.moodle.new_user_text import Filled, MailText
from sidecar.moodle.new_users import NewUser, read_users
from sidecar.moodle.tables import EXTRA_NAMES, MoodleTables
from sidecar.settings import Settings

LOCAL_AUTH = frozenset({"manual", "email", "none"})
"""Ways to log in that keep the password in ``{user}`` whatever their settings are; of the others
only their own code knows (prevent_local_passwords)."""

VIA_NEVER, VIA_ALWAYS = 0, 1
NOREPLY_NAME = "Do not reply to this email"
EVERYONE = 1
"""``maildisplay`` of somebody whose address everybody may see."""

_OURS = {"date", "from", "to", "subject", "message-id", "reply-to", "mime-version", "sender"}
_HEADER = re.compile(r"([!-9;-~]{1,70})[ \t]*:[ \t]*([^\r\n\0]*)")
_TAG = re.compile(r"<[^<>]*>")
_PLAIN_NAME = re.compile(r"(?!.*=\?)[ !#-\[\]-~]+")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all mails to new users have in common. reply_to: a header's value."""

    sender: Address
    reply_to: str
    headers: tuple[tuple[str, str], ...]


def refuses(  # noqa: PLR0911 - one reason a line
    user: NewUser, config: MoodleConfig, bounced: Mapping[int, tuple[int, int]]
) -> str:
    """Why core's task has to do with this user alone; '' if we can do as it would.

    bounced: see ``new_users.bounces``.
    """
    local_host = config.number("mnet_localhost_id")
    if user.auth not in LOCAL_AUTH:
        return "password_kept_elsewhere"
    if local_host and user.mnethostid not in (0, local_host):
        return "user_of_another_site"
    if user.email.endswith(".invalid"):
        return "address_is_invalid_on_purpose"
    try:
        if to_ascii(user.email) != user.email:
            return "bad_address"  # core sends to no other form of it
    except AddressError:
        return "bad_address"
    if config.flag("handlebounces") and user.id in bounced:
        number, sent = bounced[user.id]
        most = config.number("minbounces") or 10
        if number >= most and number >= _ratio(config.text("bounceratio")) * sent:
            return "over_bounce_threshold"
    return ""


def _ratio(text: str) -> float:
    """``$CFG->bounceratio``, by default 0.2."""
    try:
        return float(text) or 0.2
    except ValueError:
        return 0.2


class NewUserMail:
    """Mails to new users of one company, or of none; reads the site's facts once."""

    def __init__(
        self,
        conn: Connection,
        tables: MoodleTables,
        config: MoodleConfig,
        settings: Settings,
        company_id: int,
    ) -> None:
        """Raises MailSettingsError if the site has no address to send from."""
        self._config = config
        self._wwwroot = settings.wwwroot
        c = tables.course
        site = conn.execute(
            select(c.c.fullname, c.c.shortname).where(c.c.category == 0).order_by(c.c.id).limit(1)
        ).first()
        self.site_name = _TAG.sub("", site.fullname) if site else ""
        self._noreply = noreply_address(config, settings, company_id)
        shortname = _TAG.sub("", site.shortname) if site else ""
        self.envelope = self._envelope(_support(conn, tables, config), shortname)

    def fill(self, text: MailText, user: NewUser, password: str) -> Filled:
        """The mail that tells a user the password."""
        prefix = self._config.text("emailsubjectprefix")
        values = {
            "firstname": user.names["firstname"],
            "lastname": user.names["lastname"],
            "fullname": full_name(self._config, user.names, override=True),
            "sitename": self.site_name,
            "username": user.username,
            "newpassword": password,
            "link": f"{self._wwwroot}/login/?lang={self.language(user)}",
            "signoff": self._signoff(),
        }
        return text.fill(
            values, f"{prefix} {self.site_name}: " if prefix else f"{self.site_name}: "
        )

    def language(self, user: NewUser) -> str:
        """The language that the user is written to in."""
        return user.lang or self.site_language

    @property
    def site_language(self) -> str:
        """The site's language."""
        return self._config.text("lang") or "en"

    def display_name(self, user: NewUser) -> str:
        """The user's name in the header To."""
        return full_name(self._config, user.names)

    def envelope_from(self, user_id: int, address: str) -> str:
        """The envelope sender: noreply, or an address that tells whose mail bounced."""
        if not self._config.flag("handlebounces"):
            return self._noreply
        number = b64encode(struct.pack("<I", user_id)).decode()
        whose = f"B{number}{_md5(address)[:16]}"
        header = f"{self._config.text('mailprefix')}{b64encode(bytes(1)).decode()[:2]}{whose}"
        proof = _md5(header + self._config.text("siteidentifier"))[:16]
        return f"{header}{proof}@{self._config.text('maildomain')}"

    def _envelope(self, support: "_Support", shortname: str) -> Envelope:
        name, via = support.name, self._config.number("emailfromvia")
        own = self._may_show(support)
        if via == VIA_ALWAYS or (not own and via != VIA_NEVER):
            name = f"{name} (via {shortname})"
        if own:
            reply_to = _mailbox(support.name, support.email)
            return Envelope(Address(support.email, name), reply_to, self._headers())
        reply_to = _mailbox(NOREPLY_NAME, self._noreply)
        return Envelope(Address(self._noreply, name), reply_to, self._headers())

    def _may_show(self, support: "_Support") -> bool:
        """Whether mail comes from the support user's own address."""
        domain = support.email.partition("@")[2].lower()
        allowed = self._config.text("allowedemaildomains").lower().split()
        fits = any(
            domain == each or (each.startswith("*.") and domain.endswith(each[1:]))
            for each in allowed
        )
        return fits and support.shown_to_all and is_valid(support.email)

    def _headers(self) -> tuple[tuple[str, str], ...]:
        """``emailheaders``, but for lines that are none and those that a mail has but once."""
        found = (
            _HEADER.fullmatch(line.strip())
            for line in self._config.text("emailheaders").splitlines()
        )
        return tuple(
            (line[1], line[2])
            for line in found
            if line and line[1].lower() not in _OURS and not line[1].lower().startswith("content-")
        )

    def _signoff(self) -> str:
        """generate_email_signoff, as plain text."""
        lines = [self._config.text("supportname")]
        if self._config.flag("supportavailability"):
            page = self._config.text("supportpage")
            lines.append(page or f"{self._wwwroot}/user/contactsitesupport.php")
        return "\n" + "\n".join(line for line in lines if line)


@dataclass(frozen=True, slots=True)
class _Support:
    """In whose name the site writes."""

    name: str
    email: str
    shown_to_all: bool


def _support(conn: Connection, tables: MoodleTables, config: MoodleConfig) -> _Support:
    """core_user::get_support_user."""
    support = config.number("supportuserid")
    admins = [int(part) for part in config.text("siteadmins").split(",") if part.strip().isdigit()]
    if not support and config.text("supportemail"):
        names = dict.fromkeys(("firstname", "lastname", *EXTRA_NAMES), "")
        names["firstname"] = config.text("supportname")
        return _Support(full_name(config, names), config.text("supportemail"), True)
    users = read_users(conn, tables, [support] if support else admins)
    order = [support] if support else admins
    found = next((users[i] for i in order if i in users and not users[i].deleted), None)
    if found is None:
        return _Support("", "", False)
    return _Support(full_name(config, found.names), found.email, found.maildisplay == EVERYONE)


def _mailbox(name: str, email: str) -> str:
    """A mailbox in a header that is not encoded any more."""
    return f'"{name}" <{email}>' if _PLAIN_NAME.fullmatch(name) else email


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - as Moodle does, no secret
