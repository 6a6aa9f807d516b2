"""What Moodle's configuration says: ``{config}``, overridden by config.php as in Moodle itself."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from sidecar.moodle.php_values import to_string
from sidecar.moodle.tables import MoodleTables
from sidecar.settings import Settings

SAFETY = ("noemailever", "divertallemailsto", "divertallemailsexcept")
"""Keys that protect real people from a test site's mail; unreadable counts as set."""

_PREFIXES = (
    "smtp",
    "noreplyaddress",
    "support",
    "divertallemails",
    "emaildkimselector",
    "maintenance_enabled",
    "minpassword",
)
_NAMES = (
    "noemailever",
    "cron_enabled",
    "upgraderunning",
    "version",
    "siteadmins",
    "companyemailprofileid",
    # What mails of our own say, and when.
    "lang",
    "timezone",
    "forcetimezone",
    # For the mail that brings a new user's password, as email_to_user makes it.
    "passwordpolicy",
    "maxconsecutiveidentchars",
    "fullnamedisplay",
    "alternativefullnameformat",
    "forcefirstname",
    "forcelastname",
    "emailfromvia",
    "emailheaders",
    "emailsubjectprefix",
    "allowedemaildomains",
    "handlebounces",
    "minbounces",
    "bounceratio",
    "mailprefix",
    "maildomain",
    "siteidentifier",
    "sessiontimeout",
    "mnet_localhost_id",
)
_PLUGINS = ("local_email", "local_manireports")
_PLUGIN_NAMES = ("version", "retentiondays")


@dataclass(frozen=True, slots=True)
class MoodleConfig:
    """A snapshot. Values are strings as Moodle stores them; empty and ``0`` count as not set."""

    core: Mapping[str, str]
    plugins: Mapping[tuple[str, str], str]
    unread: frozenset[str]

    def text(self, name: str) -> str:
        """``$CFG->name``; '' when it is not set."""
        return self.core.get(name, "")

    def flag(self, name: str) -> bool:
        """PHP's ``!empty($CFG->name)``; an unreadable safety key counts as set."""
        if name in SAFETY and name in self.unread:
            return True
        return self.text(name) not in ("", "0")

    def number(self, name: str) -> int:
        """``(int) $CFG->name``; 0 when it is not a number."""
        try:
            return int(float(self.text(name) or 0))
        except ValueError:
            return 0

    def for_company(self, name: str, company_id: int) -> str:
        """IOMAD's per-company setting, else the site's (company::set_company_mailer)."""
        own = self.text(f"{name}{company_id}") if company_id > 0 else ""
        return own if own not in ("", "0") else self.text(name)


class RecentConfig:
    """The settings as they were at most ``max_age`` seconds ago; for what asks many times a second.

    Thread-safe: two threads may at worst read the same twice.
    """

    def __init__(self, tables: MoodleTables, settings: Settings, max_age: float = 1.0) -> None:
        self._tables, self._settings, self._max_age = tables, settings, max_age
        self._known: tuple[float, MoodleConfig] | None = None

    def read(self, conn: Connection) -> MoodleConfig:
        """``read_config``, if the last one is too old."""
        known, now = self._known, time.monotonic()
        if known is None or now - known[0] > self._max_age:
            known = self._known = (now, read_config(conn, self._tables, self._settings))
        return known[1]


def read_config(conn: Connection, tables: MoodleTables, settings: Settings) -> MoodleConfig:
    """The settings that concern mail, cron and maintenance."""
    config = tables.config
    like = or_(
        config.c.name.in_(_NAMES),
        *(config.c.name.startswith(prefix, autoescape=True) for prefix in _PREFIXES),
    )
    core = {
        row.name: row.value
        for row in conn.execute(select(config.c.name, config.c.value).where(like))
    }
    plugin = tables.config_plugins
    plugins = {
        (row.plugin, row.name): row.value
        for row in conn.execute(
            select(plugin.c.plugin, plugin.c.name, plugin.c.value).where(
                plugin.c.plugin.in_(_PLUGINS), plugin.c.name.in_(_PLUGIN_NAMES)
            )
        )
    }
    for key, value in settings.moodle_config.items():
        owner, slash, name = key.rpartition("/")
        if slash:
            plugins[owner, name] = to_string(value)
        else:
            core[name] = to_string(value)
    return MoodleConfig(core, plugins, settings.moodle_config_unread)
