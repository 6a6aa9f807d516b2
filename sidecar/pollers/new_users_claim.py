"""One claiming transaction on new users: re-read, give each a password, capture (DESIGN §3)."""

import hashlib
from collections.abc import Sequence
from urllib.parse import urlsplit

from sidecar.errors import LockBusyError
from sidecar.grouping import Group
from sidecar.jobs import ClaimedRow, capture_rows, close_jobs
from sidecar.mail import capture_hash, mail_key
from sidecar.moodle import new_users
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.encryption import Vault, encrypt
from sidecar.moodle.iomad_mail import Left
from sidecar.moodle.new_user_mail import refuses
from sidecar.moodle.new_users import NewUser
from sidecar.moodle.people import read_companies
from sidecar.moodle.tables import MoodleTables
from sidecar.pollers.base import Claimed
from sidecar.pollers.passwords import Mint, Password
from sidecar.settings import Settings
from sidecar.store import capture
from sidecar.store.capture import CapturedRow, NewRecipient
from sidecar.store.companies import Company
from sidecar.store.database import Database, Transaction
from sidecar.store.new_passwords import MARK

SOURCE = "new_users"

SESSION_TIMEOUT = 28_800
"""Core's default of ``$CFG->sessiontimeout``, seconds."""

MAIL_SIZE = 4_000
"""About the bytes of one of these mails, which are made only when they leave."""


def mark(stored_hash: str) -> str:
    """By what a stored hash is recognised without keeping it."""
    return hashlib.sha256(stored_hash.encode()).hexdigest()


class NewUsersClaim:
    """``base.Claiming``; the passwords are at hand in the mint before the lock is taken."""

    def __init__(
        self,
        database: Database,
        tables: MoodleTables,
        settings: Settings,
        vault: Vault,
        mint: Mint,
        site_uid: str,
    ) -> None:
        self._database = database
        self._tables = tables
        self._settings = settings
        self._vault = vault
        self._mint = mint
        self._site_uid = site_uid
        self._host = urlsplit(settings.wwwroot).hostname or "localhost"

    def claim(
        self,
        tx: Transaction,
        group: Group,
        ids: Sequence[int],
        config: MoodleConfig,
        company: Company,
        created_by: int = 0,
    ) -> Claimed:
        """``Claiming.claim``; raises EncryptionError if the site has no key."""
        result = Claimed()
        waiting = new_users.read_waiting(tx.conn, self._tables, ids, lock=True)
        result.gone = set(ids) - waiting.keys()
        users = self._suitable(tx, group, waiting, config, result)
        job = capture.open_job(tx.conn, self._database, SOURCE, group.type, group.company_id)
        held = job.rows if job else 0
        room = max(0, self._settings.max_job_size - held)
        taken = dict(zip(list(users)[:room], self._mint.take(min(len(users), room)), strict=False))
        if taken:
            self._give(tx, users, taken, config)
            job_id = capture_rows(
                tx,
                self._database,
                source=SOURCE,
                group=group,
                job=job,
                company_name=self._company_name(tx, group.company_id),
                provider=company.provider,
                batch_size=self._settings.batch_size,
                stamp=tx.now,
                rows=self._captured(users, taken),
                created_by=created_by,
            )
        elif job:
            job_id = job.id
        if held + len(taken) >= self._settings.max_job_size:
            close_jobs(tx, self._database, [job_id])
        result.rows = list(taken)
        return result

    def _suitable(
        self,
        tx: Transaction,
        group: Group,
        waiting: dict[int, NewUser],
        config: MoodleConfig,
        result: Claimed,
    ) -> dict[int, NewUser]:
        """Those for whom we can do just what core's task would."""
        user_ids = {user.id for user in waiting.values()}
        keys = [(row_id, user.created) for row_id, user in waiting.items()]
        known = capture.known_rows(tx.conn, self._database, SOURCE, keys)
        company_of = new_users.companies_of(tx.conn, self._tables, user_ids)
        bounced: dict[int, tuple[int, int]] = {}
        if config.flag("handlebounces"):
            bounced = new_users.bounces(tx.conn, self._tables, user_ids)
        users: dict[int, NewUser] = {}
        for row_id, user in waiting.items():
            if (row_id, user.created) in known:
                result.left[row_id] = Left("returned_before")
            elif company_of.get(user.id, 0) != group.company_id:
                result.left[row_id] = Left("joins_another_company", again=True)
            elif reason := refuses(user, config, bounced):
                result.left[row_id] = Left(reason)
            else:
                users[row_id] = user
        return users

    def _give(
        self,
        tx: Transaction,
        users: dict[int, NewUser],
        taken: dict[int, Password],
        config: MoodleConfig,
    ) -> None:
        hashes = {users[row_id].id: password.hashed for row_id, password in taken.items()}
        timeout = config.number("sessiontimeout") or SESSION_TIMEOUT
        gone = new_users.store_passwords(
            tx.conn, self._tables, list(taken), hashes, tx.now, timeout
        )
        if gone != len(taken):
            raise LockBusyError("users were served while we held the lock: is it really shared?")

    def _captured(self, users: dict[int, NewUser], taken: dict[int, Password]) -> list[ClaimedRow]:
        key = self._vault.key()
        rows = []
        for row_id, password in taken.items():
            recipient = self._recipient(row_id, users[row_id], password, key)
            rows.append(
                ClaimedRow(CapturedRow(row_id, users[row_id].created, (recipient,)), MAIL_SIZE)
            )
        return rows

    def _recipient(
        self, row_id: int, user: NewUser, password: Password, key: bytes
    ) -> NewRecipient:
        captured = capture_hash(SOURCE, row_id, user.created, "user", user.email)
        name = mail_key(self._site_uid, captured)
        return NewRecipient(
            role="user",
            email=user.email,
            userid=user.id,
            email_hash=captured,
            mail_key=name,
            message_id=f"{name[:40]}@{self._host}",
            data={
                "firstname": user.names["firstname"],
                "lastname": user.names["lastname"],
                "username": user.username,
                MARK: mark(password.hashed),
            },
            secret=encrypt(password.clear, key),
        )

    def _company_name(self, tx: Transaction, company_id: int) -> str:
        if not company_id:
            return ""
        found = read_companies(tx.conn, self._tables, [company_id]).get(company_id)
        return found.name if found else ""
