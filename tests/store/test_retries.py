"""Failed mails that are asked for again, as a job of their own that settles the first."""

import json

import pytest

from sidecar import jobs
from sidecar.errors import SidecarError
from sidecar.lifecycle import Recipient
from sidecar.message import MailStatus
from sidecar.store import queue, retries
from sidecar.store.queue import PendingMail
from tests.support.books import Books, Captured

R, S = Recipient, MailStatus


def failed_job(books: Books, *told: MailStatus, copies: int = 0) -> Captured:
    """A job whose mails ended so."""
    job = books.capture(len(told) // (1 + copies), copies=copies)
    books.ask(job.batch)
    answer(books, job, *told)
    return job


def answer(books: Books, job: Captured, *told: MailStatus) -> None:
    pairs = zip(job.mails, told, strict=True)
    books.tell(job.batch, *(books.says(mail, status, code="why") for mail, status in pairs))


def again(books: Books, job: Captured, *told: MailStatus) -> Captured:
    """Repeat a job's failed mails, which ends so."""
    child = books.retry(job.job, R.FAILED, R.PERMANENTLY_FAILED)
    books.ask(child.batch)
    answer(books, child, *told)
    return child


def failed(books: Books, job: Captured, *states: Recipient) -> list[retries.FailedMail]:
    with books.write() as tx:
        return retries.failed_mails(tx, books.database, job.job, states or [R.FAILED])


def waiting(books: Books, job: Captured) -> list[PendingMail]:
    with books.database.read() as conn:
        return queue.waiting_mails(conn, books.database, job.batch)


def shown(books: Books, job: Captured) -> tuple[str, int, int]:
    row = books.job(job.job)
    return row.status, row.emails_sent, row.emails_failed


def test_the_repetition_is_the_same_mail_of_another_generation(books: Books) -> None:
    job = failed_job(books, S.SENT, S.FAILED, S.FAILED, S.FAILED, copies=1)
    books.set(books.tables.batches, job.batch, created_at=4711)
    child = books.retry(job.job)
    whole = books.job(child.job)
    assert (whole.parent_job_id, whole.email_count, whole.copy_count) == (job.job, 3, 2)
    assert (whole.status, whole.company_id, whole.type) == ("pending", 1, "user_create")
    assert whole.closed_at
    assert whole.label.endswith(", again")
    batch = books.batch(child.batch)
    assert (batch.created_at, batch.status, batch.email_count) == (4711, "pending", 3)
    assert batch.next_attempt_at <= books.now()
    for root_id, mail_id in zip(job.mails[1:], child.mails, strict=True):
        root, mail = books.mail(root_id), books.mail(mail_id)
        same = ("email", "role", "userid", "source_id", "source_stamp", "mail_key", "message_id")
        assert [mail[name] for name in same] == [root[name] for name in same]
        assert (mail.retry_of, mail.status, mail.tries) == (root_id, "pending", 0)
        assert mail.email_hash != root.email_hash
    pending = waiting(books, child)
    assert {mail.generation for mail in pending} == {1}
    assert {mail.root_batch for mail in pending} == {f"{job.batch:032x}"}
    assert shown(books, job)[0] == "manual_retry"
    assert books.ledger_difference() == 0


def test_what_the_first_mail_knew_the_repetition_knows(books: Books) -> None:
    job = failed_job(books, S.FAILED)
    data = {"firstname": "Søren", "subject": "Välkommen 🎉", "courseid": 3}
    books.set(books.tables.recipients, job.mails[0], recipient_data=json.dumps(data))
    child = books.retry(job.job)
    extra = {"generation": 1, "root_batch": f"{job.batch:032x}"}
    assert json.loads(books.mail(child.mails[0]).recipient_data) == data | extra


def test_only_the_states_that_were_asked_for_are_repeated(books: Books) -> None:
    job = failed_job(books, S.SENT, S.FAILED, S.PERMANENTLY_FAILED, S.UNKNOWN, S.REVOKED)
    assert [mail.root for mail in failed(books, job)] == [job.mails[1]]
    both = failed(books, job, R.FAILED, R.PERMANENTLY_FAILED)
    assert [mail.root for mail in both] == job.mails[1:3]


def test_nothing_is_repeated_while_its_repetition_is_open(books: Books) -> None:
    job = failed_job(books, S.FAILED, S.FAILED)
    child = books.retry(job.job)
    for job_id in (job.job, child.job):
        with pytest.raises(SidecarError, match="being repeated already"):
            books.retry(job_id)
    books.ask(child.batch)
    one, _other = child.mails
    books.tell(child.batch, books.says(one, S.FAILED))
    assert [mail.root for mail in failed(books, job)] == [job.mails[0]]  # the other is still open


def test_generations_count_up_and_the_root_batch_stays(books: Books) -> None:
    job = failed_job(books, S.FAILED)
    generations, hashes, latest = [], set(), job
    for _ in range(3):
        latest = books.retry(latest.job)
        (mail,) = waiting(books, latest)
        generations.append(mail.generation)
        hashes.add(books.mail(mail.id).email_hash)
        assert mail.root_batch == f"{job.batch:032x}"
        assert books.mail(mail.id).retry_of == job.mails[0]
        books.ask(latest.batch)
        answer(books, latest, S.FAILED)
    assert (generations, len(hashes)) == ([1, 2, 3], 3)
    assert books.ledger_difference() == 0


@pytest.mark.parametrize(
    ("first", "then", "mail", "job_state"),
    [
        (S.FAILED, S.SENT, "sent", "completed"),
        (S.PERMANENTLY_FAILED, S.SENT, "sent", "completed"),
        (S.FAILED, S.PERMANENTLY_FAILED, "permanently_failed", "completed"),
        (S.FAILED, S.FAILED, "failed", "failed"),
        (S.FAILED, S.UNKNOWN, "failed", "failed"),
        (S.FAILED, S.REVOKED, "failed", "failed"),
        (S.PERMANENTLY_FAILED, S.FAILED, "permanently_failed", "completed"),
    ],
)
def test_settling_the_repetition_settles_the_first(
    books: Books, first: MailStatus, then: MailStatus, mail: str, job_state: str
) -> None:
    job = failed_job(books, first)
    child = again(books, job, then)
    assert books.states(job.mails) == [mail]
    number = (1, 0) if mail == "sent" else (0, 1)
    assert shown(books, job) == (job_state, *number)
    assert books.job(child.job).status in {"completed", "failed", "cancelled"}
    root, repeated = books.mail(job.mails[0]), books.mail(child.mails[0])
    if root.status == repeated.status:
        told = ("message_id", "sent_at", "error_code", "error_message")
        assert [root[name] for name in told] == [repeated[name] for name in told]
    assert books.ledger_difference() == 0


def test_a_part_that_fails_again_leaves_the_job_partly_failed(books: Books) -> None:
    job = failed_job(books, S.SENT, S.FAILED, S.FAILED)
    child = again(books, job, S.SENT, S.FAILED)
    assert shown(books, job) == ("partial_failure", 2, 1)
    assert shown(books, child) == ("partial_failure", 1, 1)
    assert books.batch(job.batch).sent_count == 2


def test_the_job_is_in_retry_while_any_repetition_runs(books: Books) -> None:
    job = failed_job(books, S.FAILED, S.FAILED)
    child = books.retry(job.job)
    assert shown(books, job)[0] == "manual_retry"
    books.ask(child.batch)
    books.refresh(child.batch)
    assert shown(books, job)[0] == "manual_retry"
    first, second = child.mails
    books.tell(child.batch, books.says(first, S.SENT), books.says(second, S.FAILED, retryable=True))
    assert shown(books, child)[0] == "retry_pending"
    assert shown(books, job) == ("manual_retry", 1, 1)
    books.ask(child.batch)
    books.tell(child.batch, books.says(second, S.SENT))
    assert shown(books, child) == ("completed", 2, 0)
    assert shown(books, job) == ("completed", 2, 0)


def test_a_repetition_of_a_repetition_settles_both(books: Books) -> None:
    job = failed_job(books, S.FAILED)
    child = again(books, job, S.FAILED)
    grandchild = books.retry(child.job)
    assert shown(books, child)[0] == "manual_retry"
    assert shown(books, job)[0] == "manual_retry"
    books.ask(grandchild.batch)
    answer(books, grandchild, S.SENT)
    assert [shown(books, each) for each in (job, child, grandchild)] == [("completed", 1, 0)] * 3
    assert books.ledger_difference() == 0


def test_a_mail_that_arrived_after_all_is_not_repeated_from_an_older_job(books: Books) -> None:
    job = failed_job(books, S.FAILED)
    child = again(books, job, S.FAILED)
    again(books, job, S.SENT)  # a second repetition, of the first job
    for each in (job, child):
        with pytest.raises(SidecarError, match="no mail has failed"):
            books.retry(each.job, R.FAILED, R.PERMANENTLY_FAILED)


def test_a_late_sent_on_the_first_mail_ends_its_repetitions(books: Books) -> None:
    job = failed_job(books, S.FAILED)
    child = again(books, job, S.FAILED)
    answer(books, job, S.SENT)
    with pytest.raises(SidecarError, match="no mail has failed"):
        books.retry(child.job)


def test_a_mail_whose_repetition_may_be_out_is_not_asked_again_blindly(books: Books) -> None:
    job = failed_job(books, S.FAILED)
    child = again(books, job, S.UNKNOWN)
    assert failed(books, job) == []
    books.set(books.tables.recipients, child.mails[0], status="failed")  # the admin knows
    assert [mail.generation for mail in failed(books, job)] == [2]


def test_what_was_sent_at_last_was_sent_whichever_is_settled_first(books: Books) -> None:
    job = failed_job(books, S.FAILED)
    first = again(books, job, S.FAILED)
    second = books.retry(job.job)
    books.ask(second.batch)
    for mail, state in ((first.mails[0], "permanently_failed"), (second.mails[0], "sent")):
        books.set(books.tables.recipients, mail, status=state)
    books.refresh(first.batch, second.batch)
    assert books.states([*job.mails, *first.mails, *second.mails]) == ["sent"] * 3


def test_an_older_repetition_does_not_settle_a_newer_one(books: Books) -> None:
    job = failed_job(books, S.FAILED)
    first = again(books, job, S.PERMANENTLY_FAILED)
    second = again(books, job, S.FAILED)
    books.refresh(first.batch, second.batch)
    assert books.states(second.mails) == ["failed"]


def test_a_mail_that_never_was_in_any_ask_has_no_root_batch(books: Books) -> None:
    job = books.capture(1)
    books.set(books.tables.recipients, job.mails[0], status="permanently_failed")
    books.refresh(job.batch)
    assert books.batch(job.batch).batch_key is None
    child = books.retry(job.job, R.PERMANENTLY_FAILED)
    (mail,) = waiting(books, child)
    assert mail.root_batch == ""  # the one that it is in


def test_mails_of_one_stamp_share_batches_of_the_size_that_is_set(books: Books) -> None:
    job = failed_job(books, *[S.FAILED] * 5)
    with books.write() as tx:
        child, number = jobs.retry(tx, books.database, job.job, [R.FAILED], "smtp", 2)
    batches = [books.batch(batch) for batch in books.batches(child)]
    assert number == books.job(child).email_count == 5
    assert [batch.email_count for batch in batches] == [2, 2, 1]
    assert [batch.batch_num for batch in batches] == [1, 2, 3]
    assert {batch.provider for batch in batches} == {"smtp"}
