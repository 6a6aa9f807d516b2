"""A claimed batch of new users, made ready to leave: re-checked and rendered."""

import logging
from collections.abc import Sequence

from sqlalchemy import Connection

from sidecar.jobs import Dropped, Prepared
from sidecar.lifecycle import Recipient
from sidecar.mail import Content, Mail
from sidecar.moodle.config import read_config
from sidecar.moodle.encryption import Vault, decrypt
from sidecar.moodle.mail_settings import diversion
from sidecar.moodle.new_user_mail import NewUserMail
from sidecar.moodle.new_user_text import BUILT_IN, MailText, TemplateError, languages
from sidecar.moodle.new_users import NewUser, read_users
from sidecar.moodle.tables import MoodleTables
from sidecar.pollers.new_users_claim import mark
from sidecar.settings import Settings
from sidecar.store.database import Database
from sidecar.store.new_passwords import MARK, read_secrets
from sidecar.store.queue import DueBatch, PendingMail
from sidecar.store.templates import NEW_USER, Texts, read_texts

log = logging.getLogger(__name__)


def prepare(
    conn: Connection,
    database: Database,
    tables: MoodleTables,
    settings: Settings,
    vault: Vault,
    batch: DueBatch,
    waiting: Sequence[PendingMail],
) -> Prepared:
    """Drop the mails that would tell a wrong password or are pointless now, render the rest.

    Raises EncryptionError and MailSettingsError: the batch then waits.
    """
    config = read_config(conn, tables, settings)
    about = NewUserMail(conn, tables, config, settings, batch.company_id)
    library = Library(read_texts(conn, database, NEW_USER))
    users = read_users(conn, tables, {mail.userid for mail in waiting})
    secrets = read_secrets(conn, database, {mail.id for mail in waiting})
    divert = diversion(config)
    key = vault.key()
    mails: list[Mail] = []
    dropped: list[Dropped] = []
    for mail in waiting:
        user, secret = users.get(mail.userid), secrets.get(mail.id)
        reason = _pointless(user, secret, mail)
        if user is None or secret is None or reason:
            dropped.append(Dropped(mail.id, Recipient.CANCELLED, "pointless", reason))
            continue
        text = library.find(about.language(user), about.site_language)
        filled = about.fill(text, user, decrypt(secret, key))
        html = filled.html if user.mailformat == 1 else ""
        diverted = divert.applies(mail.email)
        to = divert.to if diverted else mail.email
        mails.append(
            Mail(
                id=mail.id,
                mail_key=mail.mail_key,
                message_id=mail.message_id,
                to=to,
                to_name=about.display_name(user),
                sender=about.envelope.sender,
                envelope_from=about.envelope_from(user.id, to),
                content=Content(filled.subject, html, filled.text),
                reply_to=about.envelope.reply_to,
                headers=about.envelope.headers,
                subject_prefix=f"[DIVERTED {mail.email}] " if diverted else "",
                tries=mail.tries,
                root_batch=mail.root_batch,
                generation=mail.generation,
            )
        )
    return Prepared(tuple(mails), tuple(dropped))


def _pointless(user: NewUser | None, secret: str | None, mail: PendingMail) -> str:
    """Why this mail must not leave any more, in the admin's words; '' if it may."""
    if user is None or user.deleted:
        return "the user was deleted"
    if user.suspended:
        return "the user is suspended"
    if mark(user.password) != mail.data.get(MARK):
        return "the password was changed meanwhile: this mail would tell a wrong one"
    if not secret:
        return "the password is not kept any more: give the user a new one in Moodle"
    return ""


class Library:
    """The texts of the site, each read once; one that cannot be used is passed over."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._read: dict[str, MailText | None] = {}

    def find(self, language: str, site_language: str) -> MailText:
        """The text for somebody who reads ``language``."""
        for lang in languages(language, site_language, self._texts.parents):
            if lang not in self._read:
                self._read[lang] = self._load(lang)
            found = self._read[lang]
            if found is not None:
                return found
        return MailText(*BUILT_IN)

    def _load(self, lang: str) -> MailText | None:
        stored = self._texts.by_language.get(lang)
        if stored is None:
            return None
        try:
            return MailText(*stored)
        except TemplateError as error:
            log.warning("the text for new users in %s is not used: %s", lang, error)
            return None
