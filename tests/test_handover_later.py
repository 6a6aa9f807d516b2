"""Handing batches to a provider that tells later: what leaves, what does not, and silence."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import cast

import pytest
from sqlalchemy import Connection, update

from sidecar import handover_later, jobs
from sidecar.connectors.base import Connector, Revocation, Submission, Verdict
from sidecar.errors import SidecarError
from sidecar.handover import AtOnce, Desk
from sidecar.handover_later import Later
from sidecar.jobs import Dropped, Prepared
from sidecar.lifecycle import Recipient
from sidecar.mail import MailBatch
from sidecar.message import MailStatus
from sidecar.metrics.registry import Metrics
from sidecar.recall import Recall
from sidecar.recorder import Recorder
from sidecar.render import Rendered, Task, render
from sidecar.routes import Route, Routes, SmtpRoute
from sidecar.settings import Settings
from sidecar.store import suppressions
from sidecar.store.companies import Companies, Company
from sidecar.store.queue import DueBatch, PendingMail
from tests.connectors.mails import CONTENT, make_mail
from tests.support.books import SOURCE, Books, Captured
from tests.support.mariadb import MariaDBServer

R, S = Recipient, MailStatus
COMPANY = Company(1, provider="aws", enabled=True, ledger_table="ledger")
TIMEOUT = 600


class Shelf:
    """A source whose rows are always there. meanwhile: what happens while a batch is rendered."""

    name = SOURCE

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None
        self.pointless: set[int] = set()
        self.given_back: set[int] = set()

    def prepare(
        self, conn: Connection, batch: DueBatch, waiting: Sequence[PendingMail]
    ) -> Prepared:
        self.meanwhile()
        mails = tuple(
            make_mail(
                mail.email,
                id=mail.id,
                mail_key=mail.mail_key,
                content=CONTENT,
                root_batch=mail.root_batch,
                generation=mail.generation,
            )
            for mail in waiting
            if mail.id not in self.pointless
        )
        gone = self.pointless & {mail.id for mail in waiting}
        dropped = tuple(Dropped(mail, R.CANCELLED, "pointless", "is gone") for mail in gone)
        return Prepared(mails, dropped)

    def give_back(self, conn: Connection, originals: Mapping[int, int], stamp: int) -> set[int]:
        self.given_back |= set(originals)
        return set(originals)

    def still_wait(
        self, conn: Connection, rows: Collection[tuple[int, int]]
    ) -> set[tuple[int, int]]:
        return set()


class Provider:
    """What Later and Recall ask of a connector. gave_up: told what it may not send any more."""

    name = "aws"

    def __init__(self) -> None:
        self.waiting: int | None = 0
        self.limit = 1_000_000
        self.gave_up: Callable[[list[Revocation]], object] = lambda mails: None
        self.started: set[str] = set()

    def max_bytes(self) -> int:
        return self.limit

    def max_mail_bytes(self) -> int:
        return 0

    def depth(self) -> int | None:
        return self.waiting

    def revoke(self, mails: list[Revocation]) -> frozenset[str]:
        mails = [mail for mail in mails if mail.mail_key not in self.started]
        self.gave_up(mails)
        return frozenset(mail.mail_key for mail in mails)


def ids(made: MailBatch) -> list[int]:
    """The mails of a message."""
    assert made.packed is not None
    return list(made.packed.ids)


class OneProvider(Routes):
    """Every route leads to the same provider."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(Settings(), lambda: None, str)
        self._provider = provider

    def cloud(self, company: Company, provider: str) -> Route:
        return SmtpRoute((), 0)  # any: it is only a name

    def connector(self, route: Route) -> Connector:
        return cast("Connector", self._provider)


