"""Queries on ``manireports_cloud_campaigns`` and ``_outbox``, into which any plugin may queue.

docs/campaigns.md says who sets which status.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import (
    Connection,
    Select,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from sidecar.campaign_text import CampaignText
from sidecar.errors import NotFoundError
from sidecar.store.database import Database, Transaction, new_id


class Status(StrEnum):
    """What is true of one campaign; its author sets the first two."""

    DRAFT = "draft"
    QUEUED = "queued"
    RUNNING = "running"
    HELD = "held"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Row(StrEnum):
    """What is true of one row of the outbox; its author writes ``waiting``."""

    WAITING = "waiting"
    CLAIMED = "claimed"
    CANCELLED = "cancelled"


ACTIVE = (Status.QUEUED.value, Status.RUNNING.value)


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign. send_at, created_at: Unix seconds; an empty text means the site's own."""

    id: int
    type: str
    company_id: int
    subject: str
    body: str | None = field(repr=False)
    created_by: int
    send_at: int | None
    status: str
    job_id: int | None
    error_message: str | None
    created_at: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A row of the outbox; '' as email: the user's own address."""

    id: int
    campaign_id: int
    userid: int
    course_id: int | None
    email: str
    data: str | None = field(repr=False)
    status: str


def active(conn: Connection, database: Database) -> list[tuple[Campaign, bool]]:
    """Campaigns that are queued or running, oldest first, and whether any of their rows waits."""
    c, o = database.tables.campaigns, database.tables.outbox
    waits = exists().where(o.c.campaign_id == c.c.id, o.c.status == Row.WAITING.value)
    query = select(*_campaign(database), waits).where(c.c.status.in_(ACTIVE)).order_by(c.c.id)
    return [(Campaign(*row), bool(waiting)) for *row, waiting in conn.execute(query)]


def read(conn: Connection, database: Database, ids: Collection[int]) -> dict[int, Campaign]:
    """Those of the campaigns that exist."""
    c = database.tables.campaigns
    query = select(*_campaign(database)).where(c.c.id.in_(list(ids)))
    return {row.id: Campaign(*row) for row in conn.execute(query)}


def lock(tx: Transaction, database: Database, campaign_id: int) -> Campaign:
    """One campaign, locked; raises NotFoundError."""
    c = database.tables.campaigns
    query = select(*_campaign(database)).where(c.c.id == campaign_id).with_for_update()
    row = tx.conn.execute(query).first()
    if row is None:
        raise NotFoundError(f"there is no campaign {campaign_id}")
    return Campaign(*row)


def newest(conn: Connection, database: Database) -> int:
    """The greatest id of a campaign."""
    return int(conn.scalar(select(func.max(database.tables.campaigns.c.id))) or 0)


def listed(
    conn: Connection, database: Database, limit: int
) -> list[tuple[Campaign, dict[str, int]]]:
    """The newest campaigns, newest first, and their rows by status."""
    c, o = database.tables.campaigns, database.tables.outbox
    query = select(*_campaign(database)).order_by(c.c.id.desc()).limit(limit)
    found = [Campaign(*row) for row in conn.execute(query)]
    counts: dict[int, dict[str, int]] = {campaign.id: {} for campaign in found}
    grouped = (
        select(o.c.campaign_id, o.c.status, func.count())
        .where(o.c.campaign_id.in_(list(counts)))
        .group_by(o.c.campaign_id, o.c.status)
    )
    for campaign_id, status, number in conn.execute(grouped):
        counts[campaign_id][status] = int(number)
    return [(campaign, counts[campaign.id]) for campaign in found]


def waiting_numbers(
    conn: Connection, database: Database, campaign_ids: Collection[int]
) -> dict[int, int]:
    """How many rows of these campaigns wait."""
    o = database.tables.outbox
    query = (
        select(o.c.campaign_id, func.count())
        .where(o.c.campaign_id.in_(list(campaign_ids)), o.c.status == Row.WAITING.value)
        .group_by(o.c.campaign_id)
    )
    return {campaign_id: int(number) for campaign_id, number in conn.execute(query)}


def waiting_rows(
    conn: Connection,
    database: Database,
    campaign_id: int,
    limit: int,
    *,
    after: int = 0,
    lock_them: bool = False,
) -> list[OutboxRow]:
    """The first waiting rows of a campaign above an id, in the order of their ids."""
    o = database.tables.outbox
    query = (
        _rows(database)
        .where(o.c.campaign_id == campaign_id, o.c.status == Row.WAITING.value, o.c.id > after)
        .order_by(o.c.id)
        .limit(limit)
    )
    if lock_them:
        query = query.with_for_update()
    return [OutboxRow(*row) for row in conn.execute(query)]


