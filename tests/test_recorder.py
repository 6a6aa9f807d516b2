"""The one writer of outcomes: who waits for whom, and what is kept while nothing can be written."""

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from sidecar import recorder as module
from sidecar.errors import LeaseLostError, SidecarError
from sidecar.lifecycle import Recipient
from sidecar.mail import Outcome
from sidecar.metrics.registry import Metrics
from sidecar.recorder import Recorder
from tests.support.books import Books, Captured
from tests.support.wait import wait_for

R = Recipient


@pytest.fixture
def recorder(books: Books) -> Iterator[Recorder]:
    made = Recorder(books.database, books.lease, Metrics())
    yield made
    made.stop(5)


def outcomes(job: Captured, status: Recipient) -> list[Outcome]:
    return [Outcome(mail, job.batch, status) for mail in job.mails]


def states(books: Books, job: Captured) -> set[Recipient]:
    return {books.mail(mail).status for mail in job.mails}


def test_what_is_reported_is_committed_when_the_call_returns(
    books: Books, recorder: Recorder
) -> None:
    job = books.capture(3)
    assert recorder.report(outcomes(job, R.PROCESSING)) == frozenset()
    assert states(books, job) == {R.PROCESSING}
    assert recorder.report(outcomes(job, R.SENT)) == frozenset()
    assert states(books, job) == {R.SENT}
    assert recorder.take_dirty() == {job.batch}
    assert not recorder.take_dirty()


def test_those_who_wait_share_a_commit(books: Books, recorder: Recorder) -> None:
    job = books.capture(9)
    first, *others = outcomes(job, R.PROCESSING)
    commits: list[None] = []
    go_on = threading.Event()

    def commit(_: object) -> None:
        commits.append(None)
        go_on.wait(10)

    event.listen(books.database.engine, "commit", commit)
    threads = [threading.Thread(target=recorder.report, args=([first],))]
    threads[0].start()
    wait_for(lambda: len(commits) == 1, 10, "the first commits")
    for outcome in others:
        threads.append(threading.Thread(target=recorder.report, args=([outcome],)))
        threads[-1].start()
    wait_for(lambda: len(recorder._queue) == len(others), 10, "the others wait")
    go_on.set()
    for thread in threads:
        thread.join(10)
    event.remove(books.database.engine, "commit", commit)
    assert len(commits) == 2
    assert states(books, job) == {R.PROCESSING}


def test_a_mail_that_was_cancelled_meanwhile_is_refused_to_whoever_reported_it(
    books: Books, recorder: Recorder
) -> None:
    job = books.capture(2)
    gone, stays = job.mails
    books.set(books.tables.recipients, gone, status=R.CANCELLED.value)
    assert recorder.report(outcomes(job, R.PROCESSING)) == {gone}
    assert books.mail(gone).status == R.CANCELLED
    assert books.mail(stays).status == R.PROCESSING


def test_outcomes_are_counted_once_by_company_and_state(books: Books) -> None:
    metrics = Metrics()
    recorder = Recorder(books.database, books.lease, metrics)
    job = books.capture(3, company=7)
    recorder.introduce(job.batch, 7, "smtp", int(time.time()) - 20)
    recorder.report(outcomes(job, R.PROCESSING))
    failed = Outcome(job.mails[0], job.batch, R.PERMANENTLY_FAILED, "550 5.1.1", "no such user")
    recorder.report([failed, *outcomes(job, R.SENT)[1:]])
    recorder.stop(5)
    sample = metrics.registry.get_sample_value
    who = {"company": "7", "provider": "smtp"}
    name = "manireports_mail_results_total"
    assert sample(name, {**who, "status": "sent"}) == 2
    assert sample(name, {**who, "status": "permanently_failed"}) == 1


def test_without_the_lease_nothing_is_written_and_what_was_sent_is_kept(
    books: Books, recorder: Recorder
) -> None:
    job = books.capture(2)
    recorder.report(outcomes(job, R.PROCESSING))
    books.lease.release()
    with pytest.raises(LeaseLostError):
        recorder.report(outcomes(job, R.SENT))
    assert states(books, job) == {R.PROCESSING}
    assert books.lease.acquire()
    recorder.write_kept()
    assert states(books, job) == {R.SENT}


def test_stop_gives_up_a_database_that_is_away(
    books: Books, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = books.capture(1)
    recorder.report(outcomes(job, R.PROCESSING))
    monkeypatch.setattr(module, "RETRY_WRITE", 0.05)
    engine = books.database.engine
    raised: list[SidecarError] = []
    refused: list[None] = []

    def report() -> None:
        try:
            recorder.report(outcomes(job, R.SENT))
        except SidecarError as error:
            raised.append(error)

    def refuse(*_: object) -> None:
        refused.append(None)
        raise OperationalError("UPDATE", {}, Exception("the database is away"))

    event.listen(engine, "before_cursor_execute", refuse)
    thread = threading.Thread(target=report)
    thread.start()
    wait_for(lambda: len(refused) > 1, 10, "it is tried again")
    assert not raised
    recorder.stop(0.2)
    thread.join(10)
    event.remove(engine, "before_cursor_execute", refuse)
    assert [type(error) for error in raised] == [LeaseLostError]
    assert states(books, job) == {R.PROCESSING}
    recorder.write_kept()
    assert states(books, job) == {R.SENT}
