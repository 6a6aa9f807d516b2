"""A claimed batch of campaign mails, made ready to leave: re-checked and rendered."""

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection

from sidecar.errors import CampaignError
from sidecar.jobs import Dropped, Prepared
from sidecar.lifecycle import Recipient
from sidecar.mail import Address, Content, Mail
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.mail_settings import diversion, noreply_address
from sidecar.moodle.tables import MoodleTables
from sidecar.pollers.campaign_writing import CampaignWriting
from sidecar.settings import Settings
from sidecar.store import campaigns
from sidecar.store.campaigns import Campaign, OutboxRow, Row, Status
from sidecar.store.database import Database
from sidecar.store.queue import DueBatch, PendingMail
from sidecar.unsubscribe import Links

ONE_CLICK = ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
"""RFC 8058."""


class CampaignPreparation:
    """Renders for one site. links: made when first needed, because the site's key must be read."""

    def __init__(
        self,
        database: Database,
        tables: MoodleTables,
        settings: Settings,
        links: Callable[[], Links],
    ) -> None:
        self._database = database
        self._tables = tables
        self._settings = settings
        self._links = links

    def prepare(
        self,
        conn: Connection,
        config: MoodleConfig,
        batch: DueBatch,
        waiting: Sequence[PendingMail],
    ) -> Prepared:
        """Drop the mails that went back or are pointless now, render the rest."""
        if not waiting:
            return Prepared((), ())
        database, settings, links = self._database, self._settings, self._links()
        rows = campaigns.rows(conn, database, {mail.source_id for mail in waiting})
        known = campaigns.read(conn, database, {row.campaign_id for row in rows.values()})
        pairs = {(row.userid, row.course_id or 0) for row in rows.values()}
        writing = CampaignWriting(
            conn, database, self._tables, config, settings.wwwroot, links, pairs
        )
        noreply = noreply_address(config, settings, batch.company_id)
        sender, divert = Address(noreply, writing.people.sender_name), diversion(config)
        one_click = (ONE_CLICK,) if links.one_click else ()
        mails: list[Mail] = []
        dropped: list[Dropped] = []
        for mail in waiting:
            made = _write(writing, rows, known, mail)
            if isinstance(made, Dropped):
                dropped.append(made)
                continue
            content, url = made
            diverted = divert.applies(mail.email)
            mails.append(
                Mail(
                    id=mail.id,
                    mail_key=mail.mail_key,
                    message_id=mail.message_id,
                    to=divert.to if diverted else mail.email,
                    sender=sender,
                    envelope_from=noreply,
                    content=content,
                    headers=(("List-Unsubscribe", f"<{url}>"), *one_click),
                    subject_prefix=f"[DIVERTED {mail.email}] " if diverted else "",
                    tries=mail.tries,
                    root_batch=mail.root_batch,
                    generation=mail.generation,
                )
            )
        return Prepared(tuple(mails), tuple(dropped))


def _write(
    writing: CampaignWriting,
    rows: Mapping[int, OutboxRow],
    known: Mapping[int, Campaign],
    mail: PendingMail,
) -> tuple[Content, str] | Dropped:
    """A mail's content and its link to unsubscribe, or why it is not sent after all."""
    row = rows.get(mail.source_id)
    campaign = known.get(row.campaign_id) if row else None
    if row is None or campaign is None:
        return Dropped(mail.id, Recipient.CANCELLED, "row_gone", "the outbox row was deleted")
    if row.status != Row.CLAIMED:
        return Dropped(mail.id, Recipient.RETURNED, "row_taken", "the row is in the outbox again")
    if campaign.status == Status.CANCELLED:
        return Dropped(mail.id, Recipient.CANCELLED, "cancelled", "the campaign was cancelled")
    gone = writing.people.gone(row.userid, row.course_id or 0)
    if gone:
        return Dropped(mail.id, Recipient.CANCELLED, "pointless", gone)
    try:
        return writing.write(campaign, row, mail.email)
    except CampaignError as error:
        return Dropped(mail.id, Recipient.PERMANENTLY_FAILED, "unrenderable", str(error))
