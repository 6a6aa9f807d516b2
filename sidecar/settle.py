"""Results become the truth in the tables: batches and jobs follow their recipients."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from sidecar.lifecycle import ASK_AGAIN, TOLD_LATER, Recipient, report_applies
from sidecar.message import BatchResult, BatchStatus, MailResult, MailStatus
from sidecar.store import reports, results
from sidecar.store.database import Database, Transaction
from sidecar.store.reports import Change, KnownMail, ReportedBatch
from sidecar.store.site import Lease

log = logging.getLogger(__name__)

SOONEST, LATEST = 60, 86_400
"""Bounds of how far in the future a provider may ask to be asked again, seconds."""


_FINAL = {
    MailStatus.SENT: Recipient.SENT,
    MailStatus.PERMANENTLY_FAILED: Recipient.PERMANENTLY_FAILED,
    MailStatus.UNKNOWN: Recipient.UNKNOWN,
    MailStatus.REVOKED: Recipient.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Applied:
    """What a report did. after_all: mails that were sent though cancelled or handed back."""

    changed: int
    strangers: int
    after_all: int
    ended: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """State and code of each mail that has a new one."""


def apply_result(
    tx: Transaction, database: Database, batch: ReportedBatch, result: BatchResult
) -> Applied:
    """Write what a report says of a batch's mails; repeated or late ones change nothing more.

    One that tells of none of them is no news: the batch stays as silent as it was.
    """
    said = {mail.mail_key: mail for mail in result.recipients}
    known = reports.known_mails(tx, database, batch, said)
    changes: list[Change] = []
    dues: dict[int, int] = {}
    after_all = 0
    for mail_key, mail in known.items():
        change, due = judge(said[mail_key], mail, tx.now)
        if mail.error_code in TOLD_LATER or not report_applies(mail.status, change.status):
            continue
        changes.append(change)
        if due:
            dues[mail.id] = due
        if mail.status in (Recipient.CANCELLED, Recipient.RETURNED):
            after_all += 1
            log.error(
                "job %d: mail %d was sent although it is %s", batch.job_id, mail.id, mail.status
            )
    if result.status is BatchStatus.REFUSED and not said:
        changes += _refused(tx, database, batch, result)
    reports.apply_changes(tx, database, changes)
    if known:
        reports.hear(tx, database, batch.id, min(dues.values(), default=None), dues)
    ended = tuple((change.status.value, change.code) for change in changes)
    return Applied(len(changes), len(said) - len(known), after_all, ended)


def _refused(
    tx: Transaction, database: Database, batch: ReportedBatch, result: BatchResult
) -> list[Change]:
    """The worker will not work on this message at all: what it was asked for has failed."""
    why = result.errors[0] if result.errors else "the worker refused the batch"
    log.error("job %d batch %d: refused by the worker: %s", batch.job_id, batch.id, why)
    asked = reports.mails_at_provider(tx, database, batch.id)
    return [Change(mail_id, Recipient.FAILED, "refused", why) for mail_id in asked]


def judge(said: MailResult, mail: KnownMail, now: int) -> tuple[Change, int]:
    """What a report makes of a mail, and when the provider is to be asked again (0: never).

    now: Unix seconds, as the second value.
    """
    status, due = _FINAL.get(said.status, Recipient.RETRY_PENDING), 0
    if said.status is MailStatus.DEFERRED:
        due = min(max(said.not_before, now + SOONEST), now + LATEST)
    elif said.status is MailStatus.FAILED:
        asked = max(mail.tries, 1)
        if said.retryable and asked <= len(ASK_AGAIN):
            due = max(now + ASK_AGAIN[asked - 1], min(said.not_before, now + LATEST))
        else:
            status = Recipient.FAILED
    tried = said.status is not MailStatus.DEFERRED
    return Change(mail.id, status, said.error_code, said.error, said.message_id, tried), due


def refresh(database: Database, lease: Lease, batch_ids: Collection[int]) -> None:
    """Recompute the counters and states of batches and of their jobs, and of what they repeat."""
    ordered = sorted(batch_ids)
    for start in range(0, len(ordered), 200):
        page = ordered[start : start + 200]
        with database.write(lease.token) as tx:
            roots = results.settle_roots(tx, database, page)
            every = sorted({*page, *roots})
            results.refresh_batches(tx, database, every)
            results.refresh_jobs(tx, database, results.jobs_of(tx.conn, database, every))