class Rig:
    """The way of a provider that tells later, on real tables."""

    def __init__(self, books: Books) -> None:
        self.books, self.shelf, self.provider = books, Shelf(), Provider()
        self.recorder = Recorder(books.database, books.lease, Metrics())
        self.desk = Desk(books.database, books.lease, self.recorder, {SOURCE: self.shelf})
        self.later = self.new_process()
        companies = Companies({1: COMPANY}, COMPANY)
        self.recall = Recall(books.database, OneProvider(self.provider), lambda: companies)

    def new_process(self, batch_size: int = 100) -> Later:
        return Later(self.desk, TIMEOUT, batch_size)

    def prepare(self, batch_id: int) -> MailBatch | None:
        """The message of a batch, due or not."""
        connector = cast("Connector", self.provider)
        made = self.later.prepare(self.books.due(batch_id), connector, COMPANY)
        self.refresh()
        return made

    def ask(self, batch_id: int) -> list[int]:
        """The provider takes a batch; the mails of the message."""
        batch = self.books.due(batch_id)
        made = self.prepare(batch_id)
        assert made is not None
        self.later.accept(batch, Submission(batch_id, Verdict.ACCEPTED, "id"))
        self.refresh()
        return ids(made)

    def refuse(self, batch_id: int) -> None:
        """The provider definitely does not take a batch."""
        batch = self.books.due(batch_id)
        assert self.prepare(batch_id) is not None
        self.later.refuse(batch, 5, "no queue")
        self.refresh()

    def refresh(self) -> None:
        self.books.refresh(*self.recorder.take_dirty())

    def time_passes(self, batch_id: int) -> None:
        """The batch was handed over so long ago that it counts as silent."""
        long_ago = self.books.now() - TIMEOUT - 1
        self.books.set(self.books.tables.batches, batch_id, queued_at=long_ago)

    def tell(self, job: Captured, *told: MailStatus, retryable: bool = False) -> None:
        """A report on the first mails of a batch, under the key that it has."""
        b = self.books.tables.batches
        self.books.set(b, job.batch, batch_key=f"{job.batch:032x}")
        pairs = zip(job.mails, told, strict=False)
        said = (self.books.says(mail, state, retryable=retryable) for mail, state in pairs)
        self.books.tell(job.batch, *said)

    def cancel(self, *mails: int, state: Recipient = R.CANCELLED) -> Callable[[], None]:
        """What an admin's command does to mails meanwhile."""
        r = self.books.tables.recipients

        def do() -> None:
            with self.books.write() as tx:
                values = {"status": state.value}
                tx.conn.execute(update(r).where(r.c.id.in_(mails)).values(values))

        return do


@pytest.fixture(scope="module")
def _handover_url(_server: MariaDBServer) -> str:
    if not _server.alive():
        _server.start()
    _server.create_database("handover")
    return _server.url("handover")


@pytest.fixture
def rig(mariadb: MariaDBServer, _handover_url: str) -> Iterator[Rig]:
    with Books(_handover_url) as books:
        made = Rig(books)
        yield made
        made.recorder.stop(5)


@pytest.mark.parametrize("at_once", [False, True])
def test_who_is_suppressed_after_the_claim_gets_nothing(rig: Rig, at_once: bool) -> None:
    job = rig.books.capture(3, copies=1)
    spared = rig.books.mail(job.mails[1]).email
    with rig.books.write() as tx:
        for address, scope in (spared, "all"), (rig.books.mail(job.mails[2]).email, "campaigns"):
            suppressions.add(
                tx, rig.books.database, address, company_id=1, scope=scope, reason="manual"
            )
    way = AtOnce(rig.desk) if at_once else rig.later
    made = way.prepare(rig.books.due(job.batch), cast("Connector", rig.provider), COMPANY)
    assert made is not None
    leaving = made.packed.ids if made.packed else [mail.id for mail in made.mails]
    assert list(leaving) == [mail for mail in job.mails if mail != job.mails[1]]
    gone = rig.books.mail(job.mails[1])
    assert (gone.status, gone.error_code) == ("permanently_failed", "suppressed")
    assert "suppressed by the admin since" in gone.error_message


@pytest.mark.parametrize("at_once", [False, True])
def test_a_batch_of_suppressed_people_only_ends(rig: Rig, at_once: bool) -> None:
    job = rig.books.capture(1)
    with rig.books.write() as tx:
        address = rig.books.mail(job.mails[0]).email
        suppressions.add(tx, rig.books.database, address, company_id=0, scope="", reason="bounce")
    way = AtOnce(rig.desk) if at_once else rig.later
    assert way.prepare(rig.books.due(job.batch), cast("Connector", rig.provider), COMPANY) is None
    rig.refresh()
    assert (rig.books.batch(job.batch).status, rig.books.job(job.job).status) == (
        "failed",
        "completed",
    )


def test_a_batch_is_rendered_marked_and_accepted(rig: Rig) -> None:
    job = rig.books.capture(3)
    batch = rig.books.due(job.batch)
    made = rig.prepare(job.batch)
    assert made is not None
    assert ids(made) == job.mails
    row = rig.books.batch(job.batch)
    assert (made.batch_key, made.attempt) == (row.batch_key, 1)
    assert (row.status, row.attempt, row.provider) == ("submitting", 1, "aws")
    assert made.first_issued_at == row.first_issued_at
    assert rig.books.states(job.mails) == ["processing"] * 3
    rig.later.accept(batch, Submission(job.batch, Verdict.ACCEPTED, "id"))
    assert rig.books.batch(job.batch).status == "queued"
    assert rig.later.prepare(batch, cast("Connector", rig.provider), COMPANY) is None  # taken


