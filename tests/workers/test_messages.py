"""What the worker believes of a message, and of its own environment."""

import base64
import gzip
import itertools
import json
import time
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_workers.aws import lambda_handler
from cloud_workers.aws.lambda_handler import ConfigurationError, Key, Refused, read_settings
from sidecar.mail import MailBatch
from sidecar.message import JOB, RESULT, SigningKey, encode_batch, seal
from tests.contract.strategies import batches
from tests.contract.wire import open_message, text_of, vectors
from tests.workers.rig import KEY, OLD_KEY, SITE, Rig, make_batch, make_mail

NOW = 1_767_225_600
OURS = (Key(KEY.key, KEY.secret), Key(OLD_KEY.key, OLD_KEY.secret))


def opened(message: str) -> lambda_handler.Job:
    payload, key = lambda_handler.open_envelope(message, OURS)
    return lambda_handler.unpack(payload, key, SITE)


def payload_of(batch: MailBatch, **changes: object) -> str:
    """The payload of a batch; a change of None takes the field away."""
    message = json.loads(encode_batch(batch, SITE, KEY, NOW))
    fields = json.loads(message["payload"]) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def packed(emails: object) -> str:
    text = emails if isinstance(emails, bytes) else json.dumps(emails).encode()
    return base64.b64encode(gzip.compress(text)).decode()


# Reading


@given(batches)
def test_what_the_sidecar_writes_is_read(batch: MailBatch) -> None:
    message = encode_batch(batch, SITE, KEY, NOW)
    if len({mail.mail_key[:16] for mail in batch.mails}) < len(batch.mails):
        with pytest.raises(Refused):
            opened(message)
        return
    job = opened(message)
    assert (job.batch_key, job.job_id, job.batch_id) == (batch.batch_key, batch.job_id, batch.id)
    assert (job.attempt, job.company_id) == (batch.attempt, batch.company_id)
    assert job.first_issued_at == batch.first_issued_at
    for found, mail in zip(job.mails, batch.mails, strict=True):
        assert (found.id, found.key, found.generation) == (mail.id, mail.mail_key, mail.generation)
        assert found.root == (mail.root_batch or batch.batch_key)
        assert found.sender == (mail.sender.email, mail.sender.name)
        assert (found.to, found.to_name, found.reply_to) == (mail.to, mail.to_name, mail.reply_to)
        assert (found.html, found.text) == (mail.content.html, mail.content.text)
        assert found.headers == [("Message-ID", f"<{mail.message_id}>"), *mail.headers]
        for given_, file in zip(found.attachments, mail.content.attachments, strict=True):
            assert given_[:2] == (file.filename, file.content_type)
            assert base64.b64decode(given_[2]) == file.content


def test_the_golden_batch_is_read() -> None:
    vector = vectors("batch")
    key = Key(vector["key"]["key"], vector["key"]["secret"])
    payload, signed_by = lambda_handler.open_envelope(vector["message"], [key])
    assert signed_by == key
    job = lambda_handler.unpack(payload, key, vector["payload"]["site_uid"])
    _, _, mails = open_message(vector["message"], key.secret)
    assert [mail.key for mail in job.mails] == [mail["mail_key"] for mail in mails]
    assert [mail.subject for mail in job.mails] == [mail["subject"] for mail in mails]


@pytest.mark.parametrize("case", vectors("signatures")["cases"], ids=lambda case: case["name"])
def test_signatures_are_those_of_the_contract(case: Any) -> None:
    made = lambda_handler.sign(case["kind"], case["timestamp"], case["payload"], case["secret"])
    assert made == case["signature"]


@pytest.mark.parametrize(
    "case", vectors("malformed_messages")["cases"], ids=lambda case: case["name"]
)
def test_malformed_messages_are_refused(case: Any) -> None:
    with pytest.raises(Refused):
        lambda_handler.open_envelope(text_of(case), OURS)


MESSAGE = encode_batch(make_batch(1), SITE, KEY, NOW)


@given(st.integers(0, len(MESSAGE) - 1), st.characters(min_codepoint=32, max_codepoint=126))
def test_a_message_of_which_anything_was_changed_is_refused(at: int, character: str) -> None:
    forged = MESSAGE[:at] + character + MESSAGE[at + 1 :]
    if json_of(forged) != json.loads(MESSAGE):
        with pytest.raises(Refused):
            opened(forged)


