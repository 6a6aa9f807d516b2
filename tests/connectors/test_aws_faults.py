"""Every way in which AWS or the network fails the AWS connector, and what the admin reads."""

import logging
import threading
import time
from collections.abc import Iterator

import pytest

from sidecar.connectors.aws import AwsConnector
from sidecar.connectors.aws_client import AwsClients
from sidecar.connectors.base import Submission, Verdict
from sidecar.errors import Rejected, Throttled, Unavailable
from sidecar.mail import Content
from tests.connectors.aws_rig import (
    ACCESS_KEY,
    ATTRIBUTES,
    DELETE,
    KEY,
    RECEIVE,
    SECRET_KEY,
    SEND,
    TIMEOUT,
    Aws,
    Fault,
    Moto,
    hanging_up,
    moto_server,
    submit,
)
from tests.connectors.conftest import Authority
from tests.connectors.contract import ids
from tests.connectors.mails import make_batch, make_mail
from tests.support.wait import wait_for

ACCEPTED, REFUSED = Verdict.ACCEPTED, Verdict.REFUSED
FOR_GOOD, UNCERTAIN = Verdict.REFUSED_FOR_GOOD, Verdict.UNCERTAIN
HTML = b"<html><body><h1>Bad gateway</h1></body></html>"


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with moto_server() as running:
        yield running


@pytest.fixture
def aws(moto: Moto) -> Iterator[Aws]:
    with Aws(moto) as made:
        yield made


@pytest.fixture(scope="module")
def shared(moto: Moto) -> Iterator[tuple[Aws, AwsConnector]]:
    with Aws(moto) as made:
        yield made, made.make()


@pytest.fixture
def kept(shared: tuple[Aws, AwsConnector]) -> tuple[Aws, AwsConnector]:
    """A connector that many tests use, and its empty queue: where only the answer counts."""
    shared[0].reset()
    return shared


# A call that fails as a whole


@pytest.mark.parametrize(
    ("code", "status", "verdict", "advice"),
    [
        ("InvalidClientTokenId", 403, FOR_GOOD, "aws_access_key"),
        ("UnrecognizedClientException", 400, FOR_GOOD, "aws_access_key"),
        ("SignatureDoesNotMatch", 403, FOR_GOOD, "aws_secret_key"),
        ("InvalidSignatureException", 400, FOR_GOOD, "aws_secret_key"),
        ("RequestExpired", 400, FOR_GOOD, "clock"),
        ("ExpiredToken", 403, FOR_GOOD, "expired"),
        ("AccessDenied", 403, FOR_GOOD, "IAM"),
        ("AccessDeniedException", 400, FOR_GOOD, "IAM"),
        ("KmsAccessDenied", 400, FOR_GOOD, "kms:GenerateDataKey"),
        ("KMS.DisabledException", 400, FOR_GOOD, "KMS key"),
        ("QueueDoesNotExist", 400, FOR_GOOD, "no such queue"),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, FOR_GOOD, "no such queue"),
        ("InvalidAddress", 404, FOR_GOOD, "another region"),
        ("BatchRequestTooLong", 400, FOR_GOOD, "MaximumMessageSize"),
        ("InvalidMessageContents", 400, FOR_GOOD, "report it"),
        ("SomethingNew", 400, FOR_GOOD, "refuses the request"),
        ("SomethingNew", 403, FOR_GOOD, "refuses the access key"),
        ("RequestThrottled", 400, REFUSED, "slow down"),
        ("ThrottlingException", 400, REFUSED, "slow down"),
        ("KMS.ThrottlingException", 400, REFUSED, "slow down"),
        ("SomethingNew", 429, REFUSED, "slow down"),
        ("ServiceUnavailable", 503, REFUSED, "in trouble"),
        ("InternalFailure", 500, REFUSED, "in trouble"),
        ("SomethingNew", 500, UNCERTAIN, "in trouble"),
    ],
)
def test_an_error_of_aws_has_a_verdict_and_an_advice(
    kept: tuple[Aws, AwsConnector], code: str, status: int, verdict: Verdict, advice: str
) -> None:
    aws, connector = kept
    aws.front.faults = [Fault(SEND, status=status, code=code, message="What AWS says.")]
    submissions = submit(connector, [make_batch(1), make_batch(1)])
    assert {s.verdict for s in submissions} == {verdict}
    assert {s.code for s in submissions} == {code.replace("AWS.SimpleQueueService.NonE", "NonE")}
    assert all(advice in s.reason and "What AWS says." in s.reason for s in submissions)
    assert aws.front.sizes() == [2]
    assert not aws.messages()


