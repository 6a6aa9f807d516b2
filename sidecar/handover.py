"""How a due batch passes to a connector: taken, re-checked, rendered, and what is noted after.

Two ways: a connector that learns outcomes at once (smtp) has only what it is sending; one that
learns them later has a batch until its results come, and is asked again if they do not.
"""

import logging
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sidecar import jobs
from sidecar.connectors.base import Connector, Submission
from sidecar.jobs import Dropped, Prepared, Source
from sidecar.lifecycle import SILENT_ASKS, Recipient, retry_at
from sidecar.mail import Address, Mail, MailBatch, Outcome
from sidecar.recorder import Recorder
from sidecar.store import asks, queue, results
from sidecar.store.companies import Company
from sidecar.store.database import Database, Transaction
from sidecar.store.queue import DueBatch, PendingMail
from sidecar.store.site import Lease

log = logging.getLogger(__name__)

ASKABLE = (Recipient.PENDING, Recipient.RETRY_PENDING)


class Handover(Protocol):
    """One way of handing batches over. All raise DatabaseError and LeaseLostError."""

    def prepare(self, batch: DueBatch, connector: Connector, company: Company) -> MailBatch | None:
        """Take a batch and make ready what of it can leave now; None if nothing can."""

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
            prepared = self.sources[batch.source].prepare(conn, batch, waiting)
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
            results.apply_outcomes(tx, self.database, outcomes)
        self.recorder.touch([batch.id])

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
        mails = desk.render(batch, ripe).mails
        if not mails:
            self._reschedule(batch.id)
            return None
        return _ready(batch, key, mails, now)

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
                queue.set_due(tx, desk.database, batch_id, max(due, tx.now))
        desk.recorder.touch([batch_id])


