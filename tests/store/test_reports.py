"""What a report changes in the tables, and when its provider is asked again."""

from dataclasses import replace

from sqlalchemy import select

from sidecar.lifecycle import Recipient
from sidecar.message import MailResult, MailStatus
from sidecar.settle import Applied
from sidecar.store import asks, reports, results
from sidecar.store.database import Database, Transaction
from sidecar.store.reports import KnownMail, ReportedBatch
from tests.support.books import TIMEOUT, Books, Captured

R, S = Recipient, MailStatus
HOUR = 3600


def hear(books: Books, batch_id: int, due: int | None, *waiting: int) -> None:
    with books.write() as tx:
        if due is None:
            reports.hear(tx, books.database, [batch_id])
        else:
            reports.hear_later(tx, books.database, batch_id, due, waiting)


def due(books: Books, job: Captured) -> int:
    """When the batch is looked at again."""
    return int(books.batch(job.batch).next_attempt_at)


def counts(books: Books, job: Captured) -> tuple[int, int]:
    """Sent and failed by the batch and by the job, which agree with each other."""
    batch, whole = books.batch(job.batch), books.job(job.job)
    of_batch = (batch.sent_count, batch.failed_count)
    assert of_batch == (whole.emails_sent, whole.emails_failed)
    return of_batch


def reported(books: Books, tx: Transaction, job: Captured) -> ReportedBatch | None:
    """The batch of a job, by the key that ``Books.ask`` gave it."""
    key = f"{job.batch:032x}"
    return reports.find_batches(tx, books.database, [key]).get(key)


def test_a_batch_is_found_by_its_key_with_the_company_that_owns_it(books: Books) -> None:
    ours, theirs = books.capture(1), books.capture(1, company=7)
    books.ask(ours.batch)
    books.ask(theirs.batch)
    with books.write() as tx:
        for job, company in ((ours, 1), (theirs, 7)):
            claimed = books.batch(job.batch).created_at
            assert reported(books, tx, job) == ReportedBatch(
                job.batch, job.job, company, "aws", claimed, len(job.mails)
            )
        assert reports.find_batches(tx, books.database, ["f" * 32]) == {}


def test_only_the_mails_of_the_batch_are_known(books: Books) -> None:
    ours, other = books.capture(2), books.capture(1)
    books.ask(ours.batch)
    keys = [books.mail(mail).mail_key for mail in (*ours.mails, *other.mails)]
    with books.write() as tx:
        batch = reported(books, tx, ours)
        assert batch
        known = reports.known_mails(tx, books.database, {batch: [*keys, "0" * 64]})
        one = reports.known_mails(tx, books.database, {replace(batch, size=100): keys[1:]})
    assert known == {
        ours.batch: {
            key: KnownMail(mail, R.PROCESSING, 1)
            for key, mail in zip(keys, ours.mails, strict=False)
        }
    }
    assert one == {ours.batch: {keys[1]: KnownMail(ours.mails[1], R.PROCESSING, 1)}}


def test_every_fate_is_written_with_its_reason(books: Books) -> None:
    job = books.capture(6)
    books.ask(job.batch)
    sent, failed, never, unknown, again, deferred = job.mails
    before = books.now()
    applied = books.tell(
        job.batch,
        books.says(sent, S.SENT),
        books.says(failed, S.FAILED, code="Timeout"),
        books.says(never, S.PERMANENTLY_FAILED, code="MessageRejected"),
        books.says(unknown, S.UNKNOWN, code="lease_expired"),
        books.says(again, S.FAILED, code="Throttling", retryable=True),
        books.says(deferred, S.DEFERRED, code="quota", not_before=before + HOUR),
    )
    assert applied == Applied(6, 0, 0)
    assert books.states(job.mails) == [
        *("sent", "failed", "permanently_failed", "unknown", "retry_pending", "retry_pending")
    ]
    row = books.mail(sent)
    assert (row.message_id, row.error_code, row.error_message) == (f"ses-{sent}", "", None)
    assert before <= row.sent_at <= books.now()
    row = books.mail(never)
    assert (row.error_code, row.error_message) == (
        "MessageRejected",
        "permanently_failed: MessageRejected",
    )
    assert row.sent_at is None
    assert "@x.test" in row.message_id  # the one it left with
    assert counts(books, job) == (1, 3)
    assert books.job(job.job).status == "retry_pending"
    assert books.ledger_difference() == 0


