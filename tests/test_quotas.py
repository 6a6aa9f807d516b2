"""No more mails than the daily quota leave within 24 hours."""

import pytest

from sidecar import quotas
from sidecar.quotas import Quotas
from sidecar.store import quota
from sidecar.store.companies import Company
from tests.support.books import Books, Captured

DAY = 86_400


@pytest.fixture
def counted(books: Books, monkeypatch: pytest.MonkeyPatch) -> Books:
    """Every question is answered by the tables."""
    monkeypatch.setattr(quotas, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(quotas, "SOON_SECONDS", 0.0)
    return books


def sent(books: Books, number: int, ago: int = 0, company: int = 1) -> Captured:
    """A job that has ended, whose mails left so many seconds ago."""
    job = books.capture(number, company=company)
    moment = books.now() - ago
    for mail in job.mails:
        books.set(books.tables.recipients, mail, status="sent", sent_at=moment)
    books.set(books.tables.jobs, job.job, status="completed", completed_at=moment)
    return job


def used(books: Books, company: int = 1) -> int:
    with books.database.read() as conn:
        return quota.used(conn, books.database, company).mails


def test_what_counts_is_what_has_left_within_a_day(books: Books) -> None:
    sent(books, 3, DAY - 60)
    sent(books, 4, DAY + 60)
    sent(books, 2, company=2)
    bounced = sent(books, 1)
    books.set(books.tables.recipients, bounced.mails[0], status="permanently_failed")
    assert used(books) == 4
    there = books.capture(5)
    assert used(books) == 4
    books.ask(there.batch)
    assert used(books) == 9
    books.set(books.tables.recipients, there.mails[0], status="unknown")
    books.set(books.tables.recipients, there.mails[1], status="retry_pending")
    assert used(books) == 8
    assert used(books, 2) == 2


def test_a_repeated_mail_counts_once(books: Books) -> None:
    job = sent(books, 2)
    books.set(books.tables.recipients, job.mails[0], status="failed", sent_at=None)
    child = books.retry(job.job)
    assert used(books) == 1
    books.ask(child.batch)
    assert used(books) == 2
    books.set(books.tables.recipients, child.mails[0], status="sent", sent_at=books.now())
    books.set(books.tables.recipients, job.mails[0], status="sent", sent_at=books.now())
    assert used(books) == 2


def test_room_shrinks_with_what_is_taken_before_the_tables_say_it(books: Books) -> None:
    company, made = Company(1, daily_quota=20), Quotas(books.database, 100)
    sent(books, 5)
    assert made.room(company) == 15
    made.take(1, 7, 4, one_by_one=False)
    made.take(1, 8, 6, one_by_one=True)
    assert made.room(company) == 5
    made.let_go(8)  # counted anew: neither is in the tables
    assert made.room(company) == 15


def test_a_company_goes_on_when_enough_is_free_not_mail_by_mail(counted: Books) -> None:
    books = counted
    company, made = Company(1, daily_quota=50), Quotas(books.database, 100)
    early, late = sent(books, 4, DAY - 120), sent(books, 46, 60)
    why = made.used_up([company])[1]
    assert "its quota of 50 mails a day is used up (50 left within 24 hours): goes on at" in why
    assert made.used_up([company]) == {1: why}
    for mail in early.mails:  # a day has passed since these left: 4 are free, 5 are needed
        books.set(books.tables.recipients, mail, sent_at=books.now() - DAY - 1)
    assert 1 in made.used_up([company])
    books.set(books.tables.recipients, late.mails[0], sent_at=books.now() - DAY - 1)
    assert made.used_up([company]) == {}
    assert made.room(company) == 5


def test_without_a_quota_nothing_is_held(books: Books) -> None:
    sent(books, 3)
    assert Quotas(books.database, 100).used_up([Company(1), Company(2, daily_quota=3)]) == {}
