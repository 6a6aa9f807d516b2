"""Results become the truth in the tables: batches and jobs follow their recipients."""

import logging
from collections.abc import Collection, Mapping, Sequence
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


Report = tuple[ReportedBatch, BatchResult]


def apply_results(tx: Transaction, database: Database, told: Sequence[Report]) -> list[Applied]:
    """Write what reports say of their batches' mails; repeated or late ones change nothing more.

    told: of each batch one report at most. What each of them did, in order. A report that tells of
    none of its batch's mails is no news: the batch stays as silent as it was.
    """
    said = {batch: {mail.mail_key: mail for mail in result.recipients} for batch, result in told}
    known = reports.known_mails(tx, database, said)
    judged = [_judge_all(batch, said[batch], known[batch.id], tx.now) for batch, _ in told]
    for (batch, result), each in zip(told, judged, strict=True):
        if result.status is BatchStatus.REFUSED and not said[batch]:
            each.changes += _refused(tx, database, batch, result)
    reports.apply_changes(tx, database, [change for each in judged for change in each.changes])
    heard = []
    for (batch, _), each in zip(told, judged, strict=True):
        if each.dues:
            reports.hear_later(tx, database, batch.id, min(each.dues.values()), each.dues)
        elif known[batch.id]:
            heard.append(batch.id)
    if heard:
        reports.hear(tx, database, heard)
    return [
        Applied(
            changed=len(each.changes),
            strangers=len(said[batch]) - len(known[batch.id]),
            after_all=each.after_all,
            ended=tuple((change.status.value, change.code) for change in each.changes),
        )
        for (batch, _), each in zip(told, judged, strict=True)
    ]


@dataclass(slots=True)
class _Judged:
    """dues: when to ask again for a mail, Unix seconds. after_all: as ``Applied``."""

    changes: list[Change] = field(default_factory=list)
    dues: dict[int, int] = field(default_factory=dict)
    after_all: int = 0


def _judge_all(
    batch: ReportedBatch,
    said: Mapping[str, MailResult],
    known: Mapping[str, KnownMail],
    now: int,
) -> _Judged:
    judged = _Judged()
    for mail_key, mail in known.items():
        change, due = judge(said[mail_key], mail, now)
        if mail.error_code in TOLD_LATER or not report_applies(mail.status, change.status):
            continue
        judged.changes.append(change)
        if due:
            judged.dues[mail.id] = due
        if mail.status in (Recipient.CANCELLED, Recipient.RETURNED):
            judged.after_all += 1
            log.error(
                "job %d: mail %d was sent although it is %s", batch.job_id, mail.id, mail.status
            )
    return judged


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
