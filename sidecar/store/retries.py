"""Queries of asking again: a job that repeats the failed mails of another."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, insert, select

from sidecar.lifecycle import Batch, Recipient
from sidecar.mail import capture_hash
from sidecar.store.database import Database, Transaction, new_id
from sidecar.store.jobs import JobRow


@dataclass(frozen=True, slots=True)
class FailedMail:
    """A mail that may be repeated. root: the mail that was captured, or itself; root_batch: the key
    of the batch that first carried it, '' if none ever did; generation: of the repetition that
    would be made; stamp: what the claim wrote into Moodle's queue."""

    root: int
    root_batch: str
    generation: int
    stamp: int
    email: str
    role: str
    userid: int
    source: str
    source_id: int
    source_stamp: int
    mail_key: str
    message_id: str
    data: str
    secret: str | None = field(repr=False)


_DID_NOT_ARRIVE = (
    Recipient.FAILED,
    Recipient.PERMANENTLY_FAILED,
    Recipient.CANCELLED,
    Recipient.RETURNED,
)


def failed_mails(
    tx: Transaction,
    database: Database,
    job_id: int,
    states: Collection[Recipient],
    only: int | None = None,
) -> list[FailedMail]:
    """The mails of a job in one of ``states`` that nobody repeats at the moment, locked.

    only: the id of the one recipient that is meant.

    Not those of which another generation arrived, or may have: that is never asked again blindly.
    """
    r, b = database.tables.recipients, database.tables.batches
    child, root = r.alias("child"), r.alias("root")
    of_child = child.c.retry_of == func.coalesce(r.c.retry_of, r.c.id)
    gone = [state.value for state in _DID_NOT_ARRIVE]
    repeated = select(child.c.id).where(of_child, child.c.status.not_in(gone)).exists()
    arrived = (
        select(root.c.id).where(root.c.id == r.c.retry_of, root.c.status.not_in(gone)).exists()
    )
    generations = select(func.count()).select_from(child).where(of_child).scalar_subquery()
    query = (
        select(r, b.c.created_at.label("stamp"), b.c.batch_key, generations.label("generations"))
        .join(b, b.c.id == r.c.batch_id)
        .where(r.c.job_id == job_id, r.c.status.in_([state.value for state in states]))
        .where(~repeated, ~arrived)
        .order_by(r.c.batch_id, r.c.id)
        .with_for_update()
    )
    if only is not None:
        query = query.where(r.c.id == only)
    return [
        FailedMail(
            root=row.retry_of or row.id,
            root_batch=_root_batch(row.recipient_data) or row.batch_key or "",
            generation=int(row.generations) + 1,
            stamp=row.stamp,
            email=row.email,
            role=row.role,
            userid=row.userid,
            source=row.source,
            source_id=row.source_id,
            source_stamp=row.source_stamp,
            mail_key=row.mail_key,
            message_id=row.message_id,
            data=row.recipient_data or "{}",
            secret=row.secret,
        )
        for row in tx.conn.execute(query)
    ]


def _root_batch(data: str | None) -> str:
    return str(json.loads(data or "{}").get("root_batch") or "")


def insert_child(
    tx: Transaction, database: Database, parent: JobRow, provider: str, mails: Sequence[FailedMail]
) -> int:
    """Open a closed job that repeats ``mails``; returns its id."""
    result = tx.conn.execute(
        insert(database.tables.jobs).values(
            type=parent.type,
            status="pending",
            company_id=parent.company_id,
            email_count=len(mails),
            copy_count=sum(mail.role != "user" for mail in mails),
            created_at=tx.now,
            closed_at=tx.now,
            timemodified=tx.now,
            source=parent.source,
            provider=provider,
            label=f"{parent.label}, again"[:255],
            parent_job_id=parent.id,
        )
    )
    return new_id(result)


def insert_batch(
    tx: Transaction,
    database: Database,
    job_id: int,
    number: int,
    provider: str,
    mails: Sequence[FailedMail],
) -> None:
    """Store mails of one stamp as a batch of a repeating job, due now."""
    batch_id = new_id(
        tx.conn.execute(
            insert(database.tables.batches).values(
                job_id=job_id,
                batch_num=number,
                status=Batch.PENDING.value,
                created_at=mails[0].stamp,
                provider=provider,
                email_count=len(mails),
                next_attempt_at=tx.now,
            )
        )
    )
    rows = [
        {
            "job_id": job_id,
            "batch_id": batch_id,
            "email": mail.email,
            "recipient_data": json.dumps(
                json.loads(mail.data)
                | {"generation": mail.generation, "root_batch": mail.root_batch},
                ensure_ascii=False,
            ),
            "secret": mail.secret,
            "status": Recipient.PENDING.value,
            "source": mail.source,
            "source_id": mail.source_id,
            "source_stamp": mail.source_stamp,
            "role": mail.role,
            "userid": mail.userid,
            "email_hash": capture_hash(
                mail.source,
                mail.source_id,
                mail.source_stamp,
                mail.role,
                mail.email,
                mail.generation,
            ),
            "mail_key": mail.mail_key,
            "message_id": mail.message_id,
            "retry_of": mail.root,
            "timemodified": tx.now,
        }
        for mail in mails
    ]
    tx.conn.execute(insert(database.tables.recipients), rows)
