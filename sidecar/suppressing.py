"""Mails to suppressed addresses are not sent, whatever their source: at claim and at dispatch."""

from collections.abc import Sequence

from sqlalchemy import Connection

from sidecar.lifecycle import Recipient
from sidecar.store import suppressions
from sidecar.store.capture import CapturedRow, NewRecipient
from sidecar.store.database import Database
from sidecar.store.queue import PendingMail

CAMPAIGNS = "campaigns"
"""The source whose mails an address may be spared alone."""


def mark(
    conn: Connection,
    database: Database,
    source: str,
    company_id: int,
    rows: Sequence[CapturedRow],
) -> Sequence[CapturedRow]:
    """The same rows; mails to suppressed addresses are permanently failed, with the reason."""
    addresses = {mail.email for row in rows for mail in row.recipients}
    campaign = source == CAMPAIGNS
    found = suppressions.find(conn, database, company_id, addresses, campaign=campaign)
    if not found:
        return rows

    def checked(mail: NewRecipient) -> NewRecipient:
        entry = found.get(mail.email.lower())
        if entry is None or mail.status is not Recipient.PENDING:
            return mail
        return mail._replace(
            status=Recipient.PERMANENTLY_FAILED,
            error_code=suppressions.SUPPRESSED,
            error=entry.words,
        )

    return [row._replace(recipients=tuple(map(checked, row.recipients))) for row in rows]


def split(
    conn: Connection,
    database: Database,
    source: str,
    company_id: int,
    waiting: Sequence[PendingMail],
) -> tuple[list[PendingMail], dict[int, str]]:
    """The mails that may leave, and by id those that may not any more, with the reason.

    What a provider has already is asked for as it was.
    """
    own = [mail for mail in waiting if mail.status is not Recipient.PROCESSING]
    addresses = {mail.email for mail in own}
    campaign = source == CAMPAIGNS
    found = suppressions.find(conn, database, company_id, addresses, campaign=campaign)
    gone = {m.id: found[m.email.lower()].words for m in own if m.email.lower() in found}
    return [mail for mail in waiting if mail.id not in gone], gone
