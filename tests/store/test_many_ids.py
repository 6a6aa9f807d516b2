"""A job of any size can be ended: more mails than a statement of PostgreSQL takes values."""

from collections.abc import Collection, Mapping

import pytest
from sqlalchemy import Connection

from sidecar import jobs
from tests.support.books import SOURCE, Books

RECALLED = range(1, 70_001)


class Queue:
    """A source that takes every row back; pages: how many at a time."""

    name = SOURCE

    def __init__(self) -> None:
        self.pages: list[int] = []

    def prepare(self, *_: object) -> jobs.Prepared:
        raise NotImplementedError

    def give_back(self, conn: Connection, originals: Mapping[int, int], stamp: int) -> set[int]:
        self.pages.append(len(originals))
        return set(originals)

    def still_wait(
        self, conn: Connection, rows: Collection[tuple[int, int]]
    ) -> set[tuple[int, int]]:
        return set()


def test_a_job_with_very_many_recalled_mails_is_cancelled(books: Books) -> None:
    job = books.capture(3)
    with books.write() as tx:
        assert jobs.cancel(tx, books.database, job.job, "no more", RECALLED) == 3
    assert books.job(job.job).status == "cancelled"


def test_a_job_is_handed_back_by_pages(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PAGE", 2)
    job, queue = books.capture(5, copies=1), Queue()
    with books.write() as tx:
        done = jobs.release(tx, books.database, job.job, {SOURCE: queue}, RECALLED)
    assert done == jobs.Returned(mails=10, held=0)
    assert queue.pages == [2, 2, 1]
    assert books.job(job.job).status == "returned"