@pytest.mark.parametrize(
    ("fault", "code", "taken"),
    [
        (Fault(SEND, drop="before"), "lost", False),
        (Fault(SEND, drop="after"), "lost", True),
        (Fault(SEND, status=502, body=HTML), "502", False),
        (Fault(SEND, status=500, body=b""), "500", False),
        (Fault(SEND, status=200, body=HTML), "garbage", False),
        (Fault(SEND, status=200, body=b""), "garbage", False),
        (Fault(SEND, status=200, body=b"{}"), "garbage", False),
        (Fault(SEND, status=200, body=b"[]"), "garbage", False),
        (Fault(SEND, status=200, body=b'{"Successful":["", null]}'), "garbage", False),
        (Fault(SEND, status=200, body=b'{"Successful":[null],"Failed":[null]}'), "garbage", False),
        (Fault(SEND, status=200, body=b'{"Successful":[{"Id":"7"}]}'), "garbage", False),
        (Fault(SEND, status=200, body=b'{"Failed":[{"Id":[]}]}'), "garbage", False),
        (Fault(SEND, status=200, body=b'{"Successful":[{"Id":"0","Mess'), "garbage", False),
        (Fault(SEND, status=200, body=b"\xff\xfe"), "garbage", False),
    ],
    ids=lambda value: repr(value.body or value.drop) if isinstance(value, Fault) else None,
)
def test_an_answer_that_is_lost_leaves_it_uncertain(
    aws: Aws, fault: Fault, code: str, taken: bool
) -> None:
    aws.front.faults = [fault]
    batches = [make_batch(1), make_batch(1)]
    submissions = submit(aws.make(), batches)
    assert [(s.verdict, s.code) for s in submissions] == [(UNCERTAIN, code)] * 2
    assert all(s.reason for s in submissions)
    assert aws.front.sizes() == [2]
    assert aws.taken() == (ids(batches) if taken else [])


def test_what_an_answer_leaves_out_is_uncertain(aws: Aws) -> None:
    aws.front.faults = [
        Fault(SEND, status=200, body=b'{"Successful":[{"Id":"1","MessageId":"m"}]}')
    ]
    batches = [make_batch(1), make_batch(1)]
    first, second = submit(aws.make(), batches)
    assert (first.verdict, first.code) == (UNCERTAIN, "garbage")
    assert second == Submission(batches[1].id, ACCEPTED, "m")


def test_silence_leaves_one_call_uncertain_and_no_other_is_made(aws: Aws) -> None:
    aws.front.faults = [Fault(SEND, gate=threading.Event())]
    batches = [make_batch(1) for _ in range(14)]
    connector = aws.make(timeout=TIMEOUT, hold=60)
    submissions = submit(connector, batches)
    assert [s.verdict for s in submissions] == [UNCERTAIN] * 10 + [REFUSED] * 4
    assert {s.code for s in submissions} == {"timeout"}
    assert aws.front.sizes() == [10]


def test_after_a_refused_call_no_other_is_made(aws: Aws) -> None:
    aws.front.faults = [Fault(SEND, status=403, code="AccessDenied")]
    submissions = submit(aws.make(hold=0), [make_batch(1) for _ in range(30)])
    assert {(s.verdict, s.code) for s in submissions} == {(FOR_GOOD, "AccessDenied")}
    assert aws.front.sizes() == [1]


def test_a_queue_that_does_not_exist(aws: Aws) -> None:
    connector = aws.make(aws.account(queue_url=aws.url("nowhere")))
    (submission,) = submit(connector, [make_batch(1)])
    assert submission.verdict is FOR_GOOD
    assert "no such queue" in submission.reason


# One message that is refused


