"""Every mail to one person, over all jobs: "did Anna get her mail?"."""

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, func, or_, select

from sidecar.store.database import Database


@dataclass(frozen=True, slots=True)
class FoundMail:
    """A mail to a person. at: when its state last changed, Unix seconds; repeated_by: the job that
    asks for it again, 0 if none does; provider_id: what the provider calls it."""

    job_id: int
    job: str
    company_id: int
    provider: str
    email: str
    role: str
    subject: str
    status: str
    at: int
    tries: int
    provider_id: str
    error: str
    repeated_by: int


def mails_to(
    conn: Connection,
    database: Database,
    user_ids: Collection[int],
    addresses: Collection[str],
    limit: int = 50,
) -> list[FoundMail]:
    """Mails to these users or addresses, the newest first."""
    r, jobs, batches = database.tables.recipients, database.tables.jobs, database.tables.batches
    again = r.alias("again")
    repeated = select(func.max(again.c.job_id)).where(again.c.retry_of == r.c.id).scalar_subquery()
    people = or_(r.c.userid.in_(list(user_ids)), r.c.email.in_(list(addresses)))
    query = (
        select(r, jobs.c.label, jobs.c.company_id, batches.c.provider, repeated.label("repeated"))
        .join(jobs, jobs.c.id == r.c.job_id)
        .join(batches, batches.c.id == r.c.batch_id)
        .where(people)
        .order_by(r.c.id.desc())
        .limit(limit)
    )
    return [
        FoundMail(
            job_id=row.job_id,
            job=row.label,
            company_id=row.company_id,
            provider=row.provider,
            email=row.email,
            role=row.role,
            subject=str(json.loads(row.recipient_data or "{}").get("subject", "")),
            status=row.status,
            at=row.sent_at or row.timemodified,
            tries=row.tries,
            provider_id=row.message_id,
            error=row.error_message or "",
            repeated_by=row.repeated or 0,
        )
        for row in conn.execute(query)
    ]
