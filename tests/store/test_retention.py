"""What is finished and old is forgotten, whole families at once; the books always balance."""

from collections.abc import Collection, Mapping, Sequence

import pytest
from sqlalchemy import Connection, func, insert, select, update

from sidecar import jobs
from sidecar.jobs import Prepared, Source
from sidecar.lifecycle import Recipient
from sidecar.message import MailResult, MailStatus
from sidecar.moodle.config import MoodleConfig
from sidecar.retention import Retention, retention_days
from sidecar.store import results, retention
from sidecar.store.queue import DueBatch, PendingMail
from tests.support.books import SOURCE, Books, Captured

DAYS = 100


class Queue:
    """Moodle's queue, of which only this is asked. waiting: (id, stamp) of rows that wait."""

    name = SOURCE

    def __init__(self, *waiting: tuple[int, int]) -> None:
        self.waiting = set(waiting)

    def prepare(
        self, conn: Connection, batch: DueBatch, waiting: Sequence[PendingMail]
    ) -> Prepared:
        raise AssertionError

    def give_back(self, conn: Connection, originals: Mapping[int, int], stamp: int) -> set[int]:
        raise AssertionError

    def still_wait(
        self, conn: Connection, rows: Collection[tuple[int, int]]
    ) -> set[tuple[int, int]]:
        return self.waiting & set(rows)


def finished(books: Books, number: int, *, failed: int = 0) -> Captured:
    """A job whose mails were sent, but for some that failed."""
    job = books.capture(number)
    books.ask(job.batch)
    rows = [books.mail(mail) for mail in job.mails]
    told = [
        MailResult(
            mail_key=row.mail_key,
            id=row.id,
            status=MailStatus.FAILED if place < failed else MailStatus.SENT,
            error="no" if place < failed else "",
            error_code="refused" if place < failed else "",
        )
        for place, row in enumerate(rows)
    ]
    books.tell(job.batch, *told)
    return job


def age(books: Books, days: float, *job_ids: int) -> None:
    with books.write() as tx:
        values = {"completed_at": tx.now - int(days * 86_400)}
        table = books.tables.jobs
        tx.conn.execute(update(table).where(table.c.id.in_(job_ids)).values(values))


def run(books: Books, sources: Mapping[str, Source] | None = None, days: int = DAYS) -> bool:
    return Retention(books.database, books.lease, sources or {}).run(days)


def job_ids(books: Books) -> list[int]:
    with books.database.read() as conn:
        return list(conn.scalars(select(books.tables.jobs.c.id).order_by(books.tables.jobs.c.id)))


def count(books: Books) -> tuple[int, int, int]:
    """Batches, recipients, and the difference of the books."""
    with books.database.read() as conn:
        numbers = [
            int(conn.execute(select(func.count()).select_from(table)).scalar_one())
            for table in (books.tables.batches, books.tables.recipients)
        ]
        return numbers[0], numbers[1], results.ledger_difference(conn, books.database)


