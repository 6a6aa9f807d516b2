"""A provider that takes a batch now and tells later: asked, refused, silent, split, taken back."""

import pytest
from sqlalchemy import update

from sidecar.lifecycle import Recipient
from sidecar.message import MailStatus
from sidecar.store import asks, queue
from sidecar.store.asks import MailThere
from tests.support.books import TIMEOUT, Books, Captured

R, S = Recipient, MailStatus
KEY = "k" * 32


def take(books: Books, job: Captured, key: str = KEY) -> bool:
    """Begin an ask, as a process does that then dies."""
    batch = books.due(job.batch)
    with books.write() as tx:
        return asks.take_batch(tx, books.database, batch, key, "aws", tx.now + TIMEOUT)


def mark(books: Books, job: Captured, *mails: int) -> tuple[frozenset[int], frozenset[int]]:
    with books.write() as tx:
        leaving, new = asks.lock_mails(tx, books.database, job.batch, mails or job.mails)
        asks.mark_asked(tx, books.database, new)
        return leaving, new


def take_back(books: Books, job: Captured, *mails: int) -> None:
    with books.write() as tx:
        asks.take_back(tx, books.database, job.batch, mails or job.mails)


def recover(books: Books, *batch_ids: int) -> int:
    with books.write() as tx:
        due = tx.now + TIMEOUT
        return asks.recover_uncertain(tx, books.database, due, batch_ids or None)


def split(books: Books, job: Captured, *groups: list[int], provider: str = "aws") -> None:
    row = books.batch(job.batch)
    with books.write() as tx:
        asks.split_off(tx, books.database, job.batch, job.job, row.created_at, groups, provider)


def status(books: Books, job: Captured, state: Recipient, *mails: int) -> None:
    """Mails, or all, are in a state, however that came."""
    r = books.tables.recipients
    with books.write() as tx:
        ids = mails or job.mails
        tx.conn.execute(update(r).where(r.c.id.in_(ids)).values(status=state.value))


def test_the_first_ask_names_the_batch_for_ever(books: Books) -> None:
    job = books.capture()
    before = books.now()
    assert take(books, job)
    first = books.batch(job.batch)
    assert (first.status, first.attempt, first.batch_key) == ("submitting", 1, KEY)
    assert first.provider == "aws"
    assert before <= first.first_issued_at <= books.now()
    assert first.next_attempt_at >= before + TIMEOUT
    with books.write() as tx:
        asks.accept(tx, books.database, job.batch, "id-1", tx.now + TIMEOUT)
    books.set(books.tables.batches, job.batch, first_issued_at=1000)
    assert take(books, job, "x" * 32)
    again = books.batch(job.batch)
    assert (again.status, again.attempt, again.batch_key) == ("queued", 2, KEY)
    assert again.first_issued_at == 1000


@pytest.mark.parametrize("changed", [{"status": "cancelled"}, {"attempt": 1}])
def test_a_batch_that_changed_meanwhile_is_not_taken(
    books: Books, changed: dict[str, object]
) -> None:
    job = books.capture()
    batch = books.due(job.batch)
    books.set(books.tables.batches, job.batch, **changed)
    before = dict(books.batch(job.batch))
    with books.write() as tx:
        assert not asks.take_batch(tx, books.database, batch, KEY, "aws", tx.now)
    assert dict(books.batch(job.batch)) == before


def test_what_was_cancelled_or_moved_while_it_was_rendered_does_not_leave(books: Books) -> None:
    job, other = books.capture(6), books.capture(1)
    pending, waiting, out, cancelled, returned, moved = job.mails
    assert take(books, job)
    for mail, state in (
        *((waiting, R.RETRY_PENDING), (out, R.PROCESSING)),
        *((cancelled, R.CANCELLED), (returned, R.RETURNED)),
    ):
        status(books, job, state, mail)
    split(books, job, [moved])
    leaving, new = mark(books, job, *job.mails, *other.mails)
    assert leaving == {pending, waiting, out}
    assert new == {pending, waiting}
    assert books.states(job.mails) == [
        *("processing", "processing", "processing", "cancelled", "returned", "pending")
    ]
    assert [books.mail(mail).tries for mail in job.mails] == [1, 1, 0, 0, 0, 0]
    assert books.states(other.mails) == ["pending"]


