"""Feedback of a provider becomes the truth in the tables, keeps addresses from being written to
again, and stops a company of whose mails too many come back."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import pytest

from sidecar.connectors.aws_feedback import parse_feedback
from sidecar.connectors.base import CollectedFeedback, Connector, FeedbackConnector
from sidecar.errors import SidecarError, Unavailable
from sidecar.holds import holds_now
from sidecar.message import MailStatus
from sidecar.metrics.registry import Metrics
from sidecar.pollers.feedback import FeedbackPoller
from sidecar.recorder import Recorder
from sidecar.reputation import standings
from sidecar.routes import Route, Routes, SmtpRoute
from sidecar.settings import Settings
from sidecar.store import suppressions
from sidecar.store.companies import Company, read_companies, set_company
from sidecar.store.site import read_site
from tests.connectors.feedback_events import about, bounce, complaint, delivery
from tests.support.books import Books, Captured

QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/feedback"


class Queue:
    """A feedback queue: everything comes until it is forgotten."""

    def __init__(self) -> None:
        self.messages: dict[str, str] = {}
        self.broken: Exception | None = None

    def put(self, *bodies: str) -> None:
        for body in bodies:
            self.messages[f"receipt-{len(self.messages)}-{id(body)}"] = body

    def collect_feedback(self) -> list[CollectedFeedback]:
        if self.broken:
            raise self.broken
        found = list(self.messages.items())[:10]
        return [CollectedFeedback(receipt, parse_feedback(body)) for receipt, body in found]

    def forget_feedback(self, receipts: Sequence[str]) -> None:
        for receipt in receipts:
            del self.messages[receipt]

    def nothing(self, *_: Any) -> None:
        raise NotImplementedError

    name, learns_at_once = "aws", False
    max_bytes = max_mail_bytes = nothing
    submit = probe = collect = forget = revoke = depth = close = quota = nothing


class OneQueue(Routes):
    """Routes of which one has feedback, by ``queue``."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(Settings(), lambda: None, str)
        self._queue = cast("FeedbackConnector", queue)

    def feedback(self, companies: Iterable[Company]) -> dict[str, Route]:
        return {QUEUE: SmtpRoute((), 0)}  # any: it is only a name

    def connector(self, route: Route) -> Connector:
        return self._queue


class Rig:
    """A poller on real tables; companies 1 and 2 have the queue, company 3 has another."""

    def __init__(self, books: Books) -> None:
        self.books, self.queue, self.metrics = books, Queue(), Metrics()
        self.paused: list[int] = []
        self.recorder = Recorder(books.database, books.lease, self.metrics)
        self.poller = FeedbackPoller(
            books.database,
            books.lease,
            self.recorder,
            OneQueue(self.queue),
            self.metrics,
            books.site_uid,
            self.paused.append,
        )
        for company in (1, 2, 3):
            url = f"{QUEUE}3" if company == 3 else QUEUE
            with books.write() as tx:
                set_company(tx, books.database, company, {"feedback_queue_url": url, "enabled": 1})

    def poll(self) -> int:
        number = self.poller.poll(read_companies(self.books.database, 10))
        self.books.refresh(*self.recorder.take_dirty())
        return number

    def job(self, number: int = 3, company: int = 1) -> Captured:
        """A job of which all mails are sent."""
        job = self.books.capture(number, company=company)
        self.books.ask(job.batch)
        told = [self.books.says(mail, MailStatus.SENT) for mail in job.mails]
        self.books.tell(job.batch, *told)
        return job

    def tell(self, kind: Any, *mails: int, site: str | None = None) -> None:
        """An event about each of these mails."""
        site = self.books.site_uid if site is None else site
        for mail_id in mails:
            row = self.books.mail(mail_id)
            self.queue.put(about(kind(row.email), key=row.mail_key, site=site))

    def suppressed(self) -> set[tuple[str, int, str]]:
        with self.books.database.read() as conn:
            found = suppressions.list_all(conn, self.books.database, None)
        return {(entry.email, entry.company_id, entry.reason) for entry in found}

    def company(self, company: int = 1) -> Company:
        return read_companies(self.books.database, 10).get(company)

    def kinds(self) -> dict[str, float]:
        return {
            sample.labels["kind"]: sample.value
            for metric in self.metrics.feedback.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.value
        }


@pytest.fixture
def rig(books: Books) -> Iterator[Rig]:
    made = Rig(books)
    yield made
    made.recorder.stop(5)


def test_a_bounce_ends_the_mail_and_suppresses_its_address(rig: Rig) -> None:
    job = rig.job()
    rig.tell(bounce, job.mails[1])
    assert rig.poll() == 1
    row = rig.books.mail(job.mails[1])
    assert (row.status, row.error_code) == ("permanently_failed", "bounced")
    assert "550 5.1.1 user unknown" in row.error_message
    assert rig.suppressed() == {(row.email, 1, "bounce")}
    whole, batch = rig.books.job(job.job), rig.books.batch(job.batch)
    assert (whole.status, whole.emails_sent, whole.emails_failed) == ("completed", 2, 1)
    assert (batch.sent_count, batch.failed_count) == (2, 1)
    assert rig.books.ledger_difference() == 0
    assert not rig.queue.messages
    assert rig.kinds() == {"bounced": 1}