def test_mails_cancelled_while_their_batch_is_rendered_do_not_leave(rig: Rig) -> None:
    job = rig.books.capture(3)
    rig.shelf.meanwhile = rig.cancel(job.mails[0])
    assert rig.prepare(job.batch) is None
    assert rig.books.batch(job.batch).status == "pending"  # due again, with what is left
    assert rig.ask(job.batch) == job.mails[1:]
    assert rig.books.states(job.mails) == ["cancelled", "processing", "processing"]


def test_a_job_handed_back_while_its_batch_is_rendered_is_moodles_alone(rig: Rig) -> None:
    job = rig.books.capture(3)

    def release() -> None:
        with rig.books.write() as tx:
            jobs.release(tx, rig.books.database, job.job, {SOURCE: rig.shelf})

    rig.shelf.meanwhile = release
    assert rig.prepare(job.batch) is None
    assert len(rig.shelf.given_back) == 3
    assert rig.books.states(job.mails) == ["returned"] * 3
    assert rig.books.batch(job.batch).status == "returned"
    assert rig.books.ledger_difference() == 0


def test_pointless_mails_are_dropped_and_the_rest_leaves(rig: Rig) -> None:
    job = rig.books.capture(3)
    rig.shelf.pointless = {job.mails[1]}
    assert rig.ask(job.batch) == [job.mails[0], job.mails[2]]
    assert rig.books.states(job.mails) == ["processing", "cancelled", "processing"]


def test_a_refused_batch_is_as_if_it_had_never_been_asked_for(rig: Rig) -> None:
    job = rig.books.capture(2)
    rig.refuse(job.batch)
    row = rig.books.batch(job.batch)
    assert (row.status, row.error_message) == ("pending", "no queue")
    assert rig.books.states(job.mails) == ["pending"] * 2
    with rig.books.write() as tx:
        returned = jobs.release(tx, rig.books.database, job.job, {SOURCE: rig.shelf})
    assert returned.mails == 2


def test_a_batch_is_split_before_its_first_ask_and_never_after(rig: Rig) -> None:
    job = rig.books.capture(5)
    rig.later = rig.new_process(batch_size=2)
    assert rig.ask(job.batch) == job.mails[:2]
    batches = rig.books.batches(job.job)
    assert [rig.books.mails(batch) for batch in batches] == [
        *(job.mails[:2], job.mails[2:4], job.mails[4:])
    ]
    rig.tell(job, S.FAILED, S.FAILED, retryable=True)
    rig.later = rig.new_process(batch_size=1)
    assert rig.ask(job.batch) == job.mails[:1]
    assert rig.books.batches(job.job) == batches
    assert rig.books.states(job.mails[:2]) == ["processing", "retry_pending"]


def test_only_what_failed_is_asked_for_again(rig: Rig) -> None:
    job = rig.books.capture(3)
    rig.ask(job.batch)
    rig.tell(job, S.FAILED, retryable=True)
    assert rig.ask(job.batch) == job.mails[:1]
    assert [rig.books.mail(mail).tries for mail in job.mails] == [2, 1, 1]


