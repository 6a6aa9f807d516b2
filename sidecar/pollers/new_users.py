"""Core's new users, {user_preferences} ``create_password``: peek, claim, give back."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection

from sidecar import jobs
from sidecar.errors import EncryptionError, SidecarError
from sidecar.jobs import Prepared
from sidecar.lifecycle import Recipient
from sidecar.metrics.registry import Metrics
from sidecar.moodle import new_users
from sidecar.moodle.config import MoodleConfig, read_config
from sidecar.moodle.encryption import Vault
from sidecar.moodle.locks import TaskLock
from sidecar.moodle.password_hash import HashError
from sidecar.moodle.switches import PASSWORD_TASK
from sidecar.moodle.tables import MoodleTables
from sidecar.pollers.base import Gate
from sidecar.pollers.new_users_claim import SESSION_TIMEOUT, SOURCE, NewUsersClaim, mark
from sidecar.pollers.new_users_peek import NewUsersPeek
from sidecar.pollers.new_users_prepare import prepare
from sidecar.pollers.passwords import Mint, Recipe, site_recipe
from sidecar.pollers.queue_poller import Chunk, QueuePoller
from sidecar.settings import Settings
from sidecar.store import new_passwords
from sidecar.store.companies import Companies
from sidecar.store.database import Database, Transaction
from sidecar.store.queue import DueBatch, PendingMail
from sidecar.store.site import Lease

log = logging.getLogger(__name__)

EXPIRE_SECONDS = 3600.0
"""How often passwords are looked for that were kept long enough."""

EXPIRE_PAGE = 500

AHEAD = 4
"""Chunks whose passwords are made or in the making when one is claimed: no core waits for it."""

TELL_SECONDS = 600.0
"""How often a reason that stands is logged again."""


class NewUsers(QueuePoller):
    """The source ``new_users``."""

    name = SOURCE
    task = PASSWORD_TASK

    def __init__(
        self,
        database: Database,
        tables: MoodleTables,
        settings: Settings,
        lease: Lease,
        lock: TaskLock,
        site_uid: str,
        metrics: Metrics,
        vault: Vault,
    ) -> None:
        self._mint = Mint()
        super().__init__(
            database,
            NewUsersPeek(tables),
            NewUsersClaim(database, tables, settings, vault, self._mint, site_uid),
            settings,
            lease,
            lock,
            metrics,
        )
        self._tables = tables
        self._vault = vault
        self._recipe: Recipe | None = None
        self._expire_at = 0.0
        self._tell_at = 0.0

    def poll(
        self, config: MoodleConfig, companies: Companies, gate: Gate, claimed: Callable[[], None]
    ) -> float | None:
        """``Poller.poll``."""
        self._recipe = None

        def own_gate(company_id: int) -> str:
            return gate(company_id) or self._no_recipe(config)

        next_at = super().poll(config, companies, own_gate, claimed)
        if time.monotonic() >= self._expire_at:
            self._expire_at = time.monotonic() + EXPIRE_SECONDS
            self.expire()
        return next_at

    def _no_recipe(self, config: MoodleConfig) -> str:
        """Why no password can be made now; '' if one can."""
        if self._recipe is None:
            try:
                self._recipe = ready(config, self._settings, self._vault)
            except (EncryptionError, HashError) as error:
                if time.monotonic() >= self._tell_at:
                    self._tell_at = time.monotonic() + TELL_SECONDS
                    log.warning("new users stay with Moodle: %s", error)
                return "password_cannot_be_made"
        return ""

    def _claim_chunks(
        self,
        conn: Connection,
        chunks: Iterable[Chunk],
        config: MoodleConfig,
        companies: Companies,
    ) -> None:
        """The lock is held for one claim at a time, and while it is, the next ones are hashed."""
        recipe = self._recipe
        if recipe is None:
            return
        for group, chunk in chunks:
            self._mint.order(recipe, len(chunk) + self._turns.ahead(AHEAD - 1))
            self._mint.gather(len(chunk))
            if self.stopping or self.hurried:
                return
            with self._lock.session(conn):
                self._chunk_or_rows(conn, group, chunk, config, companies)

    def newest(self, conn: Connection) -> int:
        """``Poller.newest``."""
        return new_users.max_id(conn, self._tables)

    def prepare(
        self, conn: Connection, batch: DueBatch, waiting: Sequence[PendingMail]
    ) -> Prepared:
        """``jobs.Source.prepare``."""
        return prepare(
            conn, self._database, self._tables, self._settings, self._vault, batch, waiting
        )

    def give_back(
        self,
        conn: Connection,
        originals: Mapping[int, int],
        stamp: int,  # noqa: ARG002 - as the protocol says
    ) -> set[int]:
        """``jobs.Source.give_back``: ``create_password`` again, so that Moodle makes a new one.

        Only for users whose password is still ours. They wait under new ids, which their mails
        follow.
        """
        rows = new_passwords.issued(conn, self._database, SOURCE, originals)
        users = new_users.read_users(conn, self._tables, {row.user_id for row in rows}, lock=True)
        ours = {
            row.user_id: row.source_id
            for row in rows
            if (user := users.get(row.user_id)) is not None
            and not user.deleted
            and mark(user.password) == row.mark
        }
        if not ours:
            return set()
        config = read_config(conn, self._tables, self._settings)
        timeout = config.number("sessiontimeout") or SESSION_TIMEOUT
        now = self._database.now(conn)
        new_users.set_preferences(conn, self._tables, list(ours), new_users.WAITS, now, timeout)
        new_ids = new_users.preferences(conn, self._tables, ours, new_users.WAITS)
        followed = {ours[user]: new_id for user, new_id in new_ids.items()}
        new_passwords.follow(conn, self._database, SOURCE, followed)
        return set(followed.values())

    def still_wait(
        self, conn: Connection, rows: Collection[tuple[int, int]]
    ) -> set[tuple[int, int]]:
        """``jobs.Source.still_wait``."""
        waiting = new_users.still_waiting(conn, self._tables, {row_id for row_id, _ in rows})
        return waiting & set(rows)

    def expire(self) -> None:
        """Users whose mail could not be sent within ``secret_ttl`` get a new password by Moodle.

        Raises DatabaseError.
        """
        while True:
            with self._database.write(self._lease.token) as tx:
                before = tx.now - int(self._settings.secret_ttl)
                new_passwords.forget_uncertain(tx, self._database, SOURCE, before)
                old = new_passwords.expired(tx, self._database, SOURCE, before, EXPIRE_PAGE)
                self._end(tx, old)
            if len(old) < EXPIRE_PAGE:
                return

    def _end(self, tx: Transaction, old: Sequence[new_passwords.Expired]) -> None:
        if not old:
            return
        rows = {mail.source_id: 0 for mail in old}
        back = {mail.mail_id for mail in old}
        self.give_back(tx.conn, rows, 0)
        still = {
            row.source_id for row in new_passwords.issued(tx.conn, self._database, SOURCE, rows)
        }
        changed = [mail.mail_id for mail in old if mail.source_id in still]
        new_passwords.end_expired(
            tx,
            self._database,
            sorted(back - set(changed)),
            Recipient.RETURNED,
            "not sent in time: Moodle gives the user a new password",
        )
        new_passwords.end_expired(
            tx,
            self._database,
            changed,
            Recipient.CANCELLED,
            "not sent in time, and the password was changed meanwhile",
        )
        jobs.refresh(tx, self._database, {mail.batch_id for mail in old})
        log.warning("%d mails to new users were not sent in time", len(old))


def ready(config: MoodleConfig, settings: Settings, vault: Vault) -> Recipe:
    """How passwords are made here; raises EncryptionError or HashError if they must not be."""
    try:
        vault.key()
    except EncryptionError as error:
        raise EncryptionError(
            f"{error}. New passwords are kept encrypted until they are mailed: run"
            " `php admin/cli/generate_key.php` as the web server's user"
        ) from None
    return site_recipe(config, settings)


def why_not(config: MoodleConfig, settings: Settings, vault: Vault) -> str:
    """Why new users cannot be claimed on this site, for ``check``; '' if they can."""
    try:
        ready(config, settings, vault)
    except SidecarError as error:
        return str(error)
    return ""
