"""The Cloudflare connector: the contract of all connectors, limits, and what errors mean."""

import itertools
import random
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from sidecar.connectors.accounts import CloudflareAccount
from sidecar.connectors.base import Revocation, Submission, Verdict
from sidecar.connectors.cloudflare import SMALLEST_MAIL
from sidecar.connectors.cloudflare_limit import BURST, REFILL, Limit
from sidecar.connectors.cloudflare_submit import CALL_BYTES, MAX_MESSAGE, METADATA
from sidecar.errors import (
    AuthFailed,
    ConfigError,
    DatabaseError,
    LeaseLostError,
    Rejected,
    Throttled,
    Unavailable,
)
from sidecar.mail import Attachment, Content, MailBatch
from sidecar.message import SigningKey, encode_batch, parse_envelope
from sidecar.packing import pack
from tests.connectors.cloudflare_rig import (
    ACCOUNT,
    JOBS,
    KEY,
    METRICS,
    PULL,
    PUSH,
    QUEUE,
    RESULTS,
    REVOKE,
    SITE,
    STATUS,
    Cloudflare,
    Fault,
    Message,
    cloudflare,
    message_ids,
    payload,
)
from tests.connectors.contract import ConnectorContract, Provider, assert_one_each, ids
from tests.connectors.ledger import Ledger
from tests.connectors.mails import make_batch, make_mail
from tests.support.wait import wait_for


@pytest.fixture
def cf() -> Iterator[Cloudflare]:
    with cloudflare() as made:
        yield made


class TestCloudflareContract(ConnectorContract):
    """The contract, before documented answers."""

    appetite: ClassVar[int] = 102

    @pytest.fixture
    def healthy(self, cf: Cloudflare) -> Provider:
        return Provider(cf.make(), cf.taken, report=cf.report)

    @pytest.fixture
    def wrong_credentials(self, cf: Cloudflare) -> Provider:
        account = cf.account(api_token="another-token", key=SigningKey("company-1", "another"))
        return Provider(cf.make(account), cf.taken)

    @pytest.fixture
    def unreachable(self, cf: Cloudflare) -> Provider:
        account = cf.account(api_url="http://localhost:1", worker_url="http://localhost:1")
        return Provider(cf.make(account), cf.taken)

    @pytest.fixture
    def picky(self, cf: Cloudflare) -> Provider:
        return Provider(cf.make(), cf.taken)

    @pytest.fixture(params=["then throttled", "then in trouble"])
    def failing(self, request: pytest.FixtureRequest, cf: Cloudflare) -> Provider:
        cf.faults = {
            "then throttled": [Fault(PUSH, skip=1, status=429, code=10250)],
            "then in trouble": [Fault(PUSH, skip=1, status=503, body=b"<html>")],
        }[request.param]
        return Provider(cf.make(hold=0), cf.taken, cf.faults.clear)

    @pytest.fixture
    def throttling(self, cf: Cloudflare) -> Provider:
        cf.faults = [Fault(status=429, code=971)]
        return Provider(cf.make(), cf.taken, cf.faults.clear)


def submit(connector: Any, batches: list[MailBatch]) -> list[Submission]:
    """Submit them; the results in the order of the batches."""
    ledger = Ledger()
    found = list(connector.submit(iter(batches), ledger))
    assert not ledger.calls
    assert_one_each(found, batches)
    by_id = {submission.batch_id: submission for submission in found}
    return [by_id[batch.id] for batch in batches]


