"""The results poller: taken in first, believed later, each report once."""

import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from sidecar.connectors.base import Collected, Connector
from sidecar.errors import LeaseLostError, Unavailable
from sidecar.lifecycle import Recipient
from sidecar.message import (
    JOB,
    RESULT,
    BatchResult,
    BatchStatus,
    MailStatus,
    SigningKey,
    encode_result,
    seal,
    sign,
)
from sidecar.metrics.registry import Metrics
from sidecar.moodle.encryption import Vault
from sidecar.pollers.results import Results
from sidecar.recorder import Recorder
from sidecar.routes import Route, Routes, SmtpRoute
from sidecar.settings import Settings
from sidecar.store import companies as company_store
from sidecar.store import inbox
from sidecar.store.companies import Company, read_companies
from sidecar.store.inbox import KEPT_SECONDS, Delivery
from tests.support.books import Books, Captured, Row

S = MailStatus
KEYS = {1: SigningKey("c1-key", "secret of 1"), 2: SigningKey("c2-key", "secret of 2")}


class Queue:
    """A results queue: what was received is hidden until ``show``, what is forgotten is gone."""

    def __init__(self) -> None:
        self.messages: dict[str, str] = {}
        self.page = 10
        self.hides = True
        self.on_forget: Callable[[], None] = lambda: None
        self.broken: Exception | None = None
        self.collects = 0
        self._hidden: set[str] = set()
        self._numbers = itertools.count()

    def put(self, *bodies: str) -> None:
        for body in bodies:
            self.messages[f"receipt-{next(self._numbers)}"] = body

    def show(self) -> None:
        """Everything that was received and not forgotten comes again."""
        self._hidden.clear()

    def collect(self) -> list[Collected]:
        self.collects += 1
        if self.broken:
            raise self.broken
        if not self.hides:
            self.show()
        found = [r for r in self.messages if r not in self._hidden][: self.page]
        self._hidden |= set(found)
        return [Collected(receipt, self.messages[receipt]) for receipt in found]

    def forget(self, receipts: Sequence[str]) -> None:
        self.on_forget()
        for receipt in receipts:
            del self.messages[receipt]


class OneQueue(Routes):
    """Routes of which one tells results, by ``queue``."""

    def __init__(self, queue: Queue, vault: Vault) -> None:
        super().__init__(Settings(), lambda: None, vault.reveal)
        self._queue = queue

    def reporting(self, companies: Iterable[Company]) -> list[Route]:
        return [SmtpRoute((), 0)]  # any: it is only a name

    def connector(self, route: Route) -> Connector:
        return cast("Connector", self._queue)