def test_a_doubled_report_changes_nothing(books: Books) -> None:
    job = books.capture(2)
    books.ask(job.batch)
    told = [
        books.says(job.mails[0], S.SENT),
        books.says(job.mails[1], S.FAILED, retryable=True),
    ]
    assert books.tell(job.batch, *told).changed == 2
    rows = [dict(books.mail(mail)) for mail in job.mails]
    when = due(books, job)
    assert books.tell(job.batch, *told).changed == 0
    assert [dict(books.mail(mail)) for mail in job.mails] == rows
    assert due(books, job) <= when + 1


def test_a_late_sent_on_a_failed_mail_clears_what_was_said(books: Books) -> None:
    job = books.capture(1)
    books.ask(job.batch)
    books.tell(job.batch, books.says(job.mails[0], S.FAILED, code="Timeout"))
    assert books.job(job.job).status == "failed"
    books.tell(job.batch, books.says(job.mails[0], S.SENT))
    row = books.mail(job.mails[0])
    assert (row.status, row.error_code, row.error_message) == ("sent", "", None)
    assert books.batch(job.batch).status == "sent"
    assert (books.job(job.job).status, counts(books, job)) == ("completed", (1, 0))


def test_mails_that_the_batch_does_not_hold_are_strangers(books: Books) -> None:
    job, other = books.capture(1), books.capture(1)
    books.ask(job.batch)
    stranger = MailResult("0" * 64, 1, S.SENT, "ses-1")
    of_other = books.says(other.mails[0], S.SENT)
    applied = books.tell(job.batch, books.says(job.mails[0], S.SENT), stranger, of_other)
    assert applied == Applied(changed=1, strangers=2, after_all=0)
    assert books.states(other.mails) == ["pending"]


def test_sent_after_it_was_cancelled_is_recorded_and_counted(books: Books) -> None:
    job = books.capture(2)
    books.ask(job.batch)
    for mail, status in zip(job.mails, (R.CANCELLED, R.RETURNED), strict=True):
        books.set(books.tables.recipients, mail, status=status.value)
    books.refresh(job.batch)
    assert books.job(job.job).status == "returned"
    applied = books.tell(job.batch, *(books.says(mail, S.SENT) for mail in job.mails))
    assert applied == Applied(changed=2, strangers=0, after_all=2)
    assert books.states(job.mails) == ["sent", "sent"]
    assert (books.job(job.job).status, counts(books, job)) == ("completed", (2, 0))
    assert books.ledger_difference() == 0


def test_deferrals_do_not_use_up_the_asks_of_a_failure(books: Books) -> None:
    job = books.capture(1)
    (mail,) = job.mails
    for _ in range(8):
        books.ask(job.batch)
        books.tell(job.batch, books.says(mail, S.DEFERRED, not_before=books.now() + HOUR))
    assert books.states(job.mails) == ["retry_pending"]
    assert books.mail(mail).tries == 1  # never 0: a provider had it, its row never goes back
    for _ in range(4):
        books.ask(job.batch)
        books.tell(job.batch, books.says(mail, S.FAILED, retryable=True))
        assert books.states(job.mails) == ["retry_pending"]


def test_a_mail_is_asked_for_six_times_then_it_is_failed(books: Books) -> None:
    job = books.capture(1)
    waits = []
    for _ in range(5):
        assert books.ask(job.batch) == frozenset(job.mails)
        books.tell(job.batch, books.says(job.mails[0], S.FAILED, retryable=True))
        waits.append(round((due(books, job) - books.now()) / 60))
        assert books.batch(job.batch).status in {"queued", "processing"}
    assert waits == [5, 10, 20, 40, 80]
    books.ask(job.batch)
    books.tell(job.batch, books.says(job.mails[0], S.FAILED, retryable=True))
    assert books.states(job.mails) == ["failed"]
    assert books.batch(job.batch).status == books.job(job.job).status == "failed"
    assert books.batch(job.batch).attempt == 6


def test_what_waits_is_due_when_the_report_said(books: Books) -> None:
    job = books.capture(2)
    books.ask(job.batch)
    first = books.now() + 5 * HOUR
    books.tell(job.batch, *(books.says(mail, S.DEFERRED, not_before=first) for mail in job.mails))
    assert due(books, job) == first


def test_a_report_that_leaves_mails_open_keeps_the_time_of_silence(books: Books) -> None:
    job = books.capture(2)
    books.ask(job.batch)
    silent = due(books, job)
    hear(books, job.batch, silent + HOUR)
    assert due(books, job) == silent
    hear(books, job.batch, silent - 60)
    assert due(books, job) == silent - 60
    hear(books, job.batch, None)
    assert due(books, job) == silent - 60