def test_a_refused_ask_leaves_everything_as_it_was(books: Books) -> None:
    job = books.capture()
    assert take(books, job)
    mark(books, job)
    take_back(books, job)
    with books.write() as tx:
        queue.put_back(tx, books.database, [job.batch], tx.now + 5, "queue is gone")
    assert books.states(job.mails) == ["pending"] * 3
    assert {books.mail(mail).tries for mail in job.mails} == {0}
    batch = books.batch(job.batch)
    assert (batch.status, batch.error_message) == ("pending", "queue is gone")


def test_a_refusal_does_not_touch_what_went_another_way_meanwhile(books: Books) -> None:
    job = books.capture(3)
    assert take(books, job)
    _, new = mark(books, job)
    sent, moved, _rest = job.mails
    status(books, job, R.SENT, sent)
    with books.write() as tx:
        asks.reroute(tx, books.database, [moved], "smtp")
    status(books, job, R.PROCESSING, moved)  # its SMTP server has it now
    take_back(books, job, *new)
    assert books.states(job.mails) == ["sent", "processing", "pending"]
    assert books.mail(moved).tries == 1


def test_an_accepted_batch_waits_for_its_results(books: Books) -> None:
    job = books.capture()
    assert take(books, job)
    mark(books, job)
    books.set(books.tables.batches, job.batch, error_message="was refused before")
    with books.write() as tx:
        asks.accept(tx, books.database, job.batch, "i" * 300, tx.now + TIMEOUT)
    batch = books.batch(job.batch)
    assert (batch.status, batch.queue_message_id, batch.error_message) == (
        "queued",
        "i" * 255,
        None,
    )
    assert batch.next_attempt_at == batch.queued_at + TIMEOUT
    with books.write() as tx:  # an uncertain answer has no id: the one known stays
        asks.accept(tx, books.database, job.batch, "", tx.now + 2 * TIMEOUT)
    batch = books.batch(job.batch)
    assert batch.queue_message_id == "i" * 255
    assert batch.next_attempt_at == batch.queued_at + 2 * TIMEOUT


def test_a_cancelled_batch_stays_cancelled_when_its_ask_is_answered(books: Books) -> None:
    job = books.capture()
    assert take(books, job)
    mark(books, job)
    status(books, job, R.CANCELLED)
    books.refresh(job.batch)
    with books.write() as tx:
        asks.accept(tx, books.database, job.batch, "id", tx.now + TIMEOUT)
    assert books.batch(job.batch).status == "cancelled"


def test_what_was_caught_before_it_was_marked_has_not_left(books: Books) -> None:
    job = books.capture()
    assert take(books, job)
    assert recover(books) == 0
    batch = books.batch(job.batch)
    assert batch.status == "pending"
    assert batch.next_attempt_at <= books.now()
    assert books.states(job.mails) == ["pending"] * 3


def test_what_was_caught_after_it_was_marked_may_be_out(books: Books) -> None:
    job = books.capture()
    assert take(books, job)
    mark(books, job)
    before = books.now()
    assert recover(books) == 1
    batch = books.batch(job.batch)
    assert batch.status == "queued"
    assert batch.queued_at >= before
    assert batch.next_attempt_at >= before + TIMEOUT
    assert books.states(job.mails) == ["processing"] * 3
    assert recover(books) == 0  # and only once


def test_what_was_caught_after_a_result_came_is_out(books: Books) -> None:
    job = books.capture(2)
    assert take(books, job, f"{job.batch:032x}")
    mark(books, job)
    told = [books.says(job.mails[0], S.SENT), books.says(job.mails[1], S.FAILED, retryable=True)]
    books.tell(job.batch, *told)
    assert recover(books) == 1
    assert books.batch(job.batch).status == "queued"
    assert not books.due(job.batch).never_submitted


def test_recovering_touches_only_what_was_asked_for(books: Books) -> None:
    ours, theirs, smtp, queued = (books.capture() for _ in range(4))
    for job in (ours, theirs, smtp):
        assert take(books, job, f"{job.batch:032x}")
        mark(books, job)
    books.set(books.tables.batches, smtp.batch, provider="smtp")
    books.ask(queued.batch)
    before = dict(books.batch(queued.batch))
    assert recover(books, ours.batch, smtp.batch, queued.batch) == 1
    assert books.batch(ours.batch).status == "queued"
    assert books.batch(theirs.batch).status == "submitting"
    assert books.batch(smtp.batch).status == "submitting"
    assert dict(books.batch(queued.batch)) == before