def test_feedback_that_comes_twice_counts_once(rig: Rig) -> None:
    job = rig.job()
    rig.tell(bounce, job.mails[0], job.mails[0])
    rig.poll()
    rig.tell(bounce, job.mails[0])
    rig.poll()
    assert rig.books.job(job.job).emails_failed == 1
    assert len(rig.suppressed()) == 1


def test_a_complaint_outranks_a_bounce_and_no_report_takes_either_back(rig: Rig) -> None:
    job = rig.job()
    rig.tell(bounce, job.mails[0])
    rig.tell(complaint, job.mails[0])
    rig.tell(bounce, job.mails[0])
    rig.poll()
    assert rig.books.mail(job.mails[0]).error_code == "complained"
    rig.books.tell(job.batch, rig.books.says(job.mails[0], MailStatus.SENT))
    assert rig.books.states(job.mails) == ["permanently_failed", "sent", "sent"]
    rig.tell(delivery, job.mails[0])
    rig.poll()
    assert rig.books.mail(job.mails[0]).error_code == "complained"


def test_a_bounce_may_overtake_the_report_of_the_worker(rig: Rig) -> None:
    job = rig.books.capture(2)
    rig.books.ask(job.batch)
    rig.tell(bounce, job.mails[0])
    rig.poll()
    told = [rig.books.says(mail, MailStatus.SENT) for mail in job.mails]
    rig.books.tell(job.batch, *told)
    assert rig.books.states(job.mails) == ["permanently_failed", "sent"]
    assert rig.books.job(job.job).status == "completed"


def test_a_delivery_resolves_what_nobody_knew(rig: Rig) -> None:
    job = rig.books.capture(2)
    rig.books.ask(job.batch)
    told = [rig.books.says(mail, MailStatus.UNKNOWN, code="lost") for mail in job.mails]
    rig.books.tell(job.batch, *told)
    assert rig.books.states(job.mails) == ["unknown", "unknown"]
    rig.tell(delivery, job.mails[0])
    rig.tell(bounce, job.mails[1])
    rig.poll()
    assert rig.books.states(job.mails) == ["sent", "permanently_failed"]
    assert rig.books.mail(job.mails[0]).message_id == "ses-1"
    assert rig.books.job(job.job).status == "completed"


def test_a_soft_bounce_ends_the_mail_and_suppresses_nobody(rig: Rig) -> None:
    job = rig.job(1)
    rig.tell(lambda to: bounce(to, "Transient", "MailboxFull"), *job.mails)
    rig.poll()
    row = rig.books.mail(job.mails[0])
    assert (row.status, row.error_code) == ("permanently_failed", "soft_bounced")
    assert not rig.suppressed()


def test_a_repetition_that_bounces_ends_what_it_repeats(rig: Rig) -> None:
    job = rig.books.capture(1)
    rig.books.ask(job.batch)
    rig.books.tell(job.batch, rig.books.says(job.mails[0], MailStatus.FAILED, code="x"))
    child = rig.books.retry(job.job)
    rig.books.ask(child.batch)
    rig.books.tell(child.batch, rig.books.says(child.mails[0], MailStatus.SENT))
    assert rig.books.states([*job.mails, *child.mails]) == ["sent", "sent"]
    rig.tell(bounce, child.mails[0])
    rig.poll()
    assert rig.books.states([*job.mails, *child.mails]) == ["permanently_failed"] * 2


def test_feedback_without_our_tags_finds_the_mail_by_address_and_name(rig: Rig) -> None:
    job = rig.job(2)
    row = rig.books.mail(job.mails[0])
    rig.queue.put(about(bounce(row.email), message_id=f"ses-{row.id}"))
    rig.queue.put(about(bounce(rig.books.mail(job.mails[1]).email), message_id="another"))
    rig.poll()
    assert rig.books.states(job.mails) == ["permanently_failed", "sent"]


# Whom it may not concern


def test_of_another_companys_queue_nothing_is_believed(rig: Rig) -> None:
    theirs = rig.job(1, company=3)
    rig.tell(bounce, *theirs.mails)
    assert rig.poll() == 1
    assert rig.books.states(theirs.mails) == ["sent"]
    assert not rig.suppressed()
    assert rig.kinds() == {"unknown_mail": 1}