class Rig:
    """A poller on real tables, a queue, and two companies with a key each."""

    def __init__(self, books: Books, dataroot: Path) -> None:
        self.books, self.queue, self.metrics = books, Queue(), Metrics()
        self.vault = Vault(dataroot)
        self.key_file = dataroot / "secret" / "key" / "sodium.key"
        for company, key in KEYS.items():
            self.set_key(company, key)
        self.recorder = Recorder(books.database, books.lease, self.metrics)
        self.results = self.poller()

    def poller(self) -> Results:
        """The poller of a process that has just started."""
        return Results(
            self.books.database,
            self.books.lease,
            self.recorder,
            OneQueue(self.queue, self.vault),
            self.vault,
            self.metrics,
            self.books.site_uid,
        )

    def set_key(self, company: int, key: SigningKey) -> None:
        database, secret = self.books.database, self.vault.conceal(key.secret)
        with self.books.write() as tx:
            company_store.set_company(tx, database, company, {"enabled": 1})
            company_store.replace_callback_key(tx, database, company, key.key, secret)

    def poll(self) -> int:
        """One look at everything, and the refresh that follows."""
        moved = self.results.poll(lambda: read_companies(self.books.database, 10))
        self.books.refresh(*self.recorder.take_dirty())
        return moved

    def report(self, job: Captured, *told: MailStatus, try_: int = 1) -> BatchResult:
        """A worker's report on the first mails of a job."""
        mails = zip(job.mails, told, strict=False)
        said = [self.books.says(mail, status, code="why") for mail, status in mails]
        return self.books.result(job.batch, *said, try_=try_)

    def inbox(self, *deliveries: Delivery) -> None:
        """What the callback page does."""
        with self.books.database.write(None) as tx:
            inbox.store(tx, self.books.database, deliveries)

    def verdicts(self) -> dict[str, float]:
        """Results by what became of them."""
        return {
            sample.labels["verdict"]: sample.value
            for metric in self.metrics.results.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.value
        }

    def deliveries(self) -> list[Row]:
        """The inbox."""
        c = self.books.tables.callbacks
        with self.books.database.read() as conn:
            found = conn.execute(select(c).order_by(c.c.id)).mappings()
            return [Row(row) for row in found]

    def outcomes(self) -> list[str]:
        """What became of each delivery of the inbox, '' while it waits."""
        rows = self.deliveries()
        assert all(bool(row.processed_at) == bool(row.outcome) for row in rows)
        return [row.outcome for row in rows]

    def job(self, number: int = 2, company: int = 1) -> Captured:
        """A job that a provider has."""
        job = self.books.capture(number, company=company)
        self.books.ask(job.batch)
        return job

    def shown(self, job: Captured) -> tuple[str, int, int]:
        """State and counters of a job; its batches and mails say the same."""
        whole, batch = self.books.job(job.job), self.books.batch(job.batch)
        states = self.books.states(job.mails)
        failed = sum(states.count(state) for state in ("failed", "permanently_failed", "unknown"))
        assert (whole.emails_sent, whole.emails_failed) == (states.count("sent"), failed)
        assert (batch.sent_count, batch.failed_count) == (states.count("sent"), failed)
        assert self.books.ledger_difference() == 0
        return whole.status, whole.emails_sent, whole.emails_failed


def message(result: BatchResult, company: int = 1, timestamp: int = 1_800_000_000) -> str:
    """A report as it lies in a results queue."""
    return seal(RESULT, encode_result(result), KEYS[company], timestamp)


def delivery(result: BatchResult, company: int = 1) -> Delivery:
    """A report as the callback page stores it."""
    key, payload = KEYS[company], encode_result(result)
    signature = sign(RESULT, 1000, payload, key.secret)
    return Delivery(result.delivery_id, key.key, 1000, payload, signature)