def passed(books: Books, job: Captured) -> bool:
    batch = books.due(job.batch)
    with books.database.read() as conn:
        return asks.has_passed(conn, books.database, batch)


def test_the_queue_has_passed_a_batch_once_a_newer_one_is_told_of(books: Books) -> None:
    silent, newer, smtp = (books.capture(1) for _ in range(3))
    foreign = books.capture(1, company=2)
    b = books.tables.batches
    for number, job in enumerate((silent, newer, foreign, smtp)):
        books.ask(job.batch)
        books.set(b, job.batch, queued_at=1000 + number, first_issued_at=1000 + number)
    assert not passed(books, silent)
    books.tell(foreign.batch, books.says(foreign.mails[0], S.SENT))
    assert not passed(books, silent)
    books.tell(smtp.batch, books.says(smtp.mails[0], S.SENT))
    books.set(b, smtp.batch, provider="smtp")
    assert not passed(books, silent)
    books.tell(newer.batch, books.says(newer.mails[0], S.PERMANENTLY_FAILED))
    assert passed(books, silent)
    assert not passed(books, newer)


def test_a_batch_that_was_asked_again_has_passed_nothing(books: Books) -> None:
    older, silent = books.capture(2), books.capture(1)
    books.ask(older.batch)
    books.tell(
        older.batch,
        books.says(older.mails[0], S.SENT),
        books.says(older.mails[1], S.FAILED, retryable=True),
    )
    books.ask(silent.batch)
    b = books.tables.batches
    books.set(b, older.batch, first_issued_at=1000, queued_at=1000)
    books.set(b, silent.batch, first_issued_at=1001, queued_at=1001)
    books.ask(older.batch)  # queued after the silent one; what was told of it is from before
    assert not passed(books, silent)


def test_silence_ends_in_unknown(books: Books) -> None:
    job = books.capture(3)
    books.ask(job.batch)
    books.tell(job.batch, books.says(job.mails[0], S.SENT))
    with books.write() as tx:
        asks.count_silence(tx, books.database, job.batch)
        asks.count_silence(tx, books.database, job.batch)
    assert books.batch(job.batch).silent_asks == 2
    with books.write() as tx:
        assert asks.end_silent(tx, books.database, job.batch, "it said nothing") == 2
    books.refresh(job.batch)
    assert books.states(job.mails) == ["sent", "unknown", "unknown"]
    row = books.mail(job.mails[1])
    assert (row.error_code, row.error_message) == ("no_result", "it said nothing")
    assert books.batch(job.batch).status == books.job(job.job).status == "partial_failure"


def test_a_batch_is_split_without_losing_a_mail(books: Books) -> None:
    job = books.capture(6)
    assert take(books, job)
    a, b, c, d, e, f = job.mails
    books.set(books.tables.batches, job.batch, created_at=4711)
    split(books, job, [b, c], [f])
    first, second, third = books.batches(job.job)
    assert [books.mails(i) for i in (first, second, third)] == [[a, d, e], [b, c], [f]]
    rows = [books.batch(i) for i in (first, second, third)]
    assert [row.email_count for row in rows] == [3, 2, 1]
    assert [row.batch_num for row in rows] == [1, 2, 3]
    assert [row.status for row in rows] == ["submitting", "pending", "pending"]
    assert {row.created_at for row in rows} == {4711}  # the claim's stamp: the rows stay ours
    assert [row.batch_key for row in rows] == [KEY, None, None]
    assert all(row.next_attempt_at <= books.now() for row in rows[1:])
    books.refresh(*books.batches(job.job))
    assert books.job(job.job).email_count == 6
    assert books.ledger_difference() == 0


def test_a_batch_from_which_all_was_taken_is_over(books: Books) -> None:
    job = books.capture(2)
    split(books, job, job.mails, provider="smtp")
    empty, full = (books.batch(i) for i in books.batches(job.job))
    assert (empty.status, empty.email_count) == ("cancelled", 0)
    assert empty.completed_at
    assert (full.status, full.email_count, full.provider) == ("pending", 2, "smtp")
    books.refresh(*books.batches(job.job))
    assert books.batch(job.batch).status == "cancelled"
    assert books.job(job.job).status == "pending"