def test_a_silent_batch_is_asked_three_times_in_all(rig: Rig) -> None:
    job = rig.books.capture(2)
    waits = []
    for asked in range(3):
        assert rig.ask(job.batch) == job.mails
        row = rig.books.batch(job.batch)
        assert row.silent_asks == asked
        waits.append((row.next_attempt_at - row.queued_at) // TIMEOUT)
        rig.time_passes(job.batch)
    assert waits == [1, 2, 4]
    assert rig.prepare(job.batch) is None
    assert rig.books.states(job.mails) == ["unknown"] * 2
    assert rig.books.job(job.job).status == "failed"
    assert {rig.books.mail(mail).tries for mail in job.mails} == {1}  # the ask is the same


def test_a_batch_that_still_waits_at_its_provider_is_not_silent(rig: Rig) -> None:
    job = rig.books.capture(2)
    rig.ask(job.batch)
    rig.time_passes(job.batch)
    rig.provider.waiting = 7
    assert rig.prepare(job.batch) is None
    row = rig.books.batch(job.batch)
    assert (row.attempt, row.silent_asks) == (1, 0)
    assert row.next_attempt_at >= rig.books.now() + TIMEOUT - 5
    newer = rig.books.capture(1)
    rig.ask(newer.batch)
    rig.tell(newer, S.SENT)
    assert rig.ask(job.batch) == job.mails  # whatever waits: the queue has passed it


def test_a_depth_that_is_not_known_does_not_hold_an_ask_up(rig: Rig) -> None:
    job = rig.books.capture(2)
    rig.ask(job.batch)
    rig.time_passes(job.batch)
    rig.provider.waiting = None
    assert rig.ask(job.batch) == job.mails


def test_a_refused_repetition_leaves_the_first_ask_as_it_is(rig: Rig) -> None:
    job = rig.books.capture(2)
    rig.ask(job.batch)
    rig.tell(job, S.FAILED, retryable=True)
    rig.time_passes(job.batch)
    rig.refuse(job.batch)
    assert rig.books.states(job.mails) == ["pending", "processing"]
    assert [rig.books.mail(mail).tries for mail in job.mails] == [1, 1]
    assert rig.books.batch(job.batch).status == "processing"
    assert rig.books.batch(job.batch).silent_asks == 0


def test_an_interrupted_ask_is_no_silence_of_the_next(rig: Rig) -> None:
    job = rig.books.capture(2)
    rig.ask(job.batch)
    rig.time_passes(job.batch)
    assert rig.prepare(job.batch) is not None  # and nobody knows what became of it
    rig.later.recover([job.batch])
    rig.tell(job, S.SENT, S.FAILED, retryable=True)
    assert rig.ask(job.batch) == job.mails[1:]
    row = rig.books.batch(job.batch)
    assert row.silent_asks == 0
    assert row.next_attempt_at - row.queued_at == TIMEOUT


def test_what_is_taken_back_while_it_is_asked_for_again_leaves_no_more(rig: Rig) -> None:
    job = rig.books.capture(2)
    rig.ask(job.batch)
    rig.time_passes(job.batch)
    rig.shelf.meanwhile = rig.cancel(*job.mails)
    assert rig.prepare(job.batch) is None
    assert rig.books.batch(job.batch).status == "cancelled"


def release(rig: Rig, job: Captured) -> jobs.Returned:
    recalled = rig.recall.job(job.job)
    with rig.books.write() as tx:
        return jobs.release(tx, rig.books.database, job.job, {SOURCE: rig.shelf}, recalled.mails)


def cancel(rig: Rig, job: Captured) -> int:
    recalled = rig.recall.job(job.job)
    with rig.books.write() as tx:
        return jobs.cancel(tx, rig.books.database, job.job, "by the admin", recalled.mails)


@pytest.mark.parametrize("report", [None, S.REVOKED, S.DEFERRED])
def test_recalled_mails_are_moodles_again_however_fast_their_report_is(
    rig: Rig, report: MailStatus | None
) -> None:
    job = rig.books.capture(3)
    rig.ask(job.batch)
    if report:
        rig.provider.gave_up = lambda mails: rig.tell(job, report, report)
    assert release(rig, job) == jobs.Returned(mails=3, held=0)
    assert len(rig.shelf.given_back) == 3
    assert rig.books.states(job.mails) == ["returned"] * 3
    assert rig.books.job(job.job).status == "returned"
    rig.tell(job, S.REVOKED, S.REVOKED, S.REVOKED)  # late
    assert rig.books.states(job.mails) == ["returned"] * 3


@pytest.mark.parametrize("report", [None, S.REVOKED, S.DEFERRED])
def test_recalled_mails_are_cancelled_however_fast_their_report_is(
    rig: Rig, report: MailStatus | None
) -> None:
    job = rig.books.capture(3)
    rig.ask(job.batch)
    if report:
        rig.provider.gave_up = lambda mails: rig.tell(job, report, report)
    assert cancel(rig, job) == 3
    assert rig.books.states(job.mails) == ["cancelled"] * 3
    assert rig.books.job(job.job).status == "cancelled"


@pytest.mark.parametrize("report", [None, S.REVOKED])
def test_a_row_of_which_a_mail_is_out_does_not_go_back_and_its_rest_goes_by_smtp(
    rig: Rig, report: MailStatus | None
) -> None:
    job = rig.books.capture(2, copies=1)
    rig.ask(job.batch)
    rig.provider.started = {rig.books.mail(job.mails[3]).mail_key}
    if report:
        rig.provider.gave_up = lambda mails: rig.tell(job, report, report, report)
    assert release(rig, job) == jobs.Returned(mails=2, held=2)
    assert rig.books.states(job.mails) == ["returned", "returned", "pending", "processing"]
    first, second = (rig.books.batch(batch) for batch in rig.books.batches(job.job))
    assert (first.provider, first.email_count) == ("aws", 3)
    assert (second.provider, second.email_count, second.status) == ("smtp", 1, "pending")
    rig.books.refresh(first.id, second.id)
    assert rig.books.job(job.job).status == "queued"
    assert rig.books.ledger_difference() == 0


def test_what_is_sent_while_it_is_taken_back_was_sent(rig: Rig) -> None:
    job = rig.books.capture(2)
    rig.ask(job.batch)
    rig.provider.started = {rig.books.mail(job.mails[0]).mail_key}
    rig.provider.gave_up = lambda mails: rig.tell(job, S.SENT)
    assert release(rig, job) == jobs.Returned(mails=1, held=0)
    assert rig.books.states(job.mails) == ["sent", "returned"]


def test_what_cannot_be_taken_back_is_told(rig: Rig) -> None:
    job = rig.books.capture(2)
    rig.ask(job.batch)
    rig.provider.started = {rig.books.mail(job.mails[0]).mail_key}
    recalled = rig.recall.job(job.job)
    assert recalled.mails == {job.mails[1]}
    assert (recalled.left, recalled.why) == (1, "sent already, or being sent")
    assert rig.recall.job(job.job) == recalled  # may be repeated
    assert rig.recall.job(999).mails == frozenset()


class Ahead:
    """Renders when it is told to, and counts."""

    running = True

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.tasks: list[Task] = []
        self.trouble: SidecarError | None = None
        self.starts = 0

    def start(self) -> None:
        self.starts += 1

    def render(self, task: Task) -> Future[Rendered]:
        self.tasks.append(task)
        future: Future[Rendered] = Future()
        if self.trouble:
            future.set_exception(self.trouble)
            return future
        future.set_result(render(self._rig.books.database, {SOURCE: self._rig.shelf}, task))
        return future


def expect(rig: Rig, ahead: Ahead, batch_id: int, *, start: bool = True) -> None:
    rig.later = Later(rig.desk, TIMEOUT, 100, ahead)
    connector = cast("Connector", rig.provider)
    rig.later.expect(rig.books.due(batch_id), connector, COMPANY, start=start)


def test_a_batch_that_was_expected_is_rendered_once(rig: Rig) -> None:
    job, ahead = rig.books.capture(3), Ahead(rig)
    expect(rig, ahead, job.batch)
    made = rig.prepare(job.batch)
    assert made is not None
    assert ids(made) == job.mails
    (task,) = ahead.tasks
    assert made.batch_key == task.batch_key == rig.books.batch(job.batch).batch_key


def test_what_happened_since_a_batch_was_rendered_ahead_counts(rig: Rig) -> None:
    job, ahead = rig.books.capture(3), Ahead(rig)
    expect(rig, ahead, job.batch)
    rig.cancel(job.mails[1])()
    assert rig.prepare(job.batch) is None
    assert rig.ask(job.batch) == [job.mails[0], job.mails[2]]
    assert rig.books.states(job.mails) == ["processing", "cancelled", "processing"]


def test_another_process_is_only_started_if_much_waits(rig: Rig) -> None:
    job, ahead = rig.books.capture(2), Ahead(rig)
    ahead.running = False
    expect(rig, ahead, job.batch, start=False)
    assert (ahead.starts, ahead.tasks) == (0, [])
    assert rig.ask(job.batch) == job.mails


def test_no_batch_waits_until_another_process_is_there(rig: Rig) -> None:
    job, ahead = rig.books.capture(2), Ahead(rig)
    ahead.running = False
    expect(rig, ahead, job.batch)
    assert (ahead.starts, ahead.tasks) == (1, [])
    assert rig.ask(job.batch) == job.mails


def test_a_batch_that_was_asked_for_before_is_not_rendered_ahead(rig: Rig) -> None:
    job, ahead = rig.books.capture(2), Ahead(rig)
    rig.ask(job.batch)
    expect(rig, ahead, job.batch)
    assert not ahead.tasks


def test_what_was_rendered_long_ago_is_rendered_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, ahead = rig.books.capture(3), Ahead(rig)
    expect(rig, ahead, job.batch)
    rig.shelf.pointless = {job.mails[1]}  # its user was deleted, say, while the job was paused
    monkeypatch.setattr(handover_later, "AHEAD_SECONDS", -1.0)
    assert rig.ask(job.batch) == [job.mails[0], job.mails[2]]
    assert rig.books.states(job.mails) == ["processing", "cancelled", "processing"]


def test_trouble_elsewhere_is_none_here(rig: Rig) -> None:
    job, ahead = rig.books.capture(2), Ahead(rig)
    ahead.trouble = SidecarError("the process that renders has ended")
    expect(rig, ahead, job.batch)
    assert rig.ask(job.batch) == job.mails