def rows(conn: Connection, database: Database, ids: Collection[int]) -> dict[int, OutboxRow]:
    """Those of the rows that exist."""
    query = _rows(database).where(database.tables.outbox.c.id.in_(list(ids)))
    return {row.id: OutboxRow(*row) for row in conn.execute(query)}


def mark_claimed(tx: Transaction, database: Database, row_ids: Collection[int]) -> None:
    """These rows, which are locked, are a job's now."""
    o = database.tables.outbox
    tx.conn.execute(update(o).where(o.c.id.in_(list(row_ids))).values(status=Row.CLAIMED.value))


def set_status(
    tx: Transaction,
    database: Database,
    campaign_ids: Collection[int],
    status: Status,
    reason: str | None = None,
    **values: object,
) -> None:
    """What is true of these campaigns now, and the reason, if one is to be seen."""
    c = database.tables.campaigns
    tx.conn.execute(
        update(c)
        .where(c.c.id.in_(list(campaign_ids)))
        .values(status=status.value, error_message=reason, **values)
    )


def hold_active(tx: Transaction, database: Database, reason: str) -> None:
    """No campaign goes on by itself."""
    c = database.tables.campaigns
    tx.conn.execute(
        update(c)
        .where(c.c.status.in_(ACTIVE))
        .values(status=Status.HELD.value, error_message=reason)
    )


def put_back(
    conn: Connection, database: Database, row_ids: Collection[int], reason: str
) -> set[int]:
    """Claimed rows wait again, and their campaigns are held; returns the rows' ids."""
    o, c = database.tables.outbox, database.tables.campaigns
    claimed = select(o.c.id, o.c.campaign_id).where(
        o.c.id.in_(list(row_ids)), o.c.status == Row.CLAIMED.value
    )
    found = {row.id: row.campaign_id for row in conn.execute(claimed.with_for_update())}
    if found:
        conn.execute(update(o).where(o.c.id.in_(list(found))).values(status=Row.WAITING.value))
        conn.execute(
            update(c)
            .where(
                c.c.id.in_(set(found.values())),
                c.c.status.in_((*ACTIVE, Status.DONE.value)),
            )
            .values(status=Status.HELD.value, error_message=reason)
        )
    return set(found)


def cancel_waiting(tx: Transaction, database: Database, campaign_id: int) -> int:
    """Rows of a campaign that wait are never sent; returns how many."""
    o = database.tables.outbox
    return tx.conn.execute(
        update(o)
        .where(o.c.campaign_id == campaign_id, o.c.status == Row.WAITING.value)
        .values(status=Row.CANCELLED.value)
    ).rowcount


def insert_campaign(
    tx: Transaction,
    database: Database,
    *,
    campaign_type: str,
    company_id: int,
    text: CampaignText,
    created_by: int,
    send_at: int,
) -> int:
    """A draft; returns its id."""
    result = tx.conn.execute(
        insert(database.tables.campaigns).values(
            type=campaign_type,
            company_id=company_id,
            subject=text.subject,
            body=text.body,
            created_by=created_by,
            send_at=send_at,
            status=Status.DRAFT.value,
            created_at=tx.now,
        )
    )
    return new_id(result)


def fill(
    tx: Transaction, database: Database, campaign_id: int, recipients: Select[tuple[int, int]]
) -> int:
    """Write a row for each (userid, course id) of a query, in one statement; returns how many."""
    o = database.tables.outbox
    found = recipients.subquery()
    values = select(
        literal(campaign_id),
        found.c.userid,
        found.c.course_id,
        literal(""),
        literal(Row.WAITING.value),
        literal(tx.now),
    )
    names = ["campaign_id", "userid", "course_id", "email", "status", "created_at"]
    return tx.conn.execute(insert(o).from_select(names, values)).rowcount


def campaign_texts(conn: Connection, database: Database, name: str) -> Mapping[str, CampaignText]:
    """The site's own texts of a name, by language."""
    t = database.tables.templates
    query = select(t.c.lang, t.c.subject, t.c.body).where(
        t.c.name == name, or_(t.c.subject != "", t.c.body.is_not(None))
    )
    return {lang: CampaignText(subject, body or "") for lang, subject, body in conn.execute(query)}


def _campaign(database: Database):  # type: ignore[no-untyped-def]
    c = database.tables.campaigns
    return [c.c[name] for name in Campaign.__dataclass_fields__]


def _rows(database: Database):  # type: ignore[no-untyped-def]
    o = database.tables.outbox
    return select(*(o.c[name] for name in OutboxRow.__dataclass_fields__))
