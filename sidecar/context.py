"""The parts that the daemon and the commands share, made from the settings."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from sidecar import identity
from sidecar.connectors.base import Guard
from sidecar.errors import ConfigError, StoreError
from sidecar.metrics.registry import Metrics
from sidecar.moodle.config import MoodleConfig, read_config
from sidecar.moodle.encryption import Vault
from sidecar.moodle.lock_factory import task_lock
from sidecar.moodle.locks import TaskLock
from sidecar.moodle.php_values import to_string
from sidecar.moodle.switches import EMAIL_TASK, PASSWORD_TASK, blocked_by, disabled_tasks
from sidecar.moodle.tables import MoodleTables, has_iomad, moodle_tables
from sidecar.pollers.base import Poller
from sidecar.pollers.campaigns import Campaigns
from sidecar.pollers.iomad_mail import IomadMail
from sidecar.pollers.new_users import NewUsers
from sidecar.pollers.requests import Actions
from sidecar.pollers.test_mails import TestMails, capture_test_mail
from sidecar.pulse import Pulse
from sidecar.recall import Recall
from sidecar.routes import Routes
from sidecar.settings import Settings
from sidecar.store.companies import Companies, read_companies
from sidecar.store.database import Database
from sidecar.store.site import Lease, SiteRow, read_site
from sidecar.store.tables import SCHEMA_VERSION
from sidecar.systemd import MOODLE_KEY, credential


@dataclass(frozen=True, slots=True)
class Observation:
    """What Moodle says now.

    blocked: why nothing may move, empty when everything may. off: scheduled tasks of Moodle that
    are off, with the reason: what they would send does not move either.
    """

    config: MoodleConfig
    blocked: list[str]
    off: Mapping[str, str]


class Context:
    """One site, as the settings describe it."""

    def __init__(self, settings: Settings) -> None:
        if settings.database_url is None:
            raise ConfigError("database_url is not set and moodle_dir gives none")
        self.settings = settings
        self.database = Database(settings.database_url, settings.table_prefix)
        self.tables: MoodleTables = moodle_tables(settings.table_prefix)
        self.metrics = Metrics()
        self.fingerprint = identity.fingerprint(settings, self.database.url)
        self.state_dir = identity.StateDir(settings.state_dir)
        secret_root = settings.moodle_config.get("secretdataroot")
        self.vault = Vault(
            settings.dataroot,
            Path(to_string(secret_root)) if secret_root else None,
            credential(MOODLE_KEY),
        )
        self.lease = Lease(
            self.database, settings.lease_seconds, f"{socket.gethostname()}:{os.getpid()}"
        )

    @cached_property
    def has_iomad(self) -> bool:
        """Whether the site is an IOMAD, as it was when first asked; raises DatabaseError."""
        with self.database.read() as conn:
            return has_iomad(conn, self.tables)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The scheduled tasks of this site whose mail we take over."""
        return (EMAIL_TASK, PASSWORD_TASK) if self.has_iomad else (PASSWORD_TASK,)

    def routes(self, guard: Guard) -> Routes:
        """Routes with this site's settings and secrets."""
        return Routes(self.settings, guard, self.vault.reveal)

    def lock(self, task: str) -> TaskLock:
        """The cron lock of a scheduled task."""
        return task_lock(
            self.settings,
            self.tables,
            family=self.database.engine.dialect.name,
            dbname=self.database.url.database or "",
            clock=self.database.clock(),
            task=task,
        )

    def identify(self) -> SiteRow:
        """The site's row, once it is sure that this is our site; raises IdentityError,
        StoreError if the tables are of another version."""
        row = read_site(self.database)
        identity.verify(row, self.state_dir, self.fingerprint)
        version = row.state.get("schema", SCHEMA_VERSION)
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"our tables are version {version}, this daemon needs {SCHEMA_VERSION}"
            )
        return row

    def observe(self) -> Observation:
        """Read Moodle's settings and off switches; raises DatabaseError."""
        with self.database.read() as conn:
            config = read_config(conn, self.tables, self.settings)
            now = self.database.now(conn)
            off = disabled_tasks(conn, self.tables, self.settings, self.tasks)
        return Observation(config, blocked_by(config, self.settings, now), off)

    def pulse(self) -> Pulse:
        """Whether anything may have to be done on this site; raises DatabaseError."""
        return Pulse(self.database, self.tables, has_queue=self.has_iomad)

    def companies(self) -> Companies:
        """Company settings with defaults filled in."""
        return read_companies(self.database, self.settings.bulk_threshold)

    def pollers(self, site_uid: str) -> dict[str, Poller]:
        """Every source of this site, by name; raises LockUnusableError."""
        pollers: list[Poller] = [
            NewUsers(
                self.database,
                self.tables,
                self.settings,
                self.lease,
                self.lock(PASSWORD_TASK),
                site_uid,
                self.metrics,
                self.vault,
            ),
            Campaigns(
                self.database,
                self.tables,
                self.settings,
                self.lease,
                self.vault,
                site_uid,
                self.metrics,
            ),
            TestMails(self.database, self.tables, self.settings),
        ]
        if self.has_iomad:
            iomad_mail = IomadMail(
                self.database,
                self.tables,
                self.settings,
                self.lease,
                self.lock(EMAIL_TASK),
                site_uid,
                self.metrics,
            )
            pollers.insert(0, iomad_mail)
        return {poller.name: poller for poller in pollers}

    def actions(self, sources: Mapping[str, Poller], routes: Routes) -> Actions:
        """What pages and commands may ask for."""
        return Actions(
            self.database,
            self.lease.token,
            sources,
            Recall(self.database, routes, self.companies),
            self.companies,
            self.settings.batch_size,
            self.vault,
            partial(
                capture_test_mail,
                database=self.database,
                tables=self.tables,
                settings=self.settings,
                site_uid=routes.site_uid,
            ),
        )

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()
