"""Every outcome reaches the site: the callback, else the results queue, else later."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_workers.aws import lambda_handler
from cloud_workers.aws.lambda_handler import PART
from sidecar.message import BatchStatus, MailStatus, delivery_id
from tests.workers.rig import (
    KEY,
    OLD_KEY,
    SITE,
    CallbackPage,
    Context,
    Mood,
    Refuse,
    Rig,
    make_batch,
    statuses,
)


def nobody() -> str:
    """A URL where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/"


def test_a_report_is_named_by_the_contract(rig: Rig) -> None:
    batch = rig.ask(make_batch(1, attempt=3))
    rig.run()
    (report,) = rig.reports()
    assert report.site_uid == SITE
    assert report.delivery_id == delivery_id(SITE, batch.batch_key, 3, 1, 0)


def test_the_key_of_the_job_signs_what_is_reported_of_it(rig: Rig) -> None:
    """So that a worker of two companies tells each of its own batches."""
    rig.ask(make_batch(1), key=OLD_KEY)
    assert rig.run() == 0
    assert len(rig.reports(OLD_KEY)) == 1  # checks the signature
    rig.page.statuses = [503]
    rig.ask(make_batch(1), key=OLD_KEY)
    assert rig.run() == 0
    assert len(rig.queued_reports(OLD_KEY)) == 1


@pytest.mark.parametrize("trouble", [[503, 202], [500, 503, 202], [200]])
def test_a_callback_is_tried_three_times(rig: Rig, trouble: list[int]) -> None:
    rig.page.statuses = list(trouble)
    rig.ask(make_batch(2))
    assert rig.run() == 0
    assert rig.page.asked == len(trouble)
    assert len(rig.reports()) == 1
    assert not rig.queued_reports()


@pytest.mark.parametrize(
    ("status", "asked"), [(503, 3), (500, 3), (400, 1), (401, 1), (413, 1), (404, 1), (204, 3)]
)
def test_what_the_page_does_not_take_goes_to_the_results_queue(
    rig: Rig, status: int, asked: int
) -> None:
    rig.page.statuses = [status]
    rig.ask(make_batch(2))
    assert rig.run() == 0
    assert rig.page.asked == asked
    (report,) = rig.queued_reports()
    assert statuses(report) == {MailStatus.SENT: 2}