def test_a_later_part_does_not_put_off_what_an_earlier_one_asked_for(books: Books) -> None:
    job = books.capture(2)
    books.ask(job.batch)
    soon, late = job.mails
    books.tell(job.batch, books.says(soon, S.FAILED, retryable=True))
    first = due(books, job)
    books.tell(job.batch, books.says(late, S.DEFERRED, not_before=books.now() + 20 * HOUR))
    assert due(books, job) == first


def test_an_earlier_part_does_not_put_off_a_later_one(books: Books) -> None:
    job = books.capture(2)
    books.ask(job.batch)
    late, soon = job.mails
    books.tell(job.batch, books.says(late, S.DEFERRED, not_before=books.now() + 20 * HOUR))
    books.tell(job.batch, books.says(soon, S.FAILED, retryable=True))
    assert due(books, job) - books.now() <= 300


def test_a_result_that_is_faster_than_its_acceptance_keeps_its_time(books: Books) -> None:
    job = books.capture(2)
    batch = books.due(job.batch)
    with books.write() as tx:
        key = f"{job.batch:032x}"
        assert asks.take_batch(tx, books.database, batch, key, "aws", tx.now + TIMEOUT)
        asks.mark_asked(tx, books.database, job.mails)
    books.tell(
        job.batch,
        books.says(job.mails[0], S.SENT),
        books.says(job.mails[1], S.FAILED, retryable=True),
    )
    when = due(books, job)
    assert when - books.now() <= 300
    with books.write() as tx:
        asks.accept(tx, books.database, job.batch, "id", tx.now + TIMEOUT)
    assert due(books, job) == when
    assert books.batch(job.batch).status == "queued"
    assert books.states(job.mails) == ["sent", "retry_pending"]


def test_hearing_ends_the_silence_and_shows_that_the_provider_works(books: Books) -> None:
    job = books.capture(2)
    books.ask(job.batch)
    with books.write() as tx:
        asks.count_silence(tx, books.database, job.batch)
    books.tell(job.batch, books.says(job.mails[0], S.SENT))
    batch = books.batch(job.batch)
    assert (batch.silent_asks, batch.status) == (0, "processing")
    assert books.job(job.job).status == "processing"


def test_a_report_that_tells_of_none_of_its_mails_is_no_news(books: Books) -> None:
    job = books.capture(1)
    books.ask(job.batch)
    with books.write() as tx:
        asks.count_silence(tx, books.database, job.batch)
    before = dict(books.batch(job.batch))
    assert books.tell(job.batch).changed == 0
    assert books.tell(job.batch, MailResult("0" * 64, 1, S.SENT, "x")).strangers == 1
    assert dict(books.batch(job.batch)) == before


def test_the_order_of_reports_does_not_matter_to_the_end(books: Books) -> None:
    orders = ([S.FAILED, S.UNKNOWN, S.SENT], [S.SENT, S.UNKNOWN, S.FAILED], [S.UNKNOWN, S.SENT])
    for order in orders:
        job = books.capture(1)
        books.ask(job.batch)
        for status in order:
            books.tell(job.batch, books.says(job.mails[0], status))
        assert (books.states(job.mails), counts(books, job)) == (["sent"], (1, 0))


def test_the_states_of_all_mails_add_up(books: Books) -> None:
    job = books.capture(4)
    books.ask(job.batch)
    books.tell(job.batch, books.says(job.mails[0], S.SENT), books.says(job.mails[1], S.FAILED))
    with books.database.read() as conn:
        assert results.ledger(conn, books.database) == {
            R.SENT: 1,
            R.FAILED: 1,
            R.PROCESSING: 2,
        }
    assert books.ledger_difference() == 0


def test_a_report_locks_the_mails_it_judges(books: Books) -> None:
    job = books.capture(1)
    books.ask(job.batch)
    key = books.mail(job.mails[0]).mail_key
    other = Database(books.database.url, "mdl_")
    r = other.tables.recipients
    free = select(r.c.id).where(r.c.id == job.mails[0]).with_for_update(skip_locked=True)
    with books.write() as tx:
        batch = reported(books, tx, job)
        assert batch
        reports.known_mails(tx, books.database, {batch: [key]})
        with other.write(None) as theirs:
            assert theirs.conn.execute(free).first() is None
    with other.write(None) as theirs:
        assert theirs.conn.execute(free).first() is not None
    other.close()