def json_of(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


@pytest.mark.parametrize("key", [KEY, OLD_KEY])
def test_each_of_the_two_keys_is_taken(key: SigningKey) -> None:
    assert opened(encode_batch(make_batch(2), SITE, key, NOW)).mails


@pytest.mark.parametrize(
    "key",
    [
        SigningKey(KEY.key, OLD_KEY.secret),
        SigningKey(OLD_KEY.key, KEY.secret),
        SigningKey("company-2", KEY.secret),
        SigningKey(KEY.key, "guessed"),
        SigningKey(KEY.key, ""),
    ],
)
def test_a_key_goes_with_its_own_secret(key: SigningKey) -> None:
    with pytest.raises(Refused, match="not signed"):
        opened(encode_batch(make_batch(1), SITE, key, NOW))


def test_a_result_is_no_job() -> None:
    with pytest.raises(Refused):
        opened(seal(RESULT, payload_of(make_batch(1)), KEY, NOW))


# What the worker does with a message that it does not take


def test_a_forged_message_is_done_with_and_nobody_is_told(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.ask(make_batch(3), key=SigningKey(KEY.key, "guessed"))
    rig.put("hello user77@example.test")
    good = rig.ask(make_batch(2))
    assert rig.run() == 0
    assert not rig.delays()
    assert len(rig.ses.taken) == 2
    assert [report.batch_key for report in rig.reports()] == [good.batch_key]
    assert not rig.queued_reports()
    refused = [line for line in capsys.readouterr().out.splitlines() if '"refused"' in line]
    assert len(refused) == 2
    assert not any("example" in line or "user" in line for line in refused)


def test_a_message_of_another_site_sends_nothing(rig: Rig) -> None:
    batch = rig.ask(make_batch(3), site_uid="another")
    assert rig.run() == 0
    assert not rig.ses.asked
    assert not rig.item(batch)
    (report,) = rig.reports()  # signed by our company's own key: its admin sees the wrong SITE_UID
    assert (report.status, report.site_uid, report.recipients) == ("refused", "another", ())


def test_a_ledger_item_of_another_site_sends_nothing(rig: Rig) -> None:
    batch = make_batch(2)
    item = {"batch_key": {"S": batch.batch_key}, "site_uid": {"S": "another"}}
    rig.dynamodb.put_item(TableName=rig.name, Item=item)
    rig.ask(batch)
    assert rig.run() == 0
    assert not rig.ses.asked


MAIL: dict[str, Any] = open_message(encode_batch(make_batch(1), SITE, KEY, NOW), KEY.secret)[2][0]


@pytest.mark.parametrize(
    "changes",
    [
        {"encoding": "zstd"},
        {"encoding": None},
        {"emails": None},
        {"emails": 7},
        {"emails": "not base64!"},
        {"emails": base64.b64encode(b"no gzip").decode()},
        {"emails": packed([MAIL])[:-8]},
        {"emails": base64.b64encode(gzip.compress(b"[]") + b"more").decode()},
        {"emails": packed(b"\x00" * (65 * 1024 * 1024))},
        {"emails": packed(b"[" * 100_000)},
        {"emails": packed({})},
        {"emails": packed([])},
        {"emails": packed([7])},
        {"emails": packed([MAIL, MAIL])},
        *({"emails": packed([MAIL | {name: None}])} for name in MAIL),
        *({"emails": packed([MAIL | {name: True}])} for name in MAIL),
        {"emails": packed([MAIL | {"mail_key": "A" * 64}])},
        {"emails": packed([MAIL | {"mail_key": MAIL["mail_key"] + "\n"}])},
        {"emails": packed([MAIL | {"generation": -1}])},
        {"emails": packed([MAIL | {"generation": 2**63}])},
        {"emails": packed([MAIL | {"headers": [["a"]]}])},
        {"emails": packed([MAIL | {"headers": [["a", 1]]}])},
        {"emails": packed([MAIL | {"headers": ["ab"]}])},
        {"emails": packed([MAIL | {"attachments": ["a"]}])},
        {"emails": packed([MAIL | {"attachments": [{"filename": "a"}]}])},
        {"emails": packed([MAIL | {"from": "a@b.test"}])},
        {"from": None},
        {"reply_to": None},
    ],
    ids=itertools.count(),
)
def test_a_signed_batch_that_cannot_be_read_is_refused(changes: dict[str, object]) -> None:
    batch = make_batch(1)
    with pytest.raises(Refused) as refused:
        opened(seal(JOB, payload_of(batch, **changes), KEY, NOW))
    assert refused.value.job
    assert refused.value.job.batch_key == batch.batch_key


def test_a_signed_batch_that_is_refused_is_reported(rig: Rig) -> None:
    batch = make_batch(1)
    rig.put(seal(JOB, payload_of(batch, emails=packed(b"\x00" * (65 << 20))), KEY, NOW))
    assert rig.run() == 0
    assert not rig.ses.asked
    assert not rig.item(batch)
    (report,) = rig.reports()
    assert (report.status, report.batch_key, report.final) == ("refused", batch.batch_key, True)
    assert report.errors


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_key": None},
        {"batch_key": "x"},
        {"attempt": 0},
        {"attempt": "1"},
        {"attempt": True},
        {"job_id": -1},
        {"first_issued_at": None},
        {"company_id": 1.0},
    ],
)
def test_a_signed_message_that_names_no_batch_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Refused) as refused:
        opened(seal(JOB, payload_of(make_batch(1), **changes), KEY, NOW))
    assert refused.value.job is None