def test_old_jobs_go_and_young_ones_stay(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.retention.PAGE", 2)
    old, young, running = finished(books, 5), finished(books, 3), books.capture(4)
    age(books, DAYS + 1, old.job)
    age(books, DAYS - 1, young.job)
    assert run(books) is False
    assert job_ids(books) == [young.job, running.job]
    assert count(books) == (2, 7, 0)
    assert retention.purged(books.database) == {"jobs": 1, "sent": 5}
    assert run(books) is False
    age(books, DAYS + 1, young.job)
    run(books)
    assert retention.purged(books.database) == {"jobs": 2, "sent": 8}


def test_an_interrupted_run_leaves_books_that_balance(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.retention.PAGE", 2)
    job = finished(books, 5)
    age(books, DAYS + 1, job.job)
    with books.write() as tx:
        assert retention.delete_recipients(tx, books.database, job.job, 2) == 2
    assert count(books) == (1, 3, 0)
    run(books)
    assert count(books) == (0, 0, 0)
    assert retention.purged(books.database) == {"jobs": 1, "sent": 5}


def test_a_job_goes_with_those_that_repeat_it_and_not_before_the_last(books: Books) -> None:
    job = finished(books, 4, failed=2)
    with books.write() as tx:
        child, number = jobs.retry(tx, books.database, job.job, [Recipient.FAILED], "aws", 100)
        assert number == 2
        jobs.cancel(tx, books.database, child, "no")
    age(books, DAYS + 1, job.job)
    run(books)
    assert job_ids(books) == [job.job, child]
    age(books, DAYS + 1, job.job, child)
    run(books)
    assert job_ids(books) == []
    assert count(books) == (0, 0, 0)
    assert retention.purged(books.database) == {"jobs": 2, "sent": 2, "failed": 2}


def test_a_repetition_whose_root_is_gone_goes_too(books: Books) -> None:
    job = finished(books, 2, failed=2)
    with books.write() as tx:
        child, _ = jobs.retry(tx, books.database, job.job, [Recipient.FAILED], "aws", 100)
        jobs.cancel(tx, books.database, child, "no")
    age(books, DAYS + 1, job.job, child)
    with books.write() as tx:  # where a run was killed
        assert retention.delete_recipients(tx, books.database, job.job, 100) == 2
        retention.delete_job(tx, books.database, job.job)
    run(books)
    assert (job_ids(books), count(books)) == ([], (0, 0, 0))


def test_what_moodle_still_holds_unsent_stays_known(books: Books) -> None:
    job, other = finished(books, 2), finished(books, 2)
    age(books, DAYS + 1, job.job, other.job)
    row = books.mail(job.mails[1])
    queue = Queue((row.source_id, row.source_stamp))
    run(books, {SOURCE: queue})
    assert job_ids(books) == [job.job]
    queue.waiting = {(row.source_id, row.source_stamp + 1)}  # another mail under the same id
    run(books, {SOURCE: queue})
    assert job_ids(books) == []


def test_notes_go_too(books: Books) -> None:
    t = books.tables
    with books.write() as tx:
        then = tx.now - (DAYS + 1) * 86_400
        ended = insert(t.campaigns).values(type="reengagement", status="done", created_at=then)
        running = insert(t.campaigns).values(type="reengagement", status="held", created_at=then)
        gone = tx.conn.execute(ended).inserted_primary_key
        kept = tx.conn.execute(running).inserted_primary_key
        assert gone
        assert kept
        for campaign in (gone[0], kept[0]):
            row = {"campaign_id": campaign, "status": "claimed", "created_at": then}
            tx.conn.execute(insert(t.outbox).values(row))
        for answered in (then, tx.now, None):
            asked = {"action": "retry", "created_at": then, "answered_at": answered}
            tx.conn.execute(insert(t.requests).values(asked))
        for last in (then, tx.now):
            tx.conn.execute(insert(t.operations).values(type="x", last_at=last))
        orphan = {"source": "earlier", "email_hash": "x", "timemodified": then}
        tx.conn.execute(insert(t.recipients).values(orphan))
    assert run(books, days=0) is False
    assert run(books) is False
    with books.database.read() as conn:
        left = [
            int(conn.execute(select(func.count()).select_from(table)).scalar_one())
            for table in (t.outbox, t.requests, t.operations, t.recipients, t.campaigns)
        ]
        assert left == [1, 2, 1, 0, 2]


def test_jobs_of_an_earlier_version_are_not_in_the_books_and_go_as_others(books: Books) -> None:
    t = books.tables
    with books.write() as tx:
        values = {
            "type": "user_created",
            "status": "completed",
            "email_count": 200,
            "source": "earlier",
            "closed_at": tx.now,
            "completed_at": tx.now,
        }
        done = tx.conn.execute(insert(t.jobs).values(values)).inserted_primary_key
        assert done
        mail = {"job_id": done[0], "source": "earlier", "email_hash": "x", "status": "sent"}
        tx.conn.execute(insert(t.recipients).values(mail))
    assert count(books) == (0, 1, 0)
    age(books, DAYS + 1, done[0])
    run(books)
    assert count(books) == (0, 0, 0)


@pytest.mark.parametrize(
    ("text", "days"),
    [("", 180), ("0", 0), ("1", 30), ("30", 30), ("400", 400), ("-5", 180), ("soon", 180)],
)
def test_days(text: str, days: int) -> None:
    plugins = {("local_manireports", "retentiondays"): text} if text else {}
    assert retention_days(MoodleConfig({}, plugins, frozenset())) == days
