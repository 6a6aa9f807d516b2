"""SES in trouble: what is tried again, when, and what never is."""

import json
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from cloud_workers.aws import lambda_handler
from cloud_workers.aws.lambda_handler import ERRORS, Kind, classify
from sidecar.mail import MailBatch
from sidecar.message import BatchStatus, MailStatus
from tests.workers.rig import Context, Mood, Refuse, Rig, make_batch, make_mail, statuses

RATE = Refuse(429, "TooManyRequestsException", "Maximum sending rate exceeded.")
QUOTA = Refuse(400, "ThrottlingException", "Daily message quota exceeded.")

SOON = {
    "429": RATE,
    "throttled": Refuse(400, "ThrottlingException", "Maximum sending rate exceeded."),
    "throttled, unknown code": Refuse(429, "NewThrottle", "slow down"),
    "500": Refuse(500, "InternalFailure", "oops"),
    "503": Refuse(503, "ServiceUnavailable", "oops"),
    "500 of another kind": Refuse(500, "SomethingNew", "oops"),
    "503 in HTML": Refuse(503, "", "<html><body>no</body></html>"),
}
UNKNOWN = {
    "no answer": Mood.HANG,
    "connection dropped": Mood.DROP,
    "answer lost": Mood.LOSE,
    "garbage": Mood.GARBAGE,
    "500 without a body": Refuse(500),
    "502 of a gateway": Refuse(502, "", "<html>bad gateway</html>"),
    "504 of a gateway": Refuse(504, "", "<html>gateway time-out</html>"),
}
PAUSE = {
    "AccountSuspendedException": Refuse(400, "AccountSuspendedException", "suspended"),
    "SendingPausedException": Refuse(400, "SendingPausedException", "paused"),
    "MailFromDomainNotVerifiedException": Refuse(400, "MailFromDomainNotVerifiedException", "no"),
    "ExpiredTokenException": Refuse(403, "ExpiredTokenException", "expired"),
    "AccessDeniedException": Refuse(403, "AccessDeniedException", "not authorized"),
    "SomethingNew": Refuse(403, "SomethingNew", "no"),
    "NotFoundException": Refuse(404, "NotFoundException", "no such configuration set"),
    "identity_not_verified": Refuse(
        400, "MessageRejected", "Email address is not verified. The following ... in EU-WEST-1: a@b"
    ),
    "sending_paused": Refuse(400, "MessageRejected", "Sending paused for this account."),
}
DROP = {
    "MessageRejected": Refuse(400, "MessageRejected", "Illegal content"),
    "BadRequestException": Refuse(400, "BadRequestException", "Missing final '@domain'"),
    "SomethingLarge": Refuse(413, "SomethingLarge", "too large"),
}


def attempted(batch: MailBatch, attempt: int) -> MailBatch:
    return replace(batch, attempt=attempt)


def always(mood: Mood | Refuse) -> Callable[[str, int], Mood | Refuse]:
    return lambda to, nth: mood


# Tried again by the queue


@pytest.mark.parametrize("mood", SOON.values(), ids=SOON)
def test_trouble_is_tried_again_after_5_30_and_120_seconds(rig: Rig, mood: Refuse) -> None:
    rig.ses.mood = always(mood)
    batch = rig.ask(make_batch(3))
    for nth, delay in enumerate((5, 30, 120), 1):
        assert rig.run() == 1
        assert rig.delays() == [delay]
        assert rig.states(batch) == ["", "", ""]
        report = rig.reports()[-1]
        assert (report.try_, report.final, report.recipients) == (nth, False, ())
        assert report.errors
        rig.wake()
    assert rig.run() == 0
    # After trouble one mail goes ahead; the fourth time it is the last that is tried.
    assert [report.try_ for report in rig.reports()] == [1, 2, 3, 4]
    report = rig.reports()[-1]
    assert report.final
    assert statuses(report) == {MailStatus.FAILED: 1, MailStatus.DEFERRED: 2}
    assert {(m.error_code, m.retryable) for m in report.recipients} == {
        (lambda_handler._line(expected_code(mood), 50), True)
    }
    assert rig.states(batch) == ["r", "", ""]
    # The sidecar asks again.
    rig.ses.mood = always(Mood.TAKE)
    rig.ask(attempted(batch, 2))
    assert rig.run() == 0
    assert rig.states(batch) == ["s", "s", "s"]
    report = rig.reports()[-1]
    assert (report.attempt, report.status) == (2, BatchStatus.SENT)
    assert set(rig.ses.times().values()) == {1}