def test_only_the_address_that_the_mail_went_to_can_bounce(rig: Rig) -> None:
    job = rig.job(1)
    row = rig.books.mail(job.mails[0])
    rig.queue.put(
        about(bounce("victim@x.test"), key=row.mail_key, site=rig.books.site_uid),
        about(complaint("victim@x.test"), key=row.mail_key, site=rig.books.site_uid),
    )
    rig.poll()
    assert rig.books.states(job.mails) == ["sent"]
    assert not rig.suppressed()


def test_a_mail_that_went_by_smtp_cannot_bounce_here(rig: Rig) -> None:
    job = rig.books.capture(1, provider="smtp")
    rig.books.set(rig.books.tables.recipients, job.mails[0], status="sent")
    rig.tell(bounce, *job.mails)
    rig.poll()
    assert rig.books.states(job.mails) == ["sent"]


def test_feedback_of_another_site_is_left_for_its_owner(rig: Rig) -> None:
    job = rig.job(1)
    rig.tell(bounce, *job.mails, site="another")
    assert rig.poll() == 0
    assert len(rig.queue.messages) == 1
    assert rig.books.states(job.mails) == ["sent"]


def test_garbage_goes_and_what_stands_beside_it_is_read(rig: Rig) -> None:
    job = rig.job(1)
    rig.queue.put("{", "[]", "null")
    rig.tell(bounce, *job.mails)
    assert rig.poll() == 4
    assert rig.books.states(job.mails) == ["permanently_failed"]


def test_a_queue_in_trouble_is_left_alone_and_no_list_changes(rig: Rig) -> None:
    job = rig.job(1)
    rig.tell(bounce, *job.mails)
    rig.poll()
    before = rig.suppressed()
    rig.queue.broken = Unavailable("feedback queue: AWS is in trouble", "500")
    assert rig.poll() == 0
    rig.queue.broken = AssertionError("it is asked again too soon")
    assert rig.poll() == 0
    assert rig.suppressed() == before != set()


# Too many


def history(rig: Rig, mails: int, company: int = 1) -> Captured:
    """A job of so many sent mails."""
    job = rig.books.capture(mails, company=company)
    r = rig.books.tables.recipients
    with rig.books.write() as tx:
        tx.conn.execute(
            r.update().where(r.c.job_id == job.job).values(status="sent", sent_at=tx.now)
        )
    rig.books.refresh(job.batch)
    return job


def test_a_company_is_paused_at_five_in_a_hundred(rig: Rig) -> None:
    job = history(rig, 1000)
    others = history(rig, 100, company=2)
    rig.tell(bounce, *job.mails[:49])
    rig.poll()
    assert not rig.company().paused
    rig.tell(bounce, job.mails[50])
    rig.poll()
    assert rig.company().paused
    assert not rig.company(2).paused
    assert rig.paused == [1]
    standing = standings(read_site(rig.books.database).state)[1]
    assert "50 of the last 1000 mails bounced (5.0%" in standing.paused
    holds = holds_now(
        read_companies(rig.books.database, 10), frozenset(), 0, everything=False,
        stopped={1: standing},
    )  # fmt: skip
    assert "50 of the last 1000 mails bounced" in holds.reason(1, job.job)
    assert not holds.reason(2, others.job)
    rig.poller.show_rates([1, 2])
    assert rig.metrics.bounce_rate.labels("1")._value.get() == 0.05
    assert rig.metrics.bounce_rate.labels("2")._value.get() == 0


def test_a_company_is_paused_at_one_complaint_in_a_thousand(rig: Rig) -> None:
    before, job = history(rig, 200), history(rig, 1000)
    rig.tell(complaint, before.mails[100])  # not among the last thousand
    rig.poll()
    assert not rig.company().paused
    rig.tell(complaint, job.mails[-1])
    rig.poll()
    assert rig.company().paused


def test_few_mails_say_little(rig: Rig) -> None:
    job = history(rig, 20)
    rig.tell(bounce, *job.mails[:4])
    rig.tell(complaint, job.mails[5])
    rig.poll()
    assert not rig.company().paused
    rig.tell(bounce, job.mails[4])
    rig.poll()
    assert rig.company().paused


def test_after_a_resume_the_rates_are_taken_anew(rig: Rig) -> None:
    job = history(rig, 100)
    rig.tell(bounce, *job.mails[:10])
    rig.poll()
    assert rig.company().paused
    with rig.books.write() as tx:
        set_company(tx, rig.books.database, 1, {"paused": 0})
    rig.poll()
    standing = standings(read_site(rig.books.database).state)[1]
    assert standing.since
    assert not standing.paused
    rig.tell(bounce, job.mails[11])
    rig.poll()
    assert not rig.company().paused


def test_what_cannot_be_taken_back_keeps_no_company_from_being_paused(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_company: int) -> None:
        raise SidecarError("the ledger does not answer")

    rig.poller._pause = fail
    job = history(rig, 100)
    rig.tell(bounce, *job.mails[:10])
    assert rig.poll() == 10
    assert rig.company().paused
    assert "the ledger does not answer" in caplog.text
