"""A claimed batch of IOMAD's queue, made ready to leave: re-checked and rendered."""

from collections.abc import Sequence

from sqlalchemy import Connection

from sidecar.jobs import Dropped, Prepared
from sidecar.lifecycle import Recipient
from sidecar.mail import Mail
from sidecar.moodle import mail_queue
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.mail_settings import MailSettingsError, diversion
from sidecar.moodle.rendering import RenderedRow, RenderError, Rendering
from sidecar.moodle.tables import MoodleTables
from sidecar.settings import Settings
from sidecar.store.queue import DueBatch, PendingMail


def prepare(
    conn: Connection,
    tables: MoodleTables,
    settings: Settings,
    config: MoodleConfig,
    batch: DueBatch,
    waiting: Sequence[PendingMail],
) -> Prepared:
    """Drop the mails that are not ours any more or are pointless now, render the rest."""
    rows = mail_queue.bodies(conn, tables, {mail.source_id for mail in waiting})
    rendering = Rendering(conn, tables, config, settings, rows.values())
    divert = diversion(config)
    rendered: dict[int, RenderedRow | Dropped] = {}
    mails: list[Mail] = []
    dropped: list[Dropped] = []
    for mail in waiting:
        if mail.source_id not in rendered:
            rendered[mail.source_id] = _row(batch, rows.get(mail.source_id), rendering)
        row = rendered[mail.source_id]
        if isinstance(row, Dropped):
            dropped.append(Dropped(mail.id, row.status, row.code, row.reason))
            continue
        diverted = divert.applies(mail.email)
        mails.append(
            Mail(
                id=mail.id,
                mail_key=mail.mail_key,
                message_id=mail.message_id,
                to=divert.to if diverted else mail.email,
                sender=row.sender,
                envelope_from=row.envelope_from,
                content=row.content,
                reply_to=row.reply_to,
                headers=row.headers,
                subject_prefix=f"[DIVERTED {mail.email}] " if diverted else "",
                tries=mail.tries,
                root_batch=mail.root_batch,
                generation=mail.generation,
            )
        )
    return Prepared(tuple(mails), tuple(dropped))


def _row(
    batch: DueBatch, row: mail_queue.QueuedBody | None, rendering: Rendering
) -> RenderedRow | Dropped:
    if row is None:
        return Dropped(0, Recipient.CANCELLED, "row_gone", "the queue row was deleted")
    if row.sent != batch.created_at:
        return Dropped(0, Recipient.RETURNED, "row_taken", "Moodle took the mail back")
    gone = rendering.gone(row)
    if gone:
        return Dropped(0, Recipient.CANCELLED, "pointless", gone)
    try:
        return rendering.render(row)
    except (RenderError, MailSettingsError) as error:
        return Dropped(0, Recipient.PERMANENTLY_FAILED, "unrenderable", str(error))
