"""Queries on what providers learn of mails after they took them: bounces, complaints, arrivals."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, case, func, or_, select, update

from sidecar.lifecycle import BOUNCED, COMPLAINED, Recipient
from sidecar.store.database import Database, Transaction

RATED_MAILS = 1000
"""Over how many of a company's mails, the last ones, its rates are taken."""
JOBS_LOOKED_AT = 200

_UNSETTLED = (Recipient.PROCESSING.value, Recipient.UNKNOWN.value)
_OVERTAKEN = (
    *_UNSETTLED,
    Recipient.SENT.value,
    Recipient.FAILED.value,
    Recipient.RETRY_PENDING.value,
)
"""States that a bounce ends. A report of the worker may still be on its way."""


@dataclass(frozen=True, slots=True)
class ToldMail:
    """A mail of ours that feedback is about; of a repeated one, each repetition is one."""

    id: int
    batch_id: int
    job_id: int
    company_id: int
    provider: str
    email: str
    status: str
    error_code: str


@dataclass(frozen=True, slots=True)
class Rates:
    """Of a company's last mails: how many those are, and how many of them came to grief."""

    mails: int = 0
    bounced: int = 0
    complained: int = 0

    @property
    def bounce_rate(self) -> float:
        """From 0 to 1."""
        return self.bounced / self.mails if self.mails else 0.0

    @property
    def complaint_rate(self) -> float:
        """From 0 to 1."""
        return self.complained / self.mails if self.mails else 0.0


def find(
    conn: Connection, database: Database, *, mail_key: str, address: str, message_id: str
) -> list[ToldMail]:
    """The mails that are meant: by their key, else by address and the provider's name for them."""
    r, b, jobs = database.tables.recipients, database.tables.batches, database.tables.jobs
    meant = r.c.mail_key == mail_key
    if not mail_key:
        meant = (r.c.email == address) & (r.c.message_id == message_id)
    query = (
        select(
            r.c.id,
            r.c.batch_id,
            r.c.job_id,
            jobs.c.company_id,
            b.c.provider,
            r.c.email,
            r.c.status,
            r.c.error_code,
        )
        .join(b, b.c.id == r.c.batch_id)
        .join(jobs, jobs.c.id == r.c.job_id)
        .where(meant)
        .order_by(r.c.id)
        .limit(50)
    )
    return [ToldMail(*row) for row in conn.execute(query)]


def bounce(
    tx: Transaction, database: Database, mail_ids: Collection[int], code: str, text: str
) -> int:
    """These mails did not arrive, or were not wanted; returns how many that changed.

    A complaint outranks a bounce (DESIGN §5); neither is taken back.
    """
    r = database.tables.recipients
    outranked = r.c.status == Recipient.PERMANENTLY_FAILED.value
    stronger = (BOUNCED, COMPLAINED) if code == BOUNCED else (COMPLAINED,)
    outranked &= r.c.error_code.not_in(stronger)
    return tx.conn.execute(
        update(r)
        .where(r.c.id.in_(list(mail_ids)), or_(r.c.status.in_(_OVERTAKEN), outranked))
        .values(
            status=Recipient.PERMANENTLY_FAILED.value,
            error_code=code,
            error_message=text or None,
            secret=None,
            sent_at=func.coalesce(r.c.sent_at, tx.now),
            timemodified=tx.now,
        )
    ).rowcount


def deliver(tx: Transaction, database: Database, mail_ids: Collection[int], message_id: str) -> int:
    """These mails arrived; those of which that was not known are sent. Returns how many."""
    r = database.tables.recipients
    return tx.conn.execute(
        update(r)
        .where(r.c.id.in_(list(mail_ids)), r.c.status.in_(_UNSETTLED))
        .values(
            status=Recipient.SENT.value,
            sent_at=func.coalesce(r.c.sent_at, tx.now),
            message_id=message_id,
            error_code="",
            error_message=None,
            secret=None,
            timemodified=tx.now,
        )
    ).rowcount


def rates(conn: Connection, database: Database, company_id: int, since: int) -> Rates:
    """Of the last mails of a company that a cloud took, those after ``since``, Unix seconds."""
    jobs, r = database.tables.jobs, database.tables.recipients
    newest = conn.execute(
        select(jobs.c.id, jobs.c.emails_sent)
        .where(jobs.c.company_id == company_id, jobs.c.provider.not_in(("", "smtp")))
        .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
        .limit(JOBS_LOOKED_AT)
    )
    job_ids: list[int] = []
    enough = 0
    for row in newest:
        job_ids.append(row.id)
        enough += row.emails_sent
        if enough >= RATED_MAILS:
            break
    took = (r.c.status == Recipient.SENT.value) | (
        (r.c.status == Recipient.PERMANENTLY_FAILED.value)
        & r.c.error_code.in_((BOUNCED, COMPLAINED))
    )
    last = (
        select(r.c.error_code)
        .where(r.c.job_id.in_(job_ids), took, r.c.sent_at > since, r.c.retry_of.is_(None))
        .order_by(r.c.id.desc())
        .limit(RATED_MAILS)
        .subquery()
    )

    def how_many(code: str):  # type: ignore[no-untyped-def]
        return func.coalesce(func.sum(case((last.c.error_code == code, 1), else_=0)), 0)

    counts = select(func.count(), how_many(BOUNCED), how_many(COMPLAINED)).select_from(last)
    return Rates(*map(int, conn.execute(counts).one()))
