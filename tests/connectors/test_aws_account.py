"""Settings of an AWS account that cannot be meant are refused before anything is sent."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from sidecar.connectors.accounts import AwsAccount
from sidecar.connectors.aws_errors import TEXT_LENGTH, explain, verdict
from sidecar.connectors.base import Verdict
from sidecar.errors import ConfigError
from sidecar.message import SigningKey

GOOD: dict[str, Any] = {
    "region": "eu-west-1",
    "access_key": "AKIAEXAMPLEEXAMPLE12",
    "secret_key": "a-secret-access-key-of-the-account",
    "queue_url": "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs",
    "site_uid": "5f0c9a3e7b",
    "key": SigningKey("company-1", "callback-secret-of-company-1"),
}


def account(**changes: Any) -> AwsAccount:
    return AwsAccount(**GOOD | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"region": "us-gov-west-1", "queue_url": "https://sqs.us-gov-west-1.amazonaws.com/1/j"},
        {"region": "cn-north-1", "queue_url": "https://sqs.cn-north-1.amazonaws.com.cn/1/j"},
        {"queue_url": "https://eu-west-1.queue.amazonaws.com/1/jobs"},
        {"endpoint_url": "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com"},
        {"endpoint_url": "http://localhost:4566", "queue_url": "http://localhost:4566/1/j"},
        {"endpoint_url": "http://127.0.0.1:5000"},
        {"endpoint_url": "http://[::1]:5000"},
        {"ledger_table": "manireports-ledger"},
    ],
)
def test_an_account_as_it_may_be(changes: dict[str, Any]) -> None:
    assert account(**changes) == account(**changes)
    assert len({account(**changes), account(**changes)}) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"region": ""}, "aws_region"),
        ({"region": "Ireland"}, "aws_region"),
        ({"region": "eu-west-1.evil.test/"}, "aws_region"),
        ({"region": "eu-central-1"}, "is in eu-west-1, aws_region says eu-central-1"),
        ({"access_key": ""}, "aws_access_key"),
        ({"secret_key": ""}, "aws_secret_key"),
        ({"queue_url": ""}, "sqs_queue_url"),
        ({"queue_url": "jobs"}, "sqs_queue_url"),
        ({"queue_url": "https://[oops/1/j"}, "sqs_queue_url"),
        ({"queue_url": "http://sqs.eu-west-1.amazonaws.com/1/jobs"}, "only https"),
        ({"queue_url": GOOD["queue_url"] + ".fifo"}, "FIFO"),
        ({"results_queue_url": "https://sqs.us-east-1.amazonaws.com/1/r"}, "results_queue_url"),
        ({"endpoint_url": "http://sqs.internal"}, "endpoint_url: only https"),
        ({"endpoint_url": "http://localhost.evil.test"}, "only https"),
        ({"endpoint_url": "http://10.0.0.1"}, "only https"),
        ({"endpoint_url": "ftp://localhost"}, "only https"),
        ({"endpoint_url": "https://me:password@sqs.internal"}, "do not belong"),
        ({"ledger_endpoint_url": "http://dynamodb.internal"}, "ledger_endpoint_url"),
        ({"ledger_table": "a table"}, "ledger_table"),
    ],
)
def test_an_account_that_cannot_be_meant(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        account(**changes)
    assert "password" not in str(raised.value).removeprefix("endpoint_url: a user and a password")


def test_an_account_shows_no_secret() -> None:
    text = repr(account())
    for name in ("access_key", "secret_key"):
        assert str(GOOD[name]) not in text
    assert "callback-secret" not in text


@given(
    code=st.one_of(st.text(max_size=30), st.just("AccessDenied"), st.just("KmsThrottled")),
    message=st.text(max_size=600),
    status=st.integers(0, 599),
    sent=st.booleans(),
)
def test_any_error_has_a_meaning_an_admin_can_read(
    code: str, message: str, status: int, sent: bool
) -> None:
    error = ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status},  # type: ignore[typeddict-item]
        },
        "SendMessageBatch",
    )
    trouble = explain(error, "jobs queue", sent=sent)
    text = str(trouble.error)
    assert text.startswith("jobs queue: ")
    assert text.isprintable() or not message.isprintable()
    assert "\n" not in text
    assert len(text) < TEXT_LENGTH + 200
    assert trouble.error.code
    assert verdict(trouble.error) in {Verdict.REFUSED, Verdict.REFUSED_FOR_GOOD}
    assert not trouble.uncertain or (sent and status >= 500)


@given(secret=st.text("abcXYZ+/", min_size=8, max_size=40), before=st.text(), after=st.text())
def test_a_secret_is_hidden_wherever_it_stands(secret: str, before: str, after: str) -> None:
    error = ClientError({"Error": {"Code": "X", "Message": before + secret + after}}, "X")
    assert secret not in str(explain(error, "jobs queue", hide=[secret]).error)