class Later:
    """For a connector that learns outcomes later.

    result_timeout: seconds after which a batch without results counts as silent. batch_size: the
    most mails of a message.
    """

    def __init__(self, desk: Desk, result_timeout: float, batch_size: int) -> None:
        self._desk = desk
        self._timeout = result_timeout
        self._batch_size = batch_size
        self._asked: dict[int, frozenset[int]] = {}
        self._silent: set[int] = set()

    def prepare(self, batch: DueBatch, connector: Connector, company: Company) -> MailBatch | None:
        """``Handover.prepare``; a batch that was never submitted may be split to fit."""
        desk, database = self._desk, self._desk.database
        states = self._states_to_ask(batch, connector)
        key = batch.batch_key or secrets.token_hex(16)
        with database.write(desk.lease.token) as tx:
            due, now = self._silent_at(batch, tx.now), tx.now
            if not states or not asks.take_batch(tx, database, batch, key, connector.name, due):
                self._forget(batch.id)
                return None
        with database.read() as conn:
            waiting = queue.waiting_mails(conn, database, batch.id, states)
            prepared = desk.sources[batch.source].prepare(conn, batch, waiting)
        askable = {mail.id for mail in waiting if mail.status in ASKABLE}
        desk.drop(batch, [d for d in prepared.dropped if d.mail_id in askable])
        mails = [_from_company(mail, company) for mail in prepared.mails]
        mails = list(self._fit(batch, connector, company, waiting, mails))
        if not mails:
            self._nothing_left(batch)
            return None
        with database.write(desk.lease.token) as tx:
            leaving, new = asks.mark_asked(tx, database, batch.id, {mail.id for mail in mails})
        mails = [mail for mail in mails if mail.id in leaving]
        if not mails:
            self._nothing_left(batch)
            return None
        self._asked[batch.id] = new
        return _ready(batch, key, mails, now)

    def accept(self, batch: DueBatch, submission: Submission) -> None:
        """``Handover.accept``: its mails are the provider's until their results come."""
        desk = self._desk
        silent = batch.id in self._silent
        with desk.database.write(desk.lease.token) as tx:
            due = self._silent_at(batch, tx.now)
            asks.accept(tx, desk.database, batch.id, submission.provider_id, due)
            if silent:
                asks.count_silence(tx, desk.database, batch.id)
        self._forget(batch.id)
        desk.recorder.touch([batch.id])

    def refuse(self, batch: DueBatch, wait: int, reason: str) -> None:
        """``Handover.refuse``: what left with this ask is where it was before."""
        desk = self._desk
        with desk.database.write(desk.lease.token) as tx:
            asks.take_back(tx, desk.database, batch.id, self._asked.get(batch.id, ()))
            queue.put_back(tx, desk.database, [batch.id], tx.now + wait, reason)
        self._forget(batch.id)
        desk.recorder.touch([batch.id])

    def recover(self, batch_ids: Collection[int] | None) -> None:
        """Batches caught between two states: those that may be out count as accepted.

        batch_ids: only these; None: all.
        """
        desk = self._desk
        with desk.database.write(desk.lease.token) as tx:
            due = tx.now + int(self._timeout)
            number = asks.recover_uncertain(tx, desk.database, due, batch_ids)
        for batch_id in batch_ids or ():
            self._forget(batch_id)
        if number:
            log.warning("%d batches may have reached their provider: it will say", number)

    def _states_to_ask(self, batch: DueBatch, connector: Connector) -> tuple[Recipient, ...]:
        """Mails in which states to ask for now; with none, the batch waits on."""
        if batch.never_submitted:
            return ASKABLE
        desk, database = self._desk, self._desk.database
        with database.read() as conn:
            timed_out = (batch.queued_at or 0) + self._timeout <= database.now(conn)
            silent = queue.waiting_mails(conn, database, batch.id, (Recipient.PROCESSING,))
            passed = asks.has_passed(conn, database, batch)
        if not silent or not timed_out:
            return ASKABLE
        if not passed and connector.depth():
            with database.write(desk.lease.token) as tx:
                queue.set_due(tx, database, batch.id, tx.now + int(self._timeout))
            return ()
        if batch.silent_asks + 1 < SILENT_ASKS:
            self._silent.add(batch.id)
            log.warning("job %d batch %d: no result in time, asking again", batch.job_id, batch.id)
            return (*ASKABLE, Recipient.PROCESSING)
        reason = f"the provider said nothing, asked {SILENT_ASKS} times"
        with database.write(desk.lease.token) as tx:
            number = asks.end_silent(tx, database, batch.id, reason)
        log.warning("job %d batch %d: %d mails: %s", batch.job_id, batch.id, number, reason)
        desk.recorder.touch([batch.id])
        return ASKABLE

    def _silent_at(self, batch: DueBatch, now: int) -> int:
        silent_asks = batch.silent_asks + (batch.id in self._silent)
        return now + int(self._timeout * 2**silent_asks)

    def _fit(
        self,
        batch: DueBatch,
        connector: Connector,
        company: Company,
        waiting: Sequence[PendingMail],
        mails: Sequence[Mail],
    ) -> Sequence[Mail]:
        """The mails of one message; the rest goes to other batches, by SMTP or back to Moodle."""
        packed = connector.pack(mails, self._batch_size)
        if len(packed.groups) == 1 and not packed.too_large:
            return packed.groups[0]
        if not batch.never_submitted:  # its membership is fixed: what does not fit waits
            return packed.groups[0] if packed.groups else ()
        row_of = {mail.id: mail.source_id for mail in waiting}
        large_rows = {row_of[mail.id] for mail in packed.too_large}
        large = {mail.id for mail in mails if row_of[mail.id] in large_rows}
        kept = [[mail for mail in group if mail.id not in large] for group in packed.groups]
        groups = [group for group in kept if group]
        desk, database = self._desk, self._desk.database
        with database.write(desk.lease.token) as tx:
            if large:
                rest = self._give_back(tx, batch, company, large_rows, large)
                if rest and groups:
                    _split_off(tx, database, batch, [rest], "smtp")
                elif rest:
                    asks.send_by_smtp(tx, database, [batch.id])
            others = [[mail.id for mail in group] for group in groups[1:]]
            _split_off(tx, database, batch, others, batch.provider)
        return groups[0] if groups else ()

    def _give_back(
        self,
        tx: Transaction,
        batch: DueBatch,
        company: Company,
        rows: Collection[int],
        mails: Collection[int],
    ) -> set[int]:
        """Mails too large for the provider: Moodle's again, but for those that go by SMTP.

        Those are the mails of rows that cannot go back, or all, if the company says so.
        """
        reason = f"too large for {company.provider}"
        returned: set[int] = set()
        if company.fallback != "smtp":
            source = self._desk.sources[batch.source]
            text = f"{reason}: Moodle sends it"
            returned = jobs.return_rows(tx, self._desk.database, source, batch, rows, text)
        rest = set(mails) - returned
        log.warning(
            "job %d: %s: %d mails go back to Moodle, %d by SMTP",
            batch.job_id, reason, len(returned), len(rest),
        )  # fmt: skip
        return rest

    def _nothing_left(self, batch: DueBatch) -> None:
        """Nothing of the batch leaves now: it has ended, waits for results, or goes another way."""
        desk = self._desk
        with desk.database.write(desk.lease.token) as tx:
            queue.put_back(tx, desk.database, [batch.id], tx.now, "")
            if not batch.never_submitted:
                due = self._silent_at(batch, tx.now)
                queue.set_due(tx, desk.database, batch.id, due)
            results.refresh_batches(tx, desk.database, [batch.id])
        self._forget(batch.id)
        desk.recorder.touch([batch.id])

    def _forget(self, batch_id: int) -> None:
        self._asked.pop(batch_id, None)
        self._silent.discard(batch_id)


def _split_off(
    tx: Transaction,
    database: Database,
    batch: DueBatch,
    groups: Sequence[Collection[int]],
    provider: str,
) -> None:
    if groups:
        asks.split_off(tx, database, batch.id, batch.job_id, batch.created_at, groups, provider)


def _ready(batch: DueBatch, key: str, mails: Sequence[Mail], now: int) -> MailBatch:
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
    )


def _from_company(mail: Mail, company: Company) -> Mail:
    """The mail with the sender that the provider has verified; answers go where they went."""
    if not company.ses_sender_email:
        return mail
    sender = Address(company.ses_sender_email, company.sender_name or mail.sender.name)
    return replace(mail, sender=sender, reply_to=mail.reply_to or mail.sender.email)