def expected_code(mood: Refuse) -> str:
    return "ThrottlingException" if "rate exceeded" in mood.text else mood.code or str(mood.status)


@pytest.mark.parametrize("url", ["closed", "http://no-such-host.invalid"])
@pytest.mark.usefixtures("new_clients")
def test_no_connection_is_no_sending(rig: Rig, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv(
        "AWS_ENDPOINT_URL_SESV2", f"http://127.0.0.1:{port}" if url == "closed" else url
    )
    batch = rig.ask(make_batch(20))
    assert rig.run() == 1
    assert rig.delays() == [5]
    assert rig.states(batch) == [""] * 20
    lambda_handler.aws_clients.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SESV2", rig.ses.url)
    rig.wake()
    assert rig.run() == 0
    assert rig.states(batch) == ["s"] * 20


def test_one_mail_in_trouble_does_not_hold_up_the_others(rig: Rig) -> None:
    batch = make_batch(20)
    poor = batch.mails[3].to
    rig.ses.mood = lambda to, nth: SOON["500"] if to == poor else Mood.TAKE
    rig.ask(batch)
    for delay in (5, 30, 120):
        assert rig.run() == 1
        assert rig.delays() == [delay]
        report = rig.reports()[-1]
        assert not report.final
        assert statuses(report) == {MailStatus.SENT: 19}
        rig.wake()
    assert rig.run() == 0
    report = rig.reports()[-1]
    assert report.status is BatchStatus.PARTIAL_FAILURE
    assert statuses(report) == {MailStatus.SENT: 19, MailStatus.FAILED: 1}
    assert report.recipients[3].retryable
    assert rig.ses.asked[poor] == 4


def test_a_rate_that_is_too_high_for_ses_gets_everything_sent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SES takes 12 a second: the worker rests when it is refused, and the second begins anew."""
    taken, rests = [0], []

    def refill(seconds: float) -> None:
        rests.append(seconds)
        taken[0] = 0

    def limited(to: str, nth: int) -> Mood | Refuse:
        taken[0] += 1
        return Mood.TAKE if taken[0] <= 12 else RATE

    monkeypatch.setattr(lambda_handler, "rest", refill)
    rig.ses.mood = limited
    batch = rig.ask(make_batch(100))
    for _ in range(4):
        if not rig.run():
            break
        refill(5)
        rig.wake()
    assert rig.reports()[-1].status is BatchStatus.SENT
    assert rig.ses.times() == Counter({mail.mail_key: 1 for mail in batch.mails})
    assert 1.0 in rests


def test_a_try_of_which_nothing_comes_stops_soon(rig: Rig) -> None:
    rig.ses.mood = always(RATE)
    rig.ask(make_batch(100))
    rig.run()
    assert rig.ses.asked.total() == 8
    rig.wake()
    rig.run()
    assert rig.ses.asked.total() == 9


def test_tries_are_counted_by_the_ledger_and_not_by_the_queue(rig: Rig) -> None:
    """Lambda is throttled, times are short: the queue counts, but nothing was tried."""
    rig.ask(make_batch(2))
    for _ in range(6):
        assert rig.run(Context(lambda: 5.0)) == 1
        assert rig.delays() == [0]
    assert not rig.ses.asked
    rig.ses.mood = always(RATE)
    assert rig.run() == 1
    assert rig.delays() == [5]
    assert rig.reports()[-1].try_ == 1


def test_a_new_ask_has_its_tries_again(rig: Rig) -> None:
    rig.ses.mood = always(RATE)
    batch = make_batch(1)
    for attempt in (1, 2):
        rig.ask(attempted(batch, attempt))
        delays = []
        while rig.run():
            delays += rig.delays()
            rig.wake()
        assert delays == [5, 30, 120]
    reports = rig.reports()
    assert len({report.delivery_id for report in reports}) == len(reports) == 8


# Never tried again


@pytest.mark.parametrize("mood", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.usefixtures("new_clients")
def test_what_may_have_been_sent_is_never_sent_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, mood: Mood | Refuse
) -> None:
    monkeypatch.setattr(lambda_handler, "READ_TIMEOUT", 0.3)
    batch = make_batch(3)
    lost = batch.mails[1].to
    rig.ses.mood = lambda to, nth: mood if to == lost else Mood.TAKE
    rig.ask(batch)
    assert rig.run() == 0
    assert rig.states(batch) == ["s", "u", "s"]
    report = rig.reports()[-1]
    assert report.final
    assert statuses(report) == {MailStatus.SENT: 2, MailStatus.UNKNOWN: 1}
    assert not report.recipients[1].retryable
    assert report.recipients[1].error_code
    for attempt in (1, 2, 3):
        rig.ask(attempted(batch, attempt))
        assert rig.run() == 0
    assert rig.ses.asked[lost] == 1
    assert rig.states(batch) == ["s", "u", "s"]


@pytest.mark.usefixtures("new_clients")
def test_when_ses_is_silent_few_mails_become_unknown(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_handler, "READ_TIMEOUT", 0.3)
    rig.ses.mood = always(Mood.HANG)
    batch = rig.ask(make_batch(100))
    while rig.run():
        rig.wake()
    report = rig.reports()[-1]
    assert statuses(report) == {MailStatus.UNKNOWN: 8 + 3, MailStatus.DEFERRED: 89}
    assert Counter(rig.states(batch)) == {"u": 11, "": 89}


# The account is in the way


@pytest.mark.parametrize(("code", "mood"), PAUSE.items(), ids=PAUSE)
def test_trouble_of_the_account_stops_the_batch_and_burns_no_mail(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, code: str, mood: Refuse
) -> None:
    monkeypatch.setattr(lambda_handler, "now", lambda: 2_000_000_000)
    rig.ses.mood = lambda to, nth: Mood.TAKE if rig.ses.asked.total() <= 8 else mood
    batch = rig.ask(make_batch(40, first_issued_at=2_000_000_000))
    assert rig.run() == 0
    report = stored(rig)
    assert (report["final"], report["status"]) == (True, "partial_failure")
    by_status = Counter(mail["status"] for mail in report["recipients"])
    assert by_status == {"sent": 8, "failed": 8, "deferred": 24}
    for mail in report["recipients"]:
        if mail["status"] != "sent":
            assert (mail["error_code"], mail["retryable"]) == (code, True)
            wanted = 2_000_000_300 if mail["status"] == "deferred" else 0
            assert mail["not_before"] == wanted
    assert rig.ses.asked.total() == 16
    assert Counter(rig.states(batch)) == {"s": 8, "r": 8, "": 24}


def stored(rig: Rig) -> Any:
    """The last report, signed at a time that is not now."""
    return json.loads(rig.page.stored[-1][0])


@pytest.mark.parametrize("mood", [QUOTA, Refuse(400, "LimitExceededException", "quota")])
def test_a_used_up_quota_defers_the_rest_for_an_hour(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, mood: Refuse
) -> None:
    rig.ses.mood = lambda to, nth: Mood.TAKE if rig.ses.asked.total() <= 8 else mood
    batch = rig.ask(make_batch(40))
    assert rig.run() == 0
    assert not rig.delays()
    (report,) = rig.reports()
    assert report.final
    assert statuses(report) == {MailStatus.SENT: 8, MailStatus.DEFERRED: 32}
    now = lambda_handler.now()
    for mail in report.recipients[8:]:
        assert mail.retryable
        assert abs(mail.not_before - now - 3600) < 60
    assert rig.ses.asked.total() == 16
    assert Counter(rig.states(batch)) == {"s": 8, "": 32}
    rig.ses.mood = always(Mood.TAKE)
    rig.ask(attempted(batch, 2))
    assert rig.run() == 0
    assert rig.reports()[-1].status is BatchStatus.SENT
    assert set(rig.ses.times().values()) == {1}


def test_a_quota_that_is_used_up_at_once_defers_the_batch(rig: Rig) -> None:
    rig.ses.mood = always(QUOTA)
    rig.ask(make_batch(3))
    assert rig.run() == 0
    assert rig.reports()[0].status is BatchStatus.DEFERRED


# The mail is in the way


@pytest.mark.parametrize(("code", "mood"), DROP.items(), ids=DROP)
def test_a_mail_that_ses_rejects_fails_for_good_and_alone(
    rig: Rig, code: str, mood: Refuse
) -> None:
    batch = make_batch(20)
    bad = batch.mails[0].to
    rig.ses.mood = lambda to, nth: mood if to == bad else Mood.TAKE
    rig.ask(batch)
    assert rig.run() == 0
    (report,) = rig.reports()
    failed = report.recipients[0]
    assert (failed.status, failed.error_code) == (MailStatus.PERMANENTLY_FAILED, code)
    assert (failed.error, failed.retryable) == (mood.text, False)
    assert statuses(report) == {MailStatus.SENT: 19, MailStatus.PERMANENTLY_FAILED: 1}
    rig.ask(attempted(batch, 2))
    assert rig.run() == 0
    assert rig.ses.asked[bad] == 1


def test_a_refusal_that_we_do_not_know_fails_alone_and_may_be_asked_again(rig: Rig) -> None:
    batch = make_batch(20)
    bad = batch.mails[0].to
    rig.ses.mood = lambda to, nth: Refuse(418, "Teapot", "short") if to == bad else Mood.TAKE
    rig.ask(batch)
    assert rig.run() == 0
    (report,) = rig.reports()
    failed = report.recipients[0]
    assert (failed.status, failed.error_code) == (MailStatus.FAILED, "Teapot")
    assert failed.retryable
    rig.ask(attempted(batch, 2))
    assert rig.run() == 0
    assert rig.ses.asked[bad] == 2


# The table


def test_every_error_of_boto3_that_we_name_exists() -> None:
    ours = {"daily_quota_exceeded", "identity_not_verified", "sending_paused"}
    names = {code for code in ERRORS if code.endswith("Error") and code not in ours}
    known = {cls.__name__ for cls in subclasses(BotoCoreError)}
    assert names - known <= {"InternalServerError"}


def subclasses(cls: type) -> set[type]:
    found: set[type] = set(cls.__subclasses__())
    return found.union(*map(subclasses, found))


def test_what_nobody_foresaw_is_unknown() -> None:
    assert classify(RuntimeError("?"))[0] is Kind.UNKNOWN
    odd = ClientError({"Error": {}, "ResponseMetadata": {"HTTPStatusCode": 500}}, "SendEmail")  # type: ignore[typeddict-item]
    assert classify(odd)[0] is Kind.UNKNOWN


# Time


def test_nothing_is_begun_that_cannot_be_ended(rig: Rig) -> None:
    batch = rig.ask(make_batch(40))
    enough = Context(lambda: 300.0 if len(rig.ses.taken) < 16 else 20.0)
    assert rig.run(enough) == 1
    assert len(rig.ses.taken) == 16
    assert rig.delays() == [0]
    assert not rig.page.asked
    assert Counter(rig.states(batch)) == {"s": 16, "": 24}
    assert rig.run() == 0
    (report,) = rig.reports()
    assert report.status is BatchStatus.SENT
    assert set(rig.ses.times().values()) == {1}


def test_messages_for_which_no_time_is_left_go_back(rig: Rig) -> None:
    first, second = rig.ask(make_batch(8)), rig.ask(make_batch(8))
    assert rig.run(Context(lambda: 20.0 if rig.ses.taken else 300.0)) == 1
    assert rig.run() == 0
    assert {report.batch_key for report in rig.reports()} == {first.batch_key, second.batch_key}
    assert set(rig.ses.times().values()) == {1}


# Age


def test_a_message_older_than_the_ledger_sends_nothing(rig: Rig) -> None:
    month = 30 * 86400
    old = make_batch(3, first_issued_at=int(lambda_handler.now()) - month - 60)
    young = make_batch(1, first_issued_at=int(lambda_handler.now()) - month + 600)
    rig.ask(old)
    rig.ask(young)
    assert rig.run() == 0
    by_key = {report.batch_key: report for report in rig.reports()}
    report = by_key[old.batch_key]
    assert (report.status, report.final) == (BatchStatus.EXPIRED, True)
    assert {(m.status, m.error_code, m.retryable) for m in report.recipients} == {
        (MailStatus.FAILED, "expired", True)
    }
    assert by_key[young.batch_key].status is BatchStatus.SENT
    assert len(rig.ses.taken) == 1


def test_an_old_message_still_says_what_the_ledger_knows(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch(2)
    rig.ask(replace(batch, mails=batch.mails[:1]))
    rig.run()
    rig.ask(batch)
    later = lambda_handler.now() + 31 * 86400
    monkeypatch.setattr(lambda_handler, "now", lambda: later)
    assert rig.run() == 0
    report = stored(rig)
    assert report["status"] == "expired"
    assert [mail["status"] for mail in report["recipients"]] == ["sent", "failed"]
    assert len(rig.ses.taken) == 1


def test_no_line_of_the_log_tells_a_secret(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    batch = make_batch([make_mail(to="secret.person@example.test"), *make_batch(9).mails])
    moods = [*SOON.values(), *PAUSE.values(), *DROP.values(), QUOTA]
    rig.page.statuses = [503]
    for attempt, mood in enumerate(moods, 1):
        rig.ses.mood = always(mood)
        rig.ask(attempted(batch, attempt))
        rig.run()
        rig.wake()
    logged = capsys.readouterr().out
    for word in ("secret", "example", "welcome", "account", "Björn", rig.environment["KEYS"], "@"):
        assert word not in logged.replace("lambda", "")
    assert len(logged.splitlines()) > len(moods)