def test_a_message_that_fails_does_not_fail_the_others(rig: Rig) -> None:
    """The ledger's item of the first is broken, as no writer of ours leaves it."""
    bad, good = make_batch(1), make_batch(2)
    item = {"batch_key": {"S": bad.batch_key}, "mails": {"S": "?"}, "version": {"N": "1"}}
    rig.dynamodb.put_item(TableName=rig.name, Item=item)
    rig.ask(bad)
    rig.ask(good)
    assert rig.run() == 1
    assert [report.batch_key for report in rig.reports()] == [good.batch_key]
    assert rig.delays() == [30]


# The environment


GOOD = {
    "TABLE": "ledger",
    "SITE_UID": SITE,
    "KEYS": "a:b",
    "QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/jobs",
    "RESULTS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/results",
}


def test_the_least_environment() -> None:
    settings = read_settings(GOOD)
    assert settings.keys == (Key("a", "b"),)
    assert (settings.concurrency, settings.callback_url, settings.configuration_set) == (30, "", "")


def test_two_keys_and_a_colon_in_a_secret() -> None:
    settings = read_settings(GOOD | {"KEYS": "new:b:c=, old:d"})
    assert settings.keys == (Key("new", "b:c="), Key("old", "d"))
    assert "b:c=" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "") for name in GOOD),
        ("SECRET_ARN", "arn:aws:secretsmanager:x"),  # beside KEYS
        ("KEYS", "hunter2"),
        ("KEYS", "a:"),
        ("KEYS", ":b"),
        ("KEYS", "a:b,"),
        ("KEYS", "a:b,c:d,e:f"),
        ("KEYS", "with blank:b"),
        ("QUEUE_URL", "jobs"),
        ("RESULTS_QUEUE_URL", "ftp://results"),
        ("CALLBACK_URL", "http://moodle.example.test/"),
        ("CALLBACK_URL", "http://127.0.0.1@moodle.example.test/"),
        ("CALLBACK_URL", "/cloud_callback.php"),
        ("CALLBACK_URL", "https:///cloud_callback.php"),
        ("CALLBACK_URL", "https://[moodle/"),
        ("CALLBACK_URL", "https://moodle.example.test:port/"),
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "31"),
        ("CONCURRENCY", "many"),
    ],
)
def test_a_wrong_environment_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as error:
        read_settings(GOOD | {name: value})
    assert "hunter2" not in str(error.value)


def test_with_a_wrong_environment_the_queue_keeps_everything(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.ask(make_batch(1))
    monkeypatch.delenv("TABLE")
    with pytest.raises(ConfigurationError, match="TABLE"):
        rig.run()
    assert len(rig.delays()) == 1


def test_the_keys_may_be_a_secret_that_changes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = boto3.client("secretsmanager", endpoint_url=rig.endpoint)
    arn = secrets.create_secret(Name=rig.name, SecretString="first:1234")["ARN"]
    monkeypatch.delenv("KEYS")
    monkeypatch.setenv("SECRET_ARN", arn)
    first, second = SigningKey("first", "1234"), SigningKey("second", "5678")
    rig.ask(make_batch([make_mail()]), key=first)
    assert rig.run() == 0
    assert len(rig.reports(first)) == 1
    secrets.put_secret_value(SecretId=arn, SecretString="second:5678,first:1234")
    rig.page.stored.clear()
    rig.ask(make_batch([make_mail()]), key=second)
    assert rig.run() == 0
    assert len(rig.reports(second)) == 1
    assert len(rig.ses.taken) == 2
    rig.ask(make_batch(1), key=SigningKey("third", "9"))
    assert rig.run() == 0
    assert len(rig.ses.taken) == 2
    secrets.put_secret_value(SecretId=arn, SecretString="nonsense")
    rig.ask(make_batch(1), key=SigningKey("third", "9"))
    with pytest.raises(ConfigurationError, match="SECRET_ARN"):
        rig.run()
    secrets.close()


def test_time_is_the_workers_own(rig: Rig) -> None:
    """A job has no age limit of 300 s: a queue may keep it for days."""
    batch = make_batch(1)
    rig.put(encode_batch(batch, SITE, KEY, int(time.time()) - 20 * 86400))
    assert rig.run() == 0
    assert len(rig.ses.taken) == 1