@pytest.mark.parametrize(
    ("code", "sender_fault", "verdict"),
    [
        ("InvalidMessageContents", True, FOR_GOOD),
        ("AWS.SimpleQueueService.InvalidMessageContents", True, FOR_GOOD),
        ("KmsAccessDenied", True, FOR_GOOD),
        ("AccessDenied", True, FOR_GOOD),
        ("AccessDenied", False, REFUSED),
        ("RequestThrottled", True, REFUSED),
        ("InternalError", False, REFUSED),
        ("SomethingNew", True, REFUSED),
        ("", False, REFUSED),
    ],
)
def test_a_message_that_is_refused_does_not_spoil_the_others(
    kept: tuple[Aws, AwsConnector], code: str, sender_fault: bool, verdict: Verdict
) -> None:
    aws, connector = kept
    aws.front.faults = [Fault(SEND, entries={1: (code, sender_fault)}, message="What AWS says.")]
    batches = [make_batch(1) for _ in range(3)]
    submissions = submit(connector, batches)
    assert [s.verdict for s in submissions] == [ACCEPTED, verdict, ACCEPTED]
    assert submissions[1].code == (code.removeprefix("AWS.SimpleQueueService.") or "refused")
    assert "What AWS says." in submissions[1].reason
    assert aws.taken() == ids([batches[0], batches[2]])


# Before anything is sent


def test_no_connection_refuses_definitely(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    for url, code in (("http://localhost:1", "unreachable"), ("https://x.invalid", "unreachable")):
        (submission,) = submit(aws.make(aws.account(endpoint_url=url)), [make_batch(1)])
        assert (submission.verdict, submission.code) == (REFUSED, code)
    monkeypatch.setenv("HTTPS_PROXY", "http://localhost:1")
    account = aws.account(endpoint_url="", queue_url="https://sqs.eu-west-1.amazonaws.com/1/x")
    (submission,) = submit(aws.make(account), [make_batch(1)])
    assert (submission.verdict, submission.code) == (REFUSED, "proxy")


def test_a_handshake_that_ends_refuses_definitely(aws: Aws) -> None:
    with hanging_up() as url:
        (submission,) = submit(aws.make(aws.account(endpoint_url=url)), [make_batch(1)])
    assert submission.verdict is REFUSED
    assert submission.code


def test_only_a_certificate_that_can_be_trusted_will_do(
    moto: Moto, authority: Authority, stranger: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", authority.file)
    with Aws(moto, authority.server("localhost")) as aws:
        (submission,) = submit(aws.make(), [make_batch(1)])
        assert submission.verdict is ACCEPTED
    with Aws(moto, stranger.server("localhost")) as aws:
        (submission,) = submit(aws.make(), [make_batch(1)])
        assert (submission.verdict, submission.code) == (REFUSED, "tls")
        assert not aws.front.asked


def test_the_environment_of_other_programs_does_not_count(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    aws.front.faults = [Fault(SEND, status=500, code="InternalFailure", times=1)]
    clients = AwsClients(aws.account(endpoint_url=""), timeout=1, connections=1)
    assert clients.sqs.meta.endpoint_url == "https://sqs.eu-west-1.amazonaws.com"
    assert clients.dynamodb.meta.endpoint_url == "https://dynamodb.eu-west-1.amazonaws.com"
    connector = aws.make()
    (submission,) = submit(connector, [make_batch(1)])
    assert submission.verdict is REFUSED
    assert aws.front.sizes() == [1]
    (submission,) = submit(connector, [make_batch(1)])
    assert submission.verdict is ACCEPTED


# Results, depth, probe


def test_a_trouble_that_passes_quickly_is_not_noticed(aws: Aws) -> None:
    aws.report("a result")
    for action in (RECEIVE, DELETE, ATTRIBUTES):
        aws.front.faults += [
            Fault(action, times=1, code="RequestThrottled"),
            Fault(action, times=1, drop="after"),
        ]
    connector = aws.make()
    collected = wait_for(connector.collect, 10, "the result again")
    connector.forget([result.receipt for result in collected])
    assert connector.depth() == 0
    assert len(aws.front.calls(DELETE)) == len(aws.front.calls(ATTRIBUTES)) == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(code="RequestThrottled"), Throttled),
        (Fault(status=502, body=HTML), Unavailable),
        (Fault(status=400, code="QueueDoesNotExist"), Rejected),
    ],
)
def test_a_trouble_that_lasts_is_raised(aws: Aws, fault: Fault, error: type[Exception]) -> None:
    aws.front.faults = [fault]
    with pytest.raises(error, match="results queue"):
        aws.make().collect()
    assert len(aws.front.asked) == (1 if error is Rejected else 3)