def test_mails_taken_back_go_another_way_and_the_rest_stays(books: Books) -> None:
    job, other = books.capture(3), books.capture(2)
    books.ask(job.batch)
    books.ask(other.batch)
    sent, *taken = job.mails
    books.tell(job.batch, books.says(sent, S.SENT))
    with books.write() as tx:
        asks.reroute(tx, books.database, [*job.mails, *other.mails], "smtp")
    assert books.states([*job.mails, *other.mails]) == ["sent", *["pending"] * 4]
    (_, ours), (emptied, theirs) = books.batches(job.job), books.batches(other.job)
    assert (books.mails(ours), books.mails(theirs)) == (taken, other.mails)
    assert {books.batch(i).provider for i in (ours, theirs)} == {"smtp"}
    assert books.batch(ours).created_at == books.batch(job.batch).created_at
    assert books.batch(emptied).status == "cancelled"
    assert {books.mail(mail).tries for mail in taken} == {1}  # it was out: its row never goes back
    books.refresh(job.batch, ours, emptied, theirs)
    assert books.batch(job.batch).status == "sent"
    assert books.job(job.job).status == "processing"
    assert books.ledger_difference() == 0


def test_what_a_provider_has_is_named_as_the_ledger_names_it(books: Books) -> None:
    job = books.capture(5)
    books.ask(job.batch)
    sent, out, *_ = job.mails
    status(books, job, R.RETRY_PENDING, job.mails[2])
    status(books, job, R.PENDING, job.mails[3])
    books.set(
        books.tables.recipients,
        job.mails[4],
        recipient_data='{"root_batch": "%s", "generation": 2}' % ("a" * 32),
    )
    books.tell(job.batch, books.says(sent, S.SENT))
    with books.database.read() as conn:
        found = asks.at_provider(conn, books.database, job.job)
    assert found == [
        MailThere(out, "aws", books.mail(out).mail_key, f"{job.batch:032x}", 0),
        MailThere(job.mails[4], "aws", books.mail(job.mails[4]).mail_key, "a" * 32, 2),
    ]


@pytest.mark.parametrize(
    ("batch", "provider", "there"),
    [
        ("submitting", "aws", True),
        ("queued", "aws", True),
        ("processing", "aws", True),
        ("processing", "smtp", False),
        ("cancelled", "aws", False),
    ],
)
def test_a_provider_has_what_is_on_its_way_to_it(
    books: Books, batch: str, provider: str, there: bool
) -> None:
    job = books.capture(1)
    books.ask(job.batch)
    books.set(books.tables.batches, job.batch, status=batch, provider=provider)
    with books.database.read() as conn:
        assert bool(asks.at_provider(conn, books.database, job.job)) == there


def test_only_batches_of_which_nothing_ever_left_were_refused(books: Books) -> None:
    def refused() -> list[int]:
        with books.database.read() as conn:
            return asks.refused_batches(conn, books.database, 1, "aws", ["iomad_mail"])

    never, taken, refused_once, tried = (books.capture() for _ in range(4))
    books.capture(provider="smtp")
    books.capture(company=2)
    books.ask(taken.batch)
    assert take(books, refused_once, "r" * 32)
    mark(books, refused_once)
    take_back(books, refused_once)
    books.set(books.tables.batches, refused_once.batch, status="pending")
    books.set(books.tables.recipients, tried.mails[1], tries=1)
    assert refused() == [never.batch, refused_once.batch]
    with books.write() as tx:
        asks.send_by_smtp(tx, books.database, refused())
    assert refused() == []
    assert [books.batch(job.batch).provider for job in (never, refused_once, taken)] == [
        *("smtp", "smtp", "aws")
    ]
    assert books.batch(never.batch).next_attempt_at <= books.now()


def test_how_much_a_provider_has(books: Books) -> None:
    ours, theirs = books.capture(4), books.capture(2, company=2)
    books.capture(9)
    books.ask(ours.batch)
    books.ask(theirs.batch)
    books.tell(ours.batch, books.says(ours.mails[0], S.SENT))
    with books.database.read() as conn:
        there = [
            asks.mails_at_provider(conn, books.database, company, provider)
            for company, provider in ((1, "aws"), (2, "aws"), (3, "aws"), (1, "smtp"))
        ]
    assert there == [3, 2, 0, 0]