def sized(size: int) -> MailBatch:
    """A batch whose message has so many bytes."""
    noise = random.Random(size).randbytes(size // 2)
    mail = make_mail(content=Content("x", "x", "x", (Attachment("x", "image/png", noise),)))
    batch = make_batch([mail])
    length = len(encode_batch(batch, SITE, KEY, int(time.time())))
    assert length <= size
    return replace(batch, job_type="x" * (size - length))


# What a request carries


def test_a_message_says_what_the_contract_promises(cf: Cloudflare) -> None:
    batch = replace(make_batch(3), company_id=7, job_type="user_create", attempt=2, batch_num=4)
    before = int(time.time())
    (submission,) = submit(cf.make(), [batch])
    assert submission == Submission(batch.id, Verdict.ACCEPTED)
    (body,) = cf.jobs
    said = payload(body)
    assert {name: said[name] for name in ("site_uid", "batch_key", "attempt", "company_id")} == {
        "site_uid": SITE,
        "batch_key": batch.batch_key,
        "attempt": 2,
        "company_id": 7,
    }
    assert message_ids(body) == ids([batch])
    assert before <= parse_envelope(body).timestamp <= time.time()


def test_a_hundred_batches_share_a_request_and_the_next_does_not(cf: Cloudflare) -> None:
    submit(cf.make(hold=60), [make_batch(1) for _ in range(101)])
    assert cf.sizes() == [100, 1]


@pytest.mark.parametrize(("more", "calls"), [(0, [3]), (1, [2, 1])])
def test_a_request_is_filled_to_the_last_byte(cf: Cloudflare, more: int, calls: list[int]) -> None:
    batches = [sized(MAX_MESSAGE), sized(CALL_BYTES - MAX_MESSAGE - 2 * METADATA - 3000)]
    third = sized(3000 - METADATA + more)
    found = submit(cf.make(hold=60), [*batches, third])
    assert {s.verdict for s in found} == {Verdict.ACCEPTED}
    assert cf.sizes() == calls


def test_a_message_of_the_largest_size_is_sent_and_one_byte_more_is_not(cf: Cloudflare) -> None:
    larger, fits, small = sized(MAX_MESSAGE + 1), sized(MAX_MESSAGE), make_batch(1)
    first, second, third = submit(cf.make(), [larger, fits, small])
    assert (first.verdict, first.code) == (Verdict.REFUSED_FOR_GOOD, "too_large")
    assert f"{MAX_MESSAGE + 1:,}" in first.reason
    assert {second.verdict, third.verdict} == {Verdict.ACCEPTED}
    assert max(map(len, cf.jobs)) == MAX_MESSAGE


def test_mails_are_packed_for_the_queue(cf: Cloudflare) -> None:
    data = random.Random(1).randbytes(45_000)
    mails = [
        make_mail(content=Content("x", "x", "x", (Attachment("x", "image/png", data),)))
        for _ in range(6)
    ]
    huge = make_mail(content=Content("x", random.Random(2).randbytes(150_000).hex(), "x"))
    connector = cf.make()
    packed = pack([*mails, huge], limit=connector.max_bytes(), batch_size=100, batch_key="0" * 32)
    assert packed.too_large == (huge,)
    assert [len(group) for group in packed.groups] == [2, 2, 2]
    found = submit(connector, [make_batch(group) for group in packed.groups])
    assert {s.verdict for s in found} == {Verdict.ACCEPTED}


def test_a_mail_may_be_as_large_as_the_workers_sender_takes(cf: Cloudflare) -> None:
    cf.most = 29_000_000
    connector = cf.make()
    assert [connector.max_mail_bytes() for _ in range(3)] == [29_000_000] * 3
    assert len(cf.calls(STATUS)) == 1


@pytest.mark.parametrize("trouble", ["no URL", "an older Worker", "no number", "in trouble"])
def test_while_the_worker_does_not_tell_a_mail_must_fit_every_sender(
    cf: Cloudflare, trouble: str
) -> None:
    cf.most = "many" if trouble == "no number" else None
    if trouble == "in trouble":
        cf.faults = [Fault(STATUS, status=500)]
    account = cf.account(worker_url="") if trouble == "no URL" else cf.account()
    connector = cf.make(account)
    assert [connector.max_mail_bytes() for _ in range(3)] == [SMALLEST_MAIL] * 3
    assert len(cf.calls(STATUS)) == (trouble != "no URL")


def test_one_message_that_is_refused_spoils_no_other(cf: Cloudflare) -> None:
    cf.faults = [Fault(PUSH, status=413, code=10204, big=50_000)]
    big = sized(60_000)
    batches = [make_batch(1), big, make_batch(1)]
    first, second, third = submit(cf.make(hold=60), batches)
    assert {first.verdict, third.verdict} == {Verdict.ACCEPTED}
    assert (second.verdict, second.code) == (Verdict.REFUSED_FOR_GOOD, "10204")
    assert cf.sizes() == [3, 1, 1, 1]


# Trouble


@pytest.mark.parametrize(
    ("fault", "verdict", "code"),
    [
        (Fault(PUSH, drop="after"), Verdict.UNCERTAIN, "lost"),
        (Fault(PUSH, status=502, body=b"<html>"), Verdict.UNCERTAIN, "502"),
        (Fault(PUSH, status=500, code=15000), Verdict.UNCERTAIN, "15000"),
        (Fault(PUSH, body=b"<html>"), Verdict.UNCERTAIN, "garbage"),
        (Fault(PUSH, body=b'{"success": true}'), Verdict.UNCERTAIN, "garbage"),
        (Fault(PUSH, body=b"[]"), Verdict.UNCERTAIN, "garbage"),
        (Fault(PUSH, status=503, body=b""), Verdict.REFUSED, "503"),
        (Fault(PUSH, status=429, code=10250), Verdict.REFUSED, "10250"),
        (Fault(PUSH, status=403, code=10000), Verdict.REFUSED_FOR_GOOD, "10000"),
        (Fault(PUSH, status=400, code=10207), Verdict.REFUSED_FOR_GOOD, "10207"),
        (Fault(PUSH, status=200, code=10252), Verdict.REFUSED_FOR_GOOD, "10252"),
        (Fault(PUSH, status=302, body=b""), Verdict.REFUSED_FOR_GOOD, "302"),
    ],
)
def test_what_becomes_of_a_batch(cf: Cloudflare, fault: Fault, verdict: Verdict, code: str) -> None:
    cf.faults = [fault]
    (found,) = submit(cf.make(), [make_batch(2)])
    assert (found.verdict, found.code) == (verdict, code)
    assert found.reason.startswith("jobs queue: ")
    assert len(cf.calls(PUSH)) == 1


def test_an_answer_that_takes_too_long_is_uncertain(cf: Cloudflare) -> None:
    cf.faults = [Fault(PUSH, gate=threading.Event())]
    (found,) = submit(cf.make(timeout=0.3), [make_batch(1)])
    assert (found.verdict, found.code) == (Verdict.UNCERTAIN, "timeout")


def test_the_time_that_cloudflare_names_is_waited_for(cf: Cloudflare) -> None:
    cf.faults = [Fault(PUSH, times=1, status=429, code=971, retry_after="1")]
    connector, other = cf.make(), cf.make()
    assert submit(connector, [make_batch(1)])[0].verdict is Verdict.REFUSED
    refused = submit(other, [make_batch(1)])[0]
    assert (refused.verdict, refused.code) == (Verdict.REFUSED, "retry_after")
    with pytest.raises(Throttled):
        connector.collect()
    assert len(cf.asked) == 1
    wait_for(
        lambda: submit(connector, [make_batch(1)])[0].verdict is Verdict.ACCEPTED, 10, "it goes on"
    )


def test_requests_stay_below_the_limit_of_the_account() -> None:
    now = 0.0
    limit = Limit(lambda: now)
    asked: list[float] = []
    while now < 900:
        wait = limit.take()
        if wait:
            now += wait
        else:
            asked.append(now)
    worst = max(sum(start <= at < start + 300 for at in asked) for start in asked[::10])
    assert 0.9 * REFILL * 300 < worst <= BURST + REFILL * 300 + 1 < 1200


def test_a_submit_waits_for_the_budget_and_ends_with_the_connector(cf: Cloudflare) -> None:
    connector = cf.make(hold=0)
    found: list[Submission] = []
    batches = (make_batch(1) for _ in itertools.count())
    thread = threading.Thread(target=lambda: found.extend(connector.submit(batches, Ledger())))
    thread.start()
    wait_for(lambda: len(cf.calls(PUSH)) >= BURST, 30, "the budget is used up")
    started = time.monotonic()
    connector.close(started + 5)
    thread.join(10)
    assert time.monotonic() - started < 5
    accepted = [s for s in found if s.verdict is Verdict.ACCEPTED]
    assert len(accepted) == len(cf.jobs)


@pytest.mark.parametrize("hold", [0, 60])
def test_what_was_taken_when_the_lease_is_lost_is_refused(cf: Cloudflare, hold: float) -> None:
    lost = threading.Event()

    def guard() -> None:
        if lost.is_set():
            raise LeaseLostError

    def batches() -> Iterator[MailBatch]:
        yield from given[:3]
        lost.set()
        yield given[3]

    given = [make_batch(1) for _ in range(4)]
    found: list[Submission] = []
    with pytest.raises(LeaseLostError):
        keep(cf.make(guard=guard, hold=hold).submit(batches(), Ledger()), found)
    assert_one_each(found, given)
    assert len(cf.jobs) == (0 if hold else 3)


def test_what_was_taken_when_the_batches_fail_is_refused(cf: Cloudflare) -> None:
    def batches() -> Iterator[MailBatch]:
        yield from given
        raise DatabaseError

    given = [make_batch(1) for _ in range(3)]
    found: list[Submission] = []
    with pytest.raises(DatabaseError):
        keep(cf.make(hold=60).submit(batches(), Ledger()), found)
    assert_one_each(found, given)
    assert {s.verdict for s in found} == {Verdict.REFUSED}
    assert not cf.jobs


def keep(submissions: Iterable[Submission], found: list[Submission]) -> None:
    """Keep also what comes before an error; ``extend`` would not promise it."""
    for submission in submissions:
        found += [submission]


def test_close_waits_for_the_request_in_flight(cf: Cloudflare) -> None:
    gate = threading.Event()
    cf.faults = [Fault(PUSH, gate=gate)]
    connector = cf.make(hold=0)
    found: list[Submission] = []
    given = iter([make_batch(1) for _ in range(5)])
    thread = threading.Thread(target=lambda: found.extend(connector.submit(given, Ledger())))
    thread.start()
    wait_for(lambda: cf.waiting == 1, 30, "a request in flight")
    threading.Timer(0.3, gate.set).start()
    started = time.monotonic()
    connector.close(started + 30)
    assert 0.2 < time.monotonic() - started < 10
    thread.join(30)
    assert [s.verdict for s in found] == [Verdict.ACCEPTED]
    assert len(cf.jobs) == 1


# Results


def test_results_of_every_type_are_read(cf: Cloudflare) -> None:
    cf.shelf = [Message("1", '{"a":1}', "text"), Message("2", '{"b":2}', "json")]
    assert [each.body for each in cf.make().collect()] == ['{"a":1}', '{"b":2}']


def test_an_empty_results_queue_is_left_alone_for_a_while(cf: Cloudflare) -> None:
    connector = cf.make(pause=60)
    for _ in range(5):
        assert connector.collect() == []
    assert len(cf.calls(PULL)) == 1


@pytest.mark.parametrize(
    "body", [b"[]", b'{"success":true,"result":{}}', b'{"success":true,"result":{"messages":[1]}}']
)
def test_garbage_is_no_result(cf: Cloudflare, body: bytes) -> None:
    cf.faults = [Fault(PULL, body=body)]
    with pytest.raises(Unavailable):
        cf.make().collect()


def test_without_a_results_queue_or_a_worker_nothing_is_asked(cf: Cloudflare) -> None:
    connector = cf.make(cf.account(results_queue_id="", worker_url=""))
    connector.forget(["a receipt"])
    assert connector.collect() == []
    assert connector.revoke([Revocation("ab" * 16, "cd" * 32, 0)]) == frozenset()
    assert not cf.asked
    probe = connector.probe()
    assert probe.ok
    assert "cannot be taken back" in probe.doubt


# Revoking and probing


def test_only_what_the_worker_says_is_revoked(cf: Cloudflare) -> None:
    mails = [Revocation("ab" * 16, f"{n:064x}", 0) for n in range(2500)]
    cf.claimed = {mails[7].mail_key, mails[2400].mail_key}
    assert cf.make().revoke(mails) == {m.mail_key for m in mails} - cf.claimed
    assert [len(call["mails"]) for call in cf.calls(REVOKE)] == [1000, 1000, 500]
    cf.faults = [Fault(REVOKE, body=b'{"revoked":["' + b"ee" * 32 + b'"]}')]
    assert cf.make().revoke(mails[:3]) == frozenset()
    cf.faults = [Fault(REVOKE, body=b'{"success":true}')]
    with pytest.raises(Unavailable):
        cf.make().revoke(mails[:3])


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"key": SigningKey("company-1", "another")}, AuthFailed, "does not know this company"),
        ({"site_uid": "another"}, AuthFailed, "SITE_UID"),
    ],
)
def test_what_the_worker_refuses_is_explained(
    cf: Cloudflare, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    connector = cf.make(cf.account(**changes))
    with pytest.raises(error, match=said):
        connector.revoke([Revocation("ab" * 16, "cd" * 32, 0)])
    probe = connector.probe()
    assert not probe.ok
    assert said in probe.detail


def test_a_worker_that_is_not_there(cf: Cloudflare) -> None:
    cf.faults = [Fault(STATUS, status=404)]
    assert "no Worker of ours" in cf.make().probe().detail
    cf.faults = [Fault(STATUS, status=503, message="KEYS is not set")]
    assert "KEYS is not set" in cf.make().probe().detail


def test_a_probe_names_what_is_doubtful(cf: Cloudflare) -> None:
    probe = cf.make().probe()
    assert (probe.ok, probe.doubt) == (True, "")
    assert probe.detail == (
        "jobs queue jobs: 0 messages; results queue results: 0 messages; worker: sends by resend"
    )
    cf.consumers = {JOBS: [], RESULTS: [{"type": "worker"}]}
    doubt = cf.make().probe().doubt
    assert "jobs queue has no consumer" in doubt
    assert "results queue has no consumer of the type http_pull" in doubt
    cf.callback = False
    assert "CALLBACK_URL" in cf.make(cf.account(results_queue_id="")).probe().doubt


@pytest.mark.parametrize("action", [QUEUE, METRICS])
def test_a_queue_that_is_not_there_is_named(cf: Cloudflare, action: str) -> None:
    probe = cf.make(cf.account(queue_id="3" * 32)).probe()
    assert not probe.ok
    assert "no such account or queue" in probe.detail
    cf.faults = [Fault(action, status=404)]
    with pytest.raises(Rejected):
        cf.make()._probe_queue("jobs queue", JOBS, "worker", [])


def test_no_text_shows_a_secret(cf: Cloudflare) -> None:
    cf.faults = [Fault(status=400, code=1, message=f"bad {cf.token} and {KEY.secret}")]
    (found,) = submit(cf.make(), [make_batch(1)])
    assert "***" in found.reason
    assert cf.token not in found.reason
    assert KEY.secret not in found.reason
    assert cf.token not in repr(cf.account())
    assert KEY.secret not in repr(cf.account())


# The account


GOOD: dict[str, Any] = {
    "account_id": ACCOUNT,
    "api_token": "a-token-of-the-account",
    "queue_id": JOBS,
    "site_uid": SITE,
    "key": KEY,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"account_id": "my account"}, "cloudflare_account_id"),
        ({"queue_id": "manireports-jobs"}, "cloudflare_queue_id"),
        ({"results_queue_id": "results"}, "results queue"),
        ({"results_queue_id": JOBS}, "another than the jobs queue"),
        ({"api_token": ""}, "cloudflare_api_token"),
        ({"api_token": "a token\r\nwith lines"}, "cloudflare_api_token"),
        ({"worker_url": "worker"}, "worker_url"),
        ({"worker_url": "http://worker.example.test"}, "only https"),
        ({"worker_url": "https://a:b@worker.example.test"}, "do not belong"),
        ({"worker_url": "https://worker.example.test/?a=b"}, "no query"),
        ({"api_url": "http://10.0.0.1"}, "only https"),
        ({"api_url": "https://[oops"}, "api_url"),
    ],
)
def test_an_account_that_cannot_be_meant(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CloudflareAccount(**GOOD | changes)


def test_an_account_as_it_may_be() -> None:
    url = "https://manireports.example.workers.dev"
    first = CloudflareAccount(**GOOD, worker_url=url, results_queue_id=RESULTS)
    assert len({first, CloudflareAccount(**GOOD, worker_url=url, results_queue_id=RESULTS)}) == 1
