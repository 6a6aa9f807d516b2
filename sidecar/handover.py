"""How a due batch passes to a connector: taken, re-checked, rendered, and what is noted after.

Two ways: a connector that learns outcomes at once (smtp) has only what it is sending; one that
learns them later has a batch until its results come, and is asked again if they do not.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sidecar import jobs
from sidecar.connectors.base import Connector, Submission
from sidecar.jobs import Dropped, Prepared, Source
from sidecar.lifecycle import retry_at
from sidecar.mail import Mail, MailBatch, Outcome, PackedMails
from sidecar.recorder import Recorder
from sidecar.store import queue, results
from sidecar.store.companies import Company
from sidecar.store.database import Database
from sidecar.store.outcomes import apply_outcomes
from sidecar.store.queue import DueBatch, PendingMail
from sidecar.store.site import Lease


class Handover(Protocol):
    """One way of handing batches over. All raise DatabaseError and LeaseLostError."""

    def prepare(
        self, batch: DueBatch, connector: Connector, company: Company, most: int | None = None
    ) -> MailBatch | None:
        """Take a batch and make ready what of it can leave now; None if nothing can.

        most: so many mails at most; the rest waits.
        """

    def accept(self, batch: DueBatch, submission: Submission) -> None:
        """The connector has it, or may have it."""

    def refuse(self, batch: DueBatch, wait: int, reason: str) -> None:
        """The connector definitely has it not; it waits so many seconds."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What both ways work with."""

    database: Database
    lease: Lease
    recorder: Recorder
    sources: Mapping[str, Source]

    def render(self, batch: DueBatch, waiting: Sequence[PendingMail]) -> Prepared:
        """Re-check and render; what is not sent after all is written down."""
        with self.database.read() as conn:
            source = self.sources[batch.source]
            prepared = jobs.prepare(conn, self.database, source, batch, waiting)
        self.drop(batch, prepared.dropped)
        return prepared

    def drop(self, batch: DueBatch, dropped: Sequence[Dropped]) -> None:
        """Write down what is not sent after all."""
        if not dropped:
            return
        outcomes = [
            Outcome(d.mail_id, batch.id, d.status, d.code, d.reason, counted=False) for d in dropped
        ]
        with self.database.write(self.lease.token) as tx:
            apply_outcomes(tx, self.database, outcomes)
        self.recorder.touch([batch.id])
        self.recorder.dropped(batch.company_id, batch.provider, outcomes)

    def put_back(self, batch_ids: Sequence[int], wait: int, reason: str) -> None:
        """These batches wait so many seconds, for a reason that the admin sees."""
        with self.database.write(self.lease.token) as tx:
            queue.put_back(tx, self.database, batch_ids, tx.now + wait, reason)
        self.recorder.touch(batch_ids)


class AtOnce:
    """For a connector that learns outcomes at once: no mail is with it but those it sends."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def prepare(
        self,
        batch: DueBatch,
        connector: Connector,
        company: Company,  # noqa: ARG002 - as the protocol says
        most: int | None = None,
    ) -> MailBatch | None:
        """``Handover.prepare``; mails whose next try is not due yet stay."""
        desk, key = self._desk, batch.batch_key or secrets.token_hex(16)
        with desk.database.write(desk.lease.token) as tx:
            if not queue.take_batch(tx, desk.database, batch, key, connector.name):
                return None
            now = tx.now
        with desk.database.read() as conn:
            waiting = queue.waiting_mails(conn, desk.database, batch.id)
        ripe = [mail for mail in waiting if retry_at(mail.tries, mail.last_try) <= now]
        mails = desk.render(batch, ripe[:most]).mails
        if not mails:
            self._reschedule(batch.id)
            return None
        return ready(batch, key, now, mails)

    def accept(self, batch: DueBatch, submission: Submission) -> None:  # noqa: ARG002
        """``Handover.accept``: every mail has its outcome; some may be due again."""
        self._reschedule(batch.id)

    def refuse(self, batch: DueBatch, wait: int, reason: str) -> None:
        """``Handover.refuse``."""
        self._desk.put_back([batch.id], wait, reason)

    def _reschedule(self, batch_id: int) -> None:
        """Recompute a batch; what of it still waits is due when its first mail is."""
        desk = self._desk
        with desk.database.write(desk.lease.token) as tx:
            results.refresh_batches(tx, desk.database, [batch_id])
            waiting = queue.waiting_mails(tx.conn, desk.database, batch_id)
            if waiting:
                due = min(retry_at(mail.tries, mail.last_try) for mail in waiting)
                # Taken back from another provider, its mails may rest before their first try here.
                queue.put_back(tx, desk.database, [batch_id], max(due, tx.now), "")
        desk.recorder.touch([batch_id])


def ready(
    batch: DueBatch,
    key: str,
    now: int,
    mails: Sequence[Mail] = (),
    packed: PackedMails | None = None,
) -> MailBatch:
    """The batch as it leaves with the ask that begins at ``now``, Unix seconds."""
    return MailBatch(
        id=batch.id,
        batch_key=key,
        job_id=batch.job_id,
        company_id=batch.company_id,
        attempt=batch.attempt + 1,
        mails=tuple(mails),
        job_type=batch.job_type,
        batch_num=batch.batch_num,
        first_issued_at=batch.first_issued_at or now,
        packed=packed,
    )
