"""Queries of the claiming transaction: jobs that take mail, their batches and recipients."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, Text, bindparam, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine

from sidecar.lifecycle import Recipient
from sidecar.store.database import Database, Transaction, new_id
from sidecar.store.listed import listed, rows_json
from sidecar.store.prepared import Prepared

_NEW: Mapping[str, TypeEngine[Any]] = {
    # Texts as they are: it is the insertion that says what does not fit.
    "email": Text(),
    "recipient_data": Text(),
    "secret": Text(),
    "status": Text(),
    "error_code": Text(),
    "error_message": Text(),
    "source_id": BigInteger(),
    "source_stamp": BigInteger(),
    "role": Text(),
    "userid": BigInteger(),
    "email_hash": Text(),
    "mail_key": Text(),
    "message_id": Text(),
}
"""What differs between the recipients of a batch, in the order in which it is listed."""


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that mail may still join.

    rows: queue rows in it; last_joined, opened: Unix seconds.
    """

    id: int
    source: str
    type: str
    company_id: int
    rows: int
    last_joined: int
    batches: int
    opened: int


class NewRecipient(NamedTuple):
    """A mail about to be captured; bad addresses come with their final status and reason.

    secret: what the mail needs and no table may show, encrypted.
    """

    role: str
    email: str
    userid: int
    email_hash: str
    mail_key: str
    message_id: str
    data: Mapping[str, object] = MappingProxyType({})
    status: Recipient = Recipient.PENDING
    error_code: str = ""
    error: str = ""
    secret: str | None = None


class CapturedRow(NamedTuple):
    """A queue row with all its mails."""

    source_id: int
    source_stamp: int
    recipients: tuple[NewRecipient, ...]


def open_jobs(conn: Connection, database: Database, source: str) -> list[OpenJob]:
    """Jobs of a source that are not closed."""
    return _open_jobs(conn, database, database.tables.jobs.c.source == source)


def open_job(
    conn: Connection, database: Database, source: str, job_type: str, company_id: int
) -> OpenJob | None:
    """The job of a source that mail of this type and company joins, if there is one."""
    jobs = database.tables.jobs
    theirs = (jobs.c.source == source) & (jobs.c.type == job_type)
    return next(iter(_open_jobs(conn, database, theirs & (jobs.c.company_id == company_id))), None)


def _open_jobs(conn: Connection, database: Database, which: ColumnElement[bool]) -> list[OpenJob]:
    jobs, batches = database.tables.jobs, database.tables.batches
    query = (
        select(
            jobs.c.id,
            jobs.c.type,
            jobs.c.company_id,
            (jobs.c.email_count - jobs.c.copy_count).label("rows"),
            func.coalesce(func.max(batches.c.created_at), jobs.c.created_at).label("last_joined"),
            func.count(batches.c.id).label("batches"),
            jobs.c.created_at,
            jobs.c.source,
        )
        .select_from(jobs.outerjoin(batches, batches.c.job_id == jobs.c.id))
        .where(jobs.c.closed_at.is_(None), which)
        .group_by(
            jobs.c.id,
            jobs.c.type,
            jobs.c.company_id,
            jobs.c.email_count,
            jobs.c.copy_count,
            jobs.c.created_at,
            jobs.c.source,
        )
    )
    return [
        OpenJob(
            id=r.id,
            source=r.source,
            type=r.type,
            company_id=r.company_id,
            rows=int(r.rows),
            last_joined=int(r.last_joined),
            batches=r.batches,
            opened=r.created_at,
        )
        for r in conn.execute(query)
    ]


def known_rows(
    conn: Connection, database: Database, source: str, keys: Collection[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Which (source_id, source_stamp) were captured before: those are Moodle's now."""
    if not keys:
        return set()
    r = database.tables.recipients
    query = (
        select(r.c.source_id, r.c.source_stamp)
        .where(r.c.source == source, r.c.source_id.in_({source_id for source_id, _ in keys}))
        .distinct()
    )
    return {(row.source_id, row.source_stamp) for row in conn.execute(query)} & set(keys)


def insert_job(
    tx: Transaction,
    database: Database,
    *,
    source: str,
    job_type: str,
    company_id: int,
    provider: str,
    label: str,
    created_by: int = 0,
    error: str | None = None,
    closed: bool = False,
) -> int:
    """Open a job; returns its id.

    created_by: the user who asked for it; error: what keeps it from being sent; closed: no mail
    but what the caller captures now joins it.
    """
    result = tx.conn.execute(
        insert(database.tables.jobs).values(
            type=job_type,
            status="pending",
            company_id=company_id,
            created_at=tx.now,
            timemodified=tx.now,
            source=source,
            provider=provider,
            label=label[:255],
            created_by=created_by,
            error_log=error,
            closed_at=tx.now if closed else None,
        )
    )
    return new_id(result)


def insert_batch(
    tx: Transaction,
    database: Database,
    *,
    job_id: int,
    batch_num: int,
    provider: str,
    stamp: int,
    due: int,
    source: str,
    rows: Sequence[CapturedRow],
) -> int:
    """Store a batch of whole rows; returns its id.

    stamp: what the claim wrote into Moodle's queue; it becomes ``created_at``, so that a row can
    be recognised as still ours. due: when the batch may leave, Unix seconds.
    """
    count = sum(len(row.recipients) for row in rows)
    batch_id = new_id(
        tx.conn.execute(
            insert(database.tables.batches).values(
                job_id=job_id,
                batch_num=batch_num,
                status="pending",
                created_at=stamp,
                provider=provider,
                email_count=count,
                next_attempt_at=due,
            )
        )
    )
    new = [
        (
            recipient.email[:255],
            json.dumps(dict(recipient.data), ensure_ascii=False),
            recipient.secret,
            recipient.status.value,
            recipient.error_code,
            recipient.error or None,
            row.source_id,
            row.source_stamp,
            recipient.role,
            recipient.userid,
            recipient.email_hash,
            recipient.mail_key,
            recipient.message_id,
        )
        for row in rows
        for recipient in row.recipients
    ]
    _insert_recipients(database).run(
        tx.conn,
        new=rows_json(new),
        job_id=job_id,
        batch_id=batch_id,
        source=source,
        now=tx.now,
    )
    return batch_id


@lru_cache(maxsize=16)
def _insert_recipients(database: Database) -> Prepared:
    """Inserts the rows of ``new``; parameters: new, job_id, batch_id, source, now.

    The database has been connected to.
    """
    r = database.tables.recipients
    new = listed("new", **_NEW)
    shared = {"job_id": "job_id", "batch_id": "batch_id", "source": "source", "timemodified": "now"}
    values = [bindparam(name, type_=r.c[column].type) for column, name in shared.items()]
    chosen = select(*values, *(new.c[name] for name in _NEW))
    return Prepared(insert(r).from_select([*shared, *_NEW], chosen), database.engine.dialect)


def count_captured(
    tx: Transaction, database: Database, job_id: int, emails: int, copies: int
) -> None:
    """Add captured mails to a job's totals; the claim holds the job's row lock."""
    jobs = database.tables.jobs
    tx.conn.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            email_count=jobs.c.email_count + emails,
            copy_count=jobs.c.copy_count + copies,
            timemodified=tx.now,
        )
    )


def close_jobs(tx: Transaction, database: Database, job_ids: Collection[int]) -> None:
    """No more mail joins these jobs."""
    jobs = database.tables.jobs
    tx.conn.execute(
        update(jobs)
        .where(jobs.c.id.in_(list(job_ids)), jobs.c.closed_at.is_(None))
        .values(closed_at=tx.now, timemodified=tx.now)
    )
