"""How this site, or one of its companies, sends mail (company::set_company_mailer, FACTS §4)."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sidecar.errors import MoodleError
from sidecar.moodle.config import MoodleConfig
from sidecar.settings import Settings

AUTH_TYPES = ("", "LOGIN", "PLAIN", "CRAM-MD5")

DKIM_FOLDER = "dkim"
"""The folder of dataroot whose ``<domain of From>/<selector>.private`` Moodle signs with."""

_HOST = re.compile(r"^(?:(ssl|tls)://)?(\[[0-9a-fA-F:.]+\]|[^:\s]+)(?::(\d{1,5}))?$")


class MailSettingsError(MoodleError):
    """The site's mail settings cannot be reproduced; its mail stays with Moodle."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """One SMTP server as Moodle would use it. secure: '', 'tls' (STARTTLS) or 'ssl'."""

    host: str
    port: int
    secure: str
    user: str
    password: str = field(repr=False)
    auth_type: str


@dataclass(frozen=True, slots=True)
class MailRoute:
    """The servers to try in turn. assumed: Moodle names none, so localhost must prove itself.

    dkim_selector: of the key that mails are signed with, in DKIM_FOLDER; '' for none.
    """

    servers: tuple[MailServer, ...]
    dkim_selector: str = ""
    assumed: bool = False


def mail_route(config: MoodleConfig, company_id: int) -> MailRoute:
    """The SMTP servers for a company's mail; raises MailSettingsError when we cannot use them."""
    hosts = config.for_company("smtphosts", company_id).strip()
    if hosts == "qmail":
        raise MailSettingsError(
            "smtphosts is 'qmail', a program that only Moodle calls: Moodle's cron sends this mail"
        )
    auth_type = config.for_company("smtpauthtype", company_id).upper()
    user = config.for_company("smtpuser", company_id)
    if user and auth_type == "XOAUTH2":
        raise MailSettingsError(
            "smtpauthtype is XOAUTH2, whose tokens only Moodle has: Moodle's cron sends this mail;"
            " to have it taken over, use a server with a user name and password, or provider aws"
        )
    if user and auth_type not in AUTH_TYPES:
        raise MailSettingsError(
            f"smtpauthtype {auth_type!r} is not one of Moodle's: LOGIN, PLAIN, CRAM-MD5 or XOAUTH2"
        )
    password = config.for_company("smtppass", company_id)
    secure = config.for_company("smtpsecure", company_id)
    selector = config.for_company("emaildkimselector", company_id)
    if not hosts:
        return MailRoute((MailServer("localhost", 25, "", "", "", ""),), selector, assumed=True)
    servers = []
    for part in filter(None, (piece.strip() for piece in hosts.split(";"))):
        found = _HOST.match(part)
        if found is None or int(found[3] or 25) > 65535:
            raise MailSettingsError(
                f"smtphosts: {part!r} is not a server: write host, host:port, ssl://host:port or"
                " tls://host:port, several of them with ; between"
            )
        servers.append(
            MailServer(
                host=found[2].strip("[]"),
                port=int(found[3] or 25),
                secure=found[1] or secure,
                user=user,
                password=password if user else "",
                auth_type=auth_type,
            )
        )
    if not servers:
        raise MailSettingsError(f"smtphosts: {hosts!r} names no server")
    return MailRoute(tuple(servers), selector)


def noreply_address(config: MoodleConfig, settings: Settings, company_id: int) -> str:
    """The envelope sender, and the From of mails whose template sets none."""
    found = config.for_company("noreplyaddress", company_id)
    if found:
        return found
    host = urlsplit(settings.wwwroot).hostname
    if not host:
        raise MailSettingsError("wwwroot is not known: set wwwroot in sidecar.toml")
    return f"noreply@{host}"


@dataclass(frozen=True, slots=True)
class Diversion:
    """``divertallemailsto`` and its exceptions: a staging copy never mails real people."""

    to: str = ""
    exceptions: tuple[re.Pattern[str], ...] = ()

    def applies(self, address: str) -> bool:
        """Whether mail to ``address`` must go elsewhere (email_should_be_diverted)."""
        return bool(self.to) and not any(e.search(address) for e in self.exceptions)


def diversion(config: MoodleConfig) -> Diversion:
    """The site's diversion; exceptions that cannot be read or compiled count as none."""
    if not config.flag("divertallemailsto"):
        return Diversion()
    patterns = []
    if "divertallemailsexcept" not in config.unread:
        for part in re.split(r"[\s,]+", config.text("divertallemailsexcept")):
            try:
                if part:
                    patterns.append(re.compile(part, re.IGNORECASE))
            except re.error:
                continue
    return Diversion(config.text("divertallemailsto"), tuple(patterns))
