"""Handing batches to a connector that learns outcomes later: it has a batch until its results come,
and is asked again if they do not."""

import logging
import secrets
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import chain

from sidecar import jobs
from sidecar.connectors.base import Connector, Submission
from sidecar.errors import SidecarError
from sidecar.handover import Desk, ready
from sidecar.lifecycle import SILENT_ASKS, Recipient
from sidecar.mail import MailBatch
from sidecar.render import ASKABLE, Elsewhere, Rendered, Task, render
from sidecar.store import asks, queue, results
from sidecar.store.companies import Company
from sidecar.store.database import Database, Transaction
from sidecar.store.queue import DueBatch

log = logging.getLogger(__name__)

AHEAD_SECONDS = 5.0
"""For how long what was rendered ahead may be used: later the queue row, its user, a suppression or
a diversion may have changed."""


class Later:
    """For a connector that learns outcomes later.

    result_timeout: seconds after which a batch without results counts as silent. batch_size: the
    most mails of a message. elsewhere: renders a batch where it does not hold us up.
    """

    def __init__(
        self,
        desk: Desk,
        result_timeout: float,
        batch_size: int,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._desk = desk
        self._timeout = result_timeout
        self._batch_size = batch_size
        self._elsewhere = elsewhere
        self._ahead: dict[int, _Ahead] = {}
        self._asked: dict[int, frozenset[int]] = {}
        self._silent: set[int] = set()

    def expect(
        self, batch: DueBatch, connector: Connector, company: Company, *, start: bool
    ) -> None:
        """A batch will be prepared soon: have it rendered meanwhile, if that is possible.

        start: so much waits that it is worth to make it possible. Until it is, batches are rendered
        here: none waits for that.
        """
        there = self._elsewhere
        now = time.monotonic()
        for batch_id, ahead in list(self._ahead.items()):
            if ahead.too_old(now):  # it was paused, or its lane has ended
                self._ahead.pop(batch_id, None)
        if there is None or batch.id in self._ahead or not batch.never_submitted:
            return
        if not there.running:
            if start:
                there.start()
        else:
            task = self._task(batch, connector, company, ASKABLE)
            self._ahead[batch.id] = _Ahead(task, there.render(task), now)

    def prepare(
        self, batch: DueBatch, connector: Connector, company: Company, most: int | None = None
    ) -> MailBatch | None:
        """``Handover.prepare``; a batch that was never submitted may be split to fit.

        None also if mails were cancelled or handed back meanwhile: it is due again at once.
        """
        desk, database = self._desk, self._desk.database
        states = self._states_to_ask(batch, connector)
        if not states:
            self._forget(batch.id)
            return None
        task = self._task(batch, connector, company, states)
        if most is not None:
            task = replace(task, batch_size=min(most, task.batch_size))
        task, rendered = self._rendered(task)
        desk.drop(batch, rendered.dropped)
        chosen = self._fit(batch, company, rendered, task.batch_size)
        if not chosen:
            self._nothing_left(batch)
            return None
        if rendered.first is None or rendered.first.ids != chosen:
            self._forget(batch.id)
            return None  # split off: what is left of it is rendered again
        with database.write(desk.lease.token) as tx:
            leaving, new = asks.lock_mails(tx, database, batch.id, chosen)
            due, now = self._silent_at(batch, tx.now), tx.now
            key, name = task.batch_key, connector.name
            taken = leaving == set(chosen) and asks.take_batch(tx, database, batch, key, name, due)
            if taken:
                asks.mark_asked(tx, database, new)
        if not taken:
            self._forget(batch.id)
            if not leaving:
                self._nothing_left(batch)
            return None
        self._asked[batch.id] = new
        return ready(batch, key, now, packed=rendered.first)

    def _rendered(self, task: Task) -> tuple[Task, Rendered]:
        """The batch rendered, ahead or now, and what for."""
        ahead = self._ahead.pop(task.batch.id, None)
        if ahead is not None and ahead.serves(task):
            try:
                rendered = ahead.future.result()
            except SidecarError as error:  # here it is told apart whose trouble it is
                log.warning("batch %d is rendered again: %s", task.batch.id, error)
            else:
                if not ahead.too_old(time.monotonic()):
                    return ahead.task, rendered
        return task, render(self._desk.database, self._desk.sources, task)

    def _task(
        self,
        batch: DueBatch,
        connector: Connector,
        company: Company,
        states: tuple[Recipient, ...],
    ) -> Task:
        key = batch.batch_key or secrets.token_hex(16)
        # What was submitted once stays in its batch: the worker says then what is too large.
        most = connector.max_mail_bytes() if batch.never_submitted else 0
        return Task(batch, states, company, key, connector.max_bytes(), self._batch_size, most)

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
        self, batch: DueBatch, company: Company, rendered: Rendered, batch_size: int
    ) -> tuple[int, ...]:
        """The mails of one message; the rest goes to other batches, by SMTP or back to Moodle."""
        groups = rendered.groups
        if len(groups) == 1 and not rendered.too_large:
            return groups[0]
        if not batch.never_submitted:  # its membership is fixed: what does not fit waits
            return groups[0] if groups else ()
        row_of = rendered.row_of
        large_rows = {row_of[mail_id] for mail_id in rendered.too_large}
        everything = [*chain(*groups), *rendered.too_large]
        large = {mail_id for mail_id in everything if row_of[mail_id] in large_rows}
        kept = [tuple(i for i in group if i not in large) for group in groups]
        kept = [group for group in kept if group]
        desk, database = self._desk, self._desk.database
        with database.write(desk.lease.token) as tx:
            if large:
                rest = self._give_back(tx, batch, company, large_rows, large)
                if rest and kept:
                    _split_off(tx, database, batch, [rest], "smtp")
                elif rest:
                    asks.send_by_smtp(tx, database, [batch.id])
            others = kept[1:]
            if others and batch_size < self._batch_size:  # many only because few may leave now
                others = [tuple(chain(*others))]
            _split_off(tx, database, batch, others, batch.provider)
        return kept[0] if kept else ()

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
        if company.fallback_for(batch.source) != "smtp":
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
        self._ahead.pop(batch_id, None)
        self._asked.pop(batch_id, None)
        self._silent.discard(batch_id)


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A batch that is being rendered elsewhere, or was. since: monotonic seconds."""

    task: Task
    future: Future[Rendered]
    since: float

    def serves(self, task: Task) -> bool:
        """Whether it is the same work, whatever key the batch would get."""
        return self.task == replace(task, batch_key=self.task.batch_key)

    def too_old(self, now: float) -> bool:
        """Whether what it says may not be true any more."""
        return now - self.since > AHEAD_SECONDS


def _split_off(
    tx: Transaction,
    database: Database,
    batch: DueBatch,
    groups: Sequence[Collection[int]],
    provider: str,
) -> None:
    if groups:
        asks.split_off(tx, database, batch.id, batch.job_id, batch.created_at, groups, provider)