def test_a_site_that_is_down(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBACK_URL", nobody())
    rig.ask(make_batch(2))
    assert rig.run() == 0
    assert len(rig.queued_reports()) == 1


def test_a_site_that_does_not_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_handler, "CALLBACK_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("CALLBACK_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        rig.ask(make_batch(2))
        assert rig.run() == 0
    assert len(rig.queued_reports()) == 1


def test_no_callback_url_means_the_results_queue(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALLBACK_URL")
    rig.ask(make_batch(2))
    assert rig.run() == 0
    assert len(rig.queued_reports()) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(rig: Rig, status: int) -> None:
    with CallbackPage() as elsewhere:
        rig.page.statuses = [status]
        rig.page.location = f"{elsewhere.url}/callback"
        rig.ask(make_batch(1))
        assert rig.run() == 0
        assert not elsewhere.asked
    assert len(rig.queued_reports()) == 1


def test_a_report_that_nobody_takes_is_made_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.page.statuses = [503]
    batch = rig.ask(make_batch(3))
    with monkeypatch.context() as patch:
        patch.setenv("RESULTS_QUEUE_URL", f"{rig.results}-gone")
        for _ in range(2):
            assert rig.run() == 1
            assert rig.delays() == [30]
            rig.wake()
    rig.page.statuses = [202]
    assert rig.run() == 0
    (report,) = rig.reports()
    assert report.status is BatchStatus.SENT
    assert report.try_ == 1
    assert len(rig.ses.taken) == 3
    assert rig.states(batch) == ["s"] * 3


def test_what_was_deferred_and_not_reported_is_tried_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows of the deferral yet, so that nobody else can send them meanwhile."""
    rig.page.statuses = [503]
    rig.ses.mood = lambda to, nth: Refuse(400, "LimitExceededException", "quota")
    rig.ask(make_batch(3))
    with monkeypatch.context() as patch:
        patch.setenv("RESULTS_QUEUE_URL", f"{rig.results}-gone")
        assert rig.run() == 1
    rig.page.statuses = [202]
    rig.ses.mood = lambda to, nth: Mood.TAKE
    rig.wake()
    assert rig.run() == 0
    (report,) = rig.reports()
    assert (report.status, report.try_) == (BatchStatus.SENT, 2)


def test_a_try_that_is_not_the_last_need_not_be_reported(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBACK_URL", nobody())
    rig.ses.mood = lambda to, nth: Refuse(500, "InternalFailure", "") if nth == 1 else Mood.TAKE
    rig.ask(make_batch(3))
    with monkeypatch.context() as patch:
        patch.setenv("RESULTS_QUEUE_URL", f"{rig.results}-gone")
        assert rig.run() == 1
        assert rig.delays() == [5]
    rig.wake()
    assert rig.run() == 0
    (report,) = rig.queued_reports()
    assert (report.try_, report.final) == (2, True)
    assert statuses(report) == {MailStatus.SENT: 3}


def test_a_report_is_not_begun_that_cannot_be_ended(rig: Rig) -> None:
    """Time for the results queue, not for a page that may be slow."""
    rig.ask(make_batch(2))
    assert rig.run(Context(lambda: 4.0 if len(rig.ses.taken) == 2 else 300.0)) == 0
    assert not rig.page.asked
    assert len(rig.queued_reports()) == 1


def test_a_long_report_comes_in_parts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_handler, "PART", 4)
    batch = rig.ask(make_batch(10))
    assert rig.run() == 0
    reports = rig.reports()
    assert [len(report.recipients) for report in reports] == [4, 4, 2]
    assert [report.delivery_id for report in reports] == [
        delivery_id(SITE, batch.batch_key, 1, 1, part) for part in range(3)
    ]
    keys = [mail.mail_key for report in reports for mail in report.recipients]
    assert keys == [mail.mail_key for mail in batch.mails]
    assert {report.emails_sent for report in reports} == {10}


def test_a_part_that_is_lost_is_made_again_with_the_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_handler, "PART", 4)
    rig.page.statuses = [202, 400, 202]
    rig.ask(make_batch(10))
    with monkeypatch.context() as patch:
        patch.setenv("RESULTS_QUEUE_URL", f"{rig.results}-gone")
        assert rig.run() == 1
    rig.wake()
    assert rig.run() == 0
    ids = [report.delivery_id for report in rig.reports()]
    assert len(ids) == 4
    assert len(set(ids)) == 3


def test_the_longest_part_fits_the_queue(rig: Rig) -> None:
    """Quotes are escaped once in the payload and again in the queue message."""
    environment = {name: value for name, value in rig.environment.items() if "CALLBACK" not in name}
    aws = lambda_handler.aws_clients(8)
    with ThreadPoolExecutor(1) as pool:
        settings = lambda_handler.read_settings(environment)
        worker = lambda_handler.Worker(settings, aws, pool, Context())
        huge = 2**63 - 1
        long: dict[str, object] = {"status": "permanently_failed", "id": huge, "not_before": huge}
        long |= {"error_code": '"' * 50, "error": '"' * 200, "retryable": False}
        recipients = [long | {"mail_key": f"{n:064x}"} for n in range(PART + 1)]
        key = lambda_handler.Key(KEY.key, KEY.secret)
        job = lambda_handler.Job(
            key,
            "s" * 64,
            "b" * 32,
            huge,
            huge,
            huge,
            huge,
            huge,
        )
        errors = ['"' * 252] * 10
        assert worker._report(job, huge, False, "partial_failure", recipients, errors)
    first, second = rig.queued_reports()  # checks the sizes
    assert (len(first.recipients), len(second.recipients)) == (PART, 1)