@pytest.mark.parametrize("body", [b"{}", HTML, b'{"Attributes":{},"Messages":[{}],"Table":{}}'])
def test_what_is_not_from_aws_is_not_believed(aws: Aws, body: bytes) -> None:
    aws.front.faults = [Fault(status=200, body=body)]
    connector = aws.make()
    assert connector.depth() is None
    assert not connector.probe().ok
    if b"Messages" in body:
        with pytest.raises(Unavailable, match="not AWS"):
            connector.collect()


def test_without_a_results_queue_nothing_is_asked(aws: Aws) -> None:
    connector = aws.make(aws.account(results_queue_url="", ledger_table=""))
    assert connector.collect() == []
    connector.forget(["a receipt"])
    assert not aws.front.asked
    assert connector.probe().detail == "jobs queue in eu-west-1: 0 messages"


def test_results_are_waited_for_and_deleted_by_tens(
    aws: Aws, caplog: pytest.LogCaptureFixture
) -> None:
    connector = aws.make(wait=1)
    started = time.monotonic()
    assert connector.collect() == []
    assert time.monotonic() - started > 0.9
    (call,) = aws.front.calls(RECEIVE)
    assert (call["WaitTimeSeconds"], call["MaxNumberOfMessages"]) == (1, 10)
    url = aws.url(aws.results)
    aws.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "600"})
    for number in range(12):
        aws.report(str(number))
    receipts = [result.receipt for _ in range(2) for result in connector.collect()]
    assert len(receipts) == 12
    aws.front.faults = [Fault(DELETE, times=1, entries={3: ("InternalError", False)})]
    connector.forget(receipts)
    assert [len(call["Entries"]) for call in aws.front.calls(DELETE)] == [10, 2]
    assert "1 messages could not be deleted" in caplog.text
    assert "InternalError" in caplog.text
    left = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert left["ApproximateNumberOfMessagesNotVisible"] == "1"


def test_the_depth_counts_what_waits_is_in_work_or_is_delayed(aws: Aws) -> None:
    connector = aws.make()
    url = aws.url(aws.jobs)
    submit(connector, [make_batch(1), make_batch(1)])
    aws.sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=60)
    aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1)
    assert connector.depth() == 3


def test_probe_says_what_is_there(aws: Aws) -> None:
    probe = aws.make().probe()
    assert probe.ok
    assert probe.detail == (
        "jobs queue in eu-west-1: 0 messages; results queue: 0 messages; ledger table: active"
    )
    assert not aws.messages()


def test_probe_says_what_is_missing(aws: Aws) -> None:
    aws.dynamodb.create_table(
        TableName="wrong" + aws.table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for changes, said in (
        ({"queue_url": aws.url("nowhere")}, "jobs queue: there is no such queue"),
        ({"results_queue_url": aws.url("nowhere")}, "results queue: there is no such queue"),
        ({"ledger_table": "nowhere"}, "ledger table: there is no such table"),
        ({"ledger_table": "wrong" + aws.table}, "ledger table: its one key must be batch_key"),
    ):
        probe = aws.make(aws.account(**changes)).probe()
        assert not probe.ok
        assert said in probe.detail


# Secrets


def test_no_secret_is_shown(aws: Aws, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = (ACCESS_KEY, SECRET_KEY, KEY.secret)
    said = " ".join(secrets)
    connector = aws.make()
    shown = [repr(connector), repr(connector.account), str(connector.account)]
    mail = make_mail(content=Content("x", "Your password: changeme-1234", "x"))
    shown += map(repr, submit(connector, [make_batch([mail])]))
    for fault in (
        Fault(status=403, code="AccessDenied", message=said),
        Fault(SEND, entries={0: ("InternalError", False)}, message=said),
        Fault(status=502, body=said.encode()),
        Fault(status=403, code="SignatureDoesNotMatch", message=f"No.\n\nThe request:\n{said}"),
    ):
        aws.front.faults = [fault]
        shown += map(repr, submit(connector, [make_batch([mail])]))
        shown.append(repr(connector.probe()))
    assert "***" in "".join(shown)
    text = "\n".join([*shown, caplog.text])
    for secret in (*secrets, "changeme-1234", "MessageBody", "Signature=", "The request:"):
        assert secret not in text