@pytest.fixture
def rig(books: Books, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(books, tmp_path)
    yield made
    made.recorder.stop(5)


def test_a_result_of_the_queue_is_applied_and_gone_from_there(rig: Rig) -> None:
    job = rig.job()
    rig.queue.put(message(rig.report(job, S.SENT, S.FAILED)))
    assert rig.poll() == 2  # taken in, and settled
    assert rig.shown(job) == ("partial_failure", 1, 1)
    assert rig.queue.messages == {}
    assert rig.outcomes() == ["applied"]
    assert rig.verdicts() == {"applied": 1}
    assert rig.poll() == 0


def test_a_result_of_the_page_is_applied(rig: Rig) -> None:
    job = rig.job()
    rig.inbox(delivery(rig.report(job, S.SENT, S.SENT)))
    assert rig.poll() == 1
    assert rig.shown(job) == ("completed", 2, 0)


def test_a_result_is_committed_before_it_is_deleted_at_its_provider(rig: Rig) -> None:
    job = rig.job()
    rig.queue.put(message(rig.report(job, S.SENT, S.SENT)))
    stored: list[int] = []
    rig.queue.on_forget = lambda: stored.append(len(rig.deliveries()))
    rig.poll()
    assert stored == [1]


class _KilledError(Exception):
    """The process ends here."""


def test_killed_between_commit_and_delete_it_comes_again_and_counts_once(rig: Rig) -> None:
    job = rig.job()
    rig.queue.put(message(rig.report(job, S.SENT, S.FAILED)))

    def die() -> None:
        raise _KilledError

    rig.queue.on_forget = die
    with pytest.raises(_KilledError):
        rig.poll()
    assert (len(rig.queue.messages), len(rig.deliveries())) == (1, 1)
    rig.queue.on_forget = lambda: None
    rig.queue.show()
    rig.results = rig.poller()
    rig.poll()
    rig.poll()
    assert rig.shown(job) == ("partial_failure", 1, 1)
    assert (rig.queue.messages, rig.outcomes()) == ({}, ["applied"])
    assert rig.verdicts() == {"applied": 1, "seen_before": 1}


def test_a_leader_that_lost_its_lease_takes_nothing_in(rig: Rig) -> None:
    job = rig.job()
    rig.queue.put(message(rig.report(job, S.SENT, S.SENT)))
    companies = read_companies(rig.books.database, 10)
    rig.books.lease.release()
    with pytest.raises(LeaseLostError):
        rig.results.poll(lambda: companies)
    assert (len(rig.queue.messages), rig.deliveries()) == (1, [])


def test_a_delete_that_fails_costs_nothing(rig: Rig) -> None:
    job = rig.job()
    rig.queue.put(message(rig.report(job, S.SENT, S.SENT)))

    def fail() -> None:
        raise Unavailable("no answer")

    rig.queue.on_forget = fail
    rig.poll()
    assert rig.shown(job) == ("completed", 2, 0)
    assert len(rig.queue.messages) == 1


def test_a_queue_in_trouble_is_left_alone_and_the_page_goes_on(rig: Rig) -> None:
    first, second = rig.job(), rig.job()
    rig.queue.broken = Unavailable("no answer")
    rig.inbox(delivery(rig.report(first, S.SENT, S.SENT)))
    assert rig.poll() == 1
    rig.inbox(delivery(rig.report(second, S.SENT, S.SENT)))
    assert rig.poll() == 1
    assert rig.queue.collects == 1
    assert [rig.shown(job)[0] for job in (first, second)] == ["completed", "completed"]


def test_doubled_and_replayed_reports_are_applied_once(rig: Rig) -> None:
    job = rig.job()
    body = message(rig.report(job, S.SENT, S.FAILED))
    rig.queue.put(body, body)
    rig.inbox(delivery(rig.report(job, S.SENT, S.FAILED)))
    rig.poll()
    rig.queue.put(body)  # replayed
    later = rig.report(job, S.SENT, S.FAILED, try_=2)  # repeated under another name
    rig.queue.put(message(later, timestamp=1_900_000_000))
    rig.poll()
    assert rig.shown(job) == ("partial_failure", 1, 1)
    assert rig.outcomes() == ["applied", "nothing_new"]
    assert rig.queue.messages == {}


@given(st.data())
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_reports_in_any_order_end_in_the_same_truth(rig: Rig, data: st.DataObject) -> None:
    job = rig.job(3)
    reports = [
        rig.report(job, S.FAILED, S.FAILED, S.UNKNOWN, try_=1),
        rig.report(job, S.SENT, S.UNKNOWN, S.PERMANENTLY_FAILED, try_=2),
        rig.report(job, S.UNKNOWN, S.FAILED, S.UNKNOWN, try_=3),
    ]
    bodies = [message(report) for report in reports]
    rig.queue.put(*data.draw(st.permutations([*bodies, *bodies])))
    rig.queue.page = data.draw(st.integers(1, 6))
    rig.poll()
    assert rig.books.states(job.mails) == ["sent", "failed", "permanently_failed"]
    assert rig.shown(job) == ("partial_failure", 1, 2)


def forged(rig: Rig, result: BatchResult) -> str:
    return seal(RESULT, encode_result(result), SigningKey("c1-key", "guessed"), 1)


def of_unknown_key(rig: Rig, result: BatchResult) -> str:
    return seal(RESULT, encode_result(result), SigningKey("nobody", "secret of 1"), 1)


def of_other_company(rig: Rig, result: BatchResult) -> str:
    return message(result, company=2)


def of_unknown_batch(rig: Rig, result: BatchResult) -> str:
    return message(replace(result, batch_key="f" * 32))


def a_job(rig: Rig, result: BatchResult) -> str:
    return seal(JOB, encode_result(result), KEYS[1], 1)


def a_job_called_result(rig: Rig, result: BatchResult) -> str:
    return json.dumps(json.loads(a_job(rig, result)) | {"kind": "result"})


def not_json(rig: Rig, result: BatchResult) -> str:
    return "<html>"


def no_object(rig: Rig, result: BatchResult) -> str:
    return "[" * 100_000


def payload_is_no_report(rig: Rig, result: BatchResult) -> str:
    fields = json.loads(encode_result(result)) | {"recipients": "none"}
    return seal(RESULT, json.dumps(fields), KEYS[1], 1)


def payload_names_nobody(rig: Rig, result: BatchResult) -> str:
    return seal(RESULT, "{}", KEYS[1], 1)


def of_another_time(rig: Rig, result: BatchResult) -> str:
    return json.dumps(json.loads(message(result)) | {"timestamp": 1})


def with_another_text(rig: Rig, result: BatchResult) -> str:
    envelope = json.loads(message(result))
    envelope["payload"] = envelope["payload"].replace('"sent"', '"failed"', 1)
    return json.dumps(envelope)


@pytest.mark.parametrize(
    ("make", "verdict", "stored"),
    [
        (forged, "bad_signature", False),
        (of_another_time, "bad_signature", False),
        (with_another_text, "bad_signature", False),
        (a_job_called_result, "bad_signature", False),
        (of_unknown_key, "unknown_key", False),
        (a_job, "malformed", False),
        (not_json, "malformed", False),
        (no_object, "malformed", False),
        (payload_names_nobody, "malformed", False),
        (payload_is_no_report, "malformed", True),
        (of_other_company, "other_company", True),
        (of_unknown_batch, "unknown_batch", True),
    ],
)
def test_what_is_not_to_be_believed_changes_nothing_and_goes(
    rig: Rig, make: Callable[[Rig, BatchResult], str], verdict: str, stored: bool
) -> None:
    job, good = rig.job(), rig.job()
    rig.queue.put(make(rig, rig.report(job, S.SENT, S.SENT)))
    rig.queue.put(message(rig.report(good, S.SENT, S.SENT)))
    rig.poll()
    assert rig.books.states(job.mails) == ["processing", "processing"]
    assert rig.shown(good) == ("completed", 2, 0)
    assert rig.queue.messages == {}
    assert rig.outcomes() == ([verdict, "applied"] if stored else ["applied"])
    assert rig.verdicts() == {verdict: 1, "applied": 1}


def test_the_page_is_not_trusted(rig: Rig) -> None:
    job = rig.job()
    good = delivery(rig.report(job, S.SENT, S.SENT))
    names = (f"{number:064x}" for number in range(9))
    rig.inbox(
        replace(good, delivery_id=next(names), signature="0" * 64),
        replace(good, delivery_id=next(names), callback_key="nobody"),
        replace(good, delivery_id=next(names), signed_at=1001),
        replace(delivery(rig.report(job, S.SENT), company=2), delivery_id=next(names)),
        replace(good, delivery_id=next(names), payload="{}"),
    )
    rig.poll()
    assert rig.outcomes() == [
        *("bad_signature", "unknown_key", "bad_signature", "other_company", "bad_signature")
    ]
    assert rig.books.states(job.mails) == ["processing", "processing"]


def test_results_of_another_site_are_left_for_their_owner(rig: Rig) -> None:
    job = rig.job()
    theirs = replace(rig.report(job, S.SENT, S.SENT), site_uid="b" * 32)
    rig.queue.put(message(theirs))
    assert rig.poll() == 0
    assert (len(rig.queue.messages), rig.deliveries()) == (1, [])
    assert rig.books.states(job.mails) == ["processing", "processing"]
    assert rig.verdicts() == {"other_site": 1}
    rig.inbox(delivery(theirs))  # the page of a copied site may bring one
    rig.poll()
    assert rig.outcomes() == ["other_site"]


def test_a_queue_full_of_other_sites_results_does_not_hold_us_up(rig: Rig) -> None:
    job = rig.job()
    theirs = [
        message(replace(rig.report(job, S.SENT), site_uid="b" * 32, delivery_id=f"{n:064x}"))
        for n in range(3)
    ]
    rig.queue.page = 3
    rig.queue.put(*theirs)
    rig.queue.put(message(rig.report(job, S.SENT, S.SENT)))
    rig.queue.hides = False
    assert rig.poll() == 0
    assert rig.queue.collects == 1  # not round and round
    assert len(rig.queue.messages) == 4


def test_a_secret_that_cannot_be_read_keeps_its_results_waiting_and_nobody_elses(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs, queued = rig.job(), rig.job(company=2), rig.job()
    broken = rig.books.tables.companies
    with rig.books.write() as tx:
        row = tx.conn.execute(select(broken).where(broken.c.company_id == 1)).one()
    rig.books.set(broken, row.id, callback_secret="sodium:AAAA")
    rig.inbox(
        delivery(rig.report(ours, S.SENT, S.SENT)),
        delivery(rig.report(theirs, S.SENT, S.SENT), company=2),
    )
    rig.queue.put(message(rig.report(queued, S.SENT, S.SENT)))
    with caplog.at_level(logging.WARNING):
        assert rig.poll() == 1
        rig.poll()
        rig.poll()
    assert rig.shown(theirs) == ("completed", 2, 0)
    assert rig.outcomes() == ["", "applied"]
    assert len(rig.queue.messages) == 1
    waits = [r for r in caplog.records if r.getMessage().startswith("result ")]
    assert len(waits) == 1  # said once, not with every look
    rig.books.set(broken, row.id, callback_secret=row.callback_secret)
    rig.queue.show()
    rig.poll()
    assert rig.shown(ours) == rig.shown(queued) == ("completed", 2, 0)
    assert rig.queue.messages == {}


def test_many_that_wait_do_not_hide_what_comes_after_them(rig: Rig) -> None:
    broken = rig.books.tables.companies
    waiting, good = rig.job(1), rig.job(company=2)
    first = delivery(rig.report(waiting, S.SENT))
    rig.inbox(*(replace(first, delivery_id=f"{number:064x}") for number in range(120)))
    rig.inbox(delivery(rig.report(good, S.SENT, S.SENT), company=2))
    rig.key_file.rename(rig.key_file.with_name("away"))
    assert rig.poll() == 0
    rig.key_file.with_name("away").rename(rig.key_file)
    with rig.books.write() as tx:
        row = tx.conn.execute(select(broken.c.id).where(broken.c.company_id == 1)).one()
    rig.books.set(broken, row.id, callback_secret="sodium:AAAA")
    assert rig.poll() == 1
    assert rig.shown(good) == ("completed", 2, 0)
    assert rig.outcomes().count("") == 120


def test_a_late_sent_on_a_cancelled_mail_is_recorded_and_told(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    job = rig.job()
    rig.books.set(rig.books.tables.recipients, job.mails[0], status="cancelled")
    rig.queue.put(message(rig.report(job, S.SENT, S.SENT)))
    with caplog.at_level(logging.ERROR):
        rig.poll()
    assert f"mail {job.mails[0]} was sent although it is cancelled" in caplog.text
    assert rig.shown(job) == ("completed", 2, 0)
    assert rig.outcomes() == ["sent_after_all"]
    assert rig.verdicts() == {"sent_after_all": 1}


@pytest.mark.parametrize("way", ["callback", "queue"])
def test_a_key_may_be_younger_than_the_look_that_finds_its_report(rig: Rig, way: str) -> None:
    """A worker that has just got its key answers within a second."""
    job, new = rig.job(), SigningKey("c1-new", "another secret")
    database = rig.books.database
    reads = iter([read_companies(database, 10)])
    rig.set_key(1, new)
    report = rig.report(job, S.SENT, S.SENT)
    payload = encode_result(report)
    if way == "queue":
        rig.queue.put(seal(RESULT, payload, new, 1_800_000_000))
    else:
        signature = sign(RESULT, 1000, payload, new.secret)
        rig.inbox(Delivery(report.delivery_id, new.key, 1000, payload, signature))
    rig.results.poll(lambda: next(reads, None) or read_companies(database, 10))
    assert rig.outcomes() == ["applied"]


def test_reports_of_a_rotated_key_are_believed_for_a_day(rig: Rig) -> None:
    first, second = rig.job(1), rig.job(1)
    new = SigningKey("c1-new", "another secret")
    rig.set_key(1, new)
    by_new = seal(RESULT, encode_result(rig.report(first, S.SENT)), new, 1)
    rig.queue.put(by_new, message(rig.report(second, S.SENT)))
    rig.poll()
    assert rig.outcomes() == ["applied", "applied"]
    third = rig.job(1)
    c = rig.books.tables.companies
    with rig.books.write() as tx:
        row = tx.conn.execute(select(c.c.id).where(c.c.callback_key == "c1-new")).one()
    rig.books.set(c, row.id, callback_old_until=rig.books.now() - 1)
    rig.queue.put(message(rig.report(third, S.SENT)))
    rig.poll()
    assert rig.books.states(third.mails) == ["processing"]
    assert rig.verdicts()["unknown_key"] == 1


def test_a_report_of_the_repetition_settles_the_first_job(rig: Rig) -> None:
    job = rig.job()
    rig.queue.put(message(rig.report(job, S.SENT, S.FAILED)))
    rig.poll()
    child = rig.books.retry(job.job, Recipient.FAILED)
    rig.books.ask(child.batch)
    assert rig.books.job(job.job).status == "manual_retry"
    rig.queue.put(message(rig.report(child, S.SENT)))
    rig.poll()
    assert rig.shown(child) == ("completed", 1, 0)
    assert rig.shown(job) == ("completed", 2, 0)


def test_what_a_worker_says_of_the_whole_batch_is_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    job = rig.job()
    rig.queue.put(message(replace(rig.report(job), errors=("SITE_UID is another",))))
    with caplog.at_level(logging.WARNING):
        rig.poll()
    assert "the worker says: SITE_UID is another" in caplog.text
    assert rig.outcomes() == ["nothing_new"]
    assert rig.books.states(job.mails) == ["processing", "processing"]


def test_a_batch_that_the_worker_refuses_has_failed_and_can_be_repeated(rig: Rig) -> None:
    job = rig.job(3)
    refused = replace(
        rig.report(job), status=BatchStatus.REFUSED, errors=("encoding: not known",), recipients=()
    )
    rig.queue.put(message(refused))
    rig.poll()
    mails = [rig.books.mail(mail) for mail in rig.books.mails(job.batch)]
    assert {(mail.status, mail.error_code) for mail in mails} == {("failed", "refused")}
    assert "encoding: not known" in mails[0].error_message
    assert rig.books.retry(job.job, Recipient.FAILED)


def test_old_deliveries_are_forgotten(rig: Rig) -> None:
    job = rig.job()
    rig.inbox(delivery(rig.report(job, S.SENT, S.SENT)))
    rig.poll()
    (row,) = rig.deliveries()
    rig.books.set(
        rig.books.tables.callbacks, row.id, processed_at=rig.books.now() - KEPT_SECONDS - 10
    )
    rig.results = rig.poller()
    rig.poll()
    assert rig.deliveries() == []
