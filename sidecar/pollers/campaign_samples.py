"""How the first mails of a campaign would read, before it is queued."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from sidecar.campaign_text import CampaignText
from sidecar.moodle.config import read_config
from sidecar.moodle.people import read_users
from sidecar.moodle.tables import MoodleTables
from sidecar.pollers.campaign_writing import CampaignWriting, unsubscribe_page
from sidecar.settings import Settings
from sidecar.store.campaigns import Campaign, OutboxRow, Row, Status
from sidecar.store.database import Database
from sidecar.unsubscribe import Links

NO_KEY = bytes(32)
"""The links of samples unsubscribe nobody."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A mail as it would read."""

    to: str
    subject: str
    text: str


def samples(
    conn: Connection,
    database: Database,
    tables: MoodleTables,
    settings: Settings,
    text: CampaignText,
    company_id: int,
    pairs: Sequence[tuple[int, int]],
) -> list[Sample]:
    """The mails to these (user id, course id); raises CampaignError for a text that cannot be."""
    config = read_config(conn, tables, settings)
    links = Links(unsubscribe_page(settings), NO_KEY)
    writing = CampaignWriting(conn, database, tables, config, settings.wwwroot, links, pairs)
    users = read_users(conn, tables, [user for user, _ in pairs])
    campaign = Campaign(
        id=0,
        type="reengagement",
        company_id=company_id,
        subject=text.subject,
        body=text.body,
        created_by=0,
        send_at=None,
        status=Status.DRAFT.value,
        job_id=None,
        error_message=None,
        created_at=0,
    )
    made = []
    for user, course in pairs:
        address = users[user].email
        row = OutboxRow(0, 0, user, course, address, None, Row.WAITING.value)
        content, _ = writing.write(campaign, row, address)
        made.append(Sample(address, content.subject, content.text))
    return made
