"""The wire contract from the sidecar's side; the golden vectors are in tests/contract."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.errors import MessageError
from sidecar.mail import SUBJECT_BYTES, Address, Attachment, Content, Mail, MailBatch
from sidecar.message import (
    JOB,
    MAX_ERROR,
    RESULT,
    BatchResult,
    BatchStatus,
    MailStatus,
    SigningKey,
    delivery_id,
    encode_batch,
    encode_result,
    is_signed,
    parse_envelope,
    parse_result,
    seal,
    sign,
)
from tests.connectors.mails import make_batch, make_mail
from tests.contract.strategies import HEX, batches, names, numbers, results
from tests.contract.wire import batch_of, open_message

KEY = SigningKey("company-1", "a secret of the company")
SITE = "5f0c1c7a9be04d5e8b7d3a2f6c9e1d04"

kinds = st.sampled_from([JOB, RESULT])
secrets = st.text(min_size=1, max_size=40)

RESULT_WIRE: dict[str, Any] = {
    "site_uid": SITE,
    "delivery_id": "d" * 64,
    "batch_key": "b" * 32,
    "job_id": 1,
    "batch_id": 2,
    "attempt": 1,
    "try": 1,
    "final": True,
    "status": "failed",
    "emails_sent": 0,
    "emails_failed": 1,
    "errors": [],
    "recipients": [
        {
            "mail_key": "a" * 64,
            "id": 3,
            "status": "failed",
            "error_code": "X",
            "error": "no",
            "retryable": True,
            "not_before": 0,
        }
    ],
}


def opened(batch: MailBatch) -> tuple[dict[str, Any], list[Any]]:
    _, payload, mails = open_message(encode_batch(batch, SITE, KEY, 1767225600), KEY.secret)
    return payload, mails


@given(kind=kinds, timestamp=numbers, payload=st.text(), secret=secrets, others=st.lists(secrets))
def test_what_is_signed_is_genuine_wherever_its_secret_stands(
    kind: str, timestamp: int, payload: str, secret: str, others: list[str]
) -> None:
    signature = sign(kind, timestamp, payload, secret)
    for valid in ([secret], [*others, secret], [secret, *others], ["", secret]):
        assert is_signed(kind, timestamp, payload, signature, valid)


@given(payload=st.text(min_size=1), timestamp=numbers, data=st.data())
def test_any_flipped_bit_ends_it(payload: str, timestamp: int, data: st.DataObject) -> None:
    signature = sign(RESULT, timestamp, payload, KEY.secret)
    place = data.draw(st.integers(0, len(payload) - 1))
    flipped = chr(ord(payload[place]) ^ (1 << data.draw(st.integers(0, 15))))
    other = payload[:place] + flipped + payload[place + 1 :]
    assert not is_signed(RESULT, timestamp, other, signature, [KEY.secret])
    assert not is_signed(JOB, timestamp, payload, signature, [KEY.secret])
    later = timestamp ^ (1 << data.draw(st.integers(0, 62)))
    assert not is_signed(RESULT, later, payload, signature, [KEY.secret])
    digits = int(signature, 16) ^ (1 << data.draw(st.integers(0, 255)))
    assert not is_signed(RESULT, timestamp, payload, f"{digits:064x}", [KEY.secret])
    secret = KEY.secret[:-1] + chr(ord(KEY.secret[-1]) ^ 1)
    assert not is_signed(RESULT, timestamp, payload, signature, [secret])


@given(
    payload=st.text(st.characters()),
    signature=st.text(st.characters()),
    valid=st.lists(st.text(st.characters())),
)
@example(payload="\ud800", signature="\ud800é\0", valid=["\ud800", ""])
@example(payload="{}", signature=sign(JOB, 1, "{}", ""), valid=["", ""])
def test_no_text_is_genuine_by_chance_or_raises(
    payload: str, signature: str, valid: list[str]
) -> None:
    assert not is_signed(JOB, 1, payload, signature, valid)


def test_every_secret_is_tried_to_the_end() -> None:
    signature = sign(JOB, 1, "{}", "first")
    tried: list[str] = []

    def offered() -> Any:
        for secret in ("first", "second", "third"):
            tried.append(secret)
            yield secret

    assert is_signed(JOB, 1, "{}", signature, offered())
    assert tried == ["first", "second", "third"]


@given(batch=batches)
def test_a_batch_says_what_its_mails_are(batch: MailBatch) -> None:
    payload, mails = opened(batch)
    found = batch_of(payload, mails)
    assert payload["site_uid"] == SITE
    assert replace(found, mails=()) == replace(batch, mails=())
    key = batch.batch_key
    assert [plain(mail, key) for mail in found.mails] == [plain(mail, key) for mail in batch.mails]


def plain(mail: Mail, batch_key: str) -> tuple[object, ...]:
    """What of a mail travels."""
    content = mail.content
    subject = (mail.subject_prefix + content.subject).encode()[:SUBJECT_BYTES]
    return (
        mail.id,
        mail.mail_key,
        mail.message_id,
        mail.to,
        mail.sender,
        mail.reply_to,
        mail.headers,
        mail.root_batch or batch_key,
        mail.generation,
        subject.decode(errors="ignore"),
        (content.html, content.text, content.attachments),
    )


@given(batch=batches)
def test_a_message_is_ascii_and_equal_for_equal_input(batch: MailBatch) -> None:
    message = encode_batch(batch, SITE, KEY, 1767225600)
    again = tuple(replace(m, content=copy(m.content)) for m in batch.mails)
    assert message.isascii()
    assert message.isprintable()
    assert encode_batch(replace(batch, mails=again), SITE, KEY, 1767225600) == message


def copy(content: Content) -> Content:
    return Content(content.subject, content.html, content.text, content.attachments)


def test_a_mail_names_only_what_differs_from_the_batch() -> None:
    head = Address("noreply@moodle.example.test", "Rig Support")
    other = Address("teacher@moodle.example.test", "Lærer")
    _, mails = opened(
        make_batch(
            [
                make_mail(sender=head, reply_to="office@example.test", mail_key="1" * 64),
                make_mail(sender=head, reply_to="office@example.test"),
                make_mail(sender=other, reply_to="office@example.test"),
                make_mail(sender=head, reply_to=""),
            ]
        )
    )
    assert [mail.get("from") for mail in mails] == [
        None,
        None,
        {"email": "teacher@moodle.example.test", "name": "Lærer"},
        None,
    ]
    assert [mail.get("reply_to") for mail in mails] == [None, None, None, ""]


@pytest.mark.parametrize(
    ("subject", "prefix"),
    [("x" * 1000, ""), ("é" * 450, ""), ("é" * 450, "x"), ("😀" * 300, "ab"), ("", "[D] ")],
)
def test_the_subject_is_cut_as_moodle_cuts_it(subject: str, prefix: str) -> None:
    mail = make_mail(content=Content(subject, "", ""), subject_prefix=prefix)
    found = opened(make_batch([mail]))[1][0]["subject"]
    assert found == (prefix + subject).encode()[:900].decode(errors="ignore")


def test_text_that_is_not_unicode_harms_no_other_mail() -> None:
    odd = Content("\ud800" * 400, "\udfff<p>", "x\0", (Attachment("\ud800.txt", "\udc00", b""),))
    _, mails = opened(make_batch([make_mail(), make_mail(content=odd), make_mail()]))
    assert mails[1]["html"] == "\udfff<p>"
    assert mails[1]["subject"] == "\ud800" * 300
    assert [mails[0]["subject"], mails[2]["subject"]] == ["Your new account"] * 2


@given(result=results)
def test_a_result_comes_back_as_it_was_sent(result: BatchResult) -> None:
    payload = encode_result(result)
    assert payload.isascii()
    assert parse_result(payload) == result


@given(payload=st.text(st.characters()))
@example(payload="\ud800")
@example(payload="[" * 500_000)
@example(payload='{"a":' * 100_000)
@example(payload="9" * 100_000)
def test_any_other_text_is_refused(payload: str) -> None:
    with pytest.raises(MessageError):
        parse_result(payload)
    with pytest.raises(MessageError):
        parse_envelope(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(name=st.sampled_from(sorted(RESULT_WIRE)), value=json_values)
def test_a_result_with_any_field_spoilt_is_read_or_refused(name: str, value: object) -> None:
    payload = json.dumps(RESULT_WIRE | {name: value})
    try:
        taken = parse_result(payload)
    except MessageError:
        return
    assert parse_result(encode_result(taken)) == taken


@given(payload=st.text(st.sampled_from('{}[]",:0-e.tfn\\u')))
def test_almost_json_is_refused(payload: str) -> None:
    with pytest.raises(MessageError):
        parse_result(payload)


def test_a_refusal_names_the_field_and_keeps_its_value_secret() -> None:
    spoilt = json.loads(json.dumps(RESULT_WIRE))
    spoilt["recipients"][0]["error_code"] = "Kx&7pQ\n"
    with pytest.raises(MessageError) as refusal:
        parse_result(json.dumps(spoilt))
    assert str(refusal.value) == "recipients[0].error_code: malformed"


def test_error_texts_are_tidied_not_refused() -> None:
    spoilt = json.loads(json.dumps(RESULT_WIRE))
    spoilt["errors"] = ["one\r\n\ttwo\0\x1b[31m\u2028\x85three", "x" * 5000]
    spoilt["recipients"][0]["error"] = "\ud800" + "é" * 5000
    found = parse_result(json.dumps(spoilt))
    assert found.errors == ("one two [31m three", "x" * MAX_ERROR)
    assert found.recipients[0].error == " " + "é" * (MAX_ERROR - 1)


def test_fields_of_newer_workers_are_ignored() -> None:
    assert parse_result(json.dumps(RESULT_WIRE | {"new": [{"x": None}]})) == parse_result(
        json.dumps(RESULT_WIRE)
    )


def test_status_is_a_string_and_a_name() -> None:
    found = parse_result(json.dumps(RESULT_WIRE))
    assert (found.status, found.recipients[0].status) == ("failed", "failed")
    assert found.status is BatchStatus.FAILED
    assert found.recipients[0].status is MailStatus.FAILED


@given(kind=kinds, payload=json_values.map(json.dumps), key=names, timestamp=numbers)
def test_what_is_sealed_is_opened(kind: str, payload: str, key: str, timestamp: int) -> None:
    message = seal(kind, payload, SigningKey(key, "secret"), timestamp)
    found = parse_envelope(message)
    assert message.isascii()
    assert (found.kind, found.payload, found.key, found.timestamp) == (
        kind,
        payload,
        key,
        timestamp,
    )
    assert is_signed(kind, timestamp, payload, found.signature, ["secret"])


names_of_reports = st.tuples(
    st.text(HEX, max_size=3), st.text(HEX, max_size=3), *[st.integers(0, 120)] * 3
)


@given(one=names_of_reports, other=names_of_reports)
@example(one=("a", "b", 1, 11, 0), other=("a", "b", 11, 1, 0))
@example(one=("ab", "", 1, 1, 0), other=("a", "b", 1, 1, 0))
def test_reports_have_names_of_their_own(
    one: tuple[str, str, int, int, int], other: tuple[str, str, int, int, int]
) -> None:
    assert (delivery_id(*one) == delivery_id(*other)) is (one == other)


def test_secrets_and_bodies_are_not_shown() -> None:
    message = encode_batch(make_batch(1), SITE, KEY, 1)
    envelope = parse_envelope(message)
    assert KEY.secret not in repr(KEY)
    assert "emails" not in repr(envelope)
    assert "payload" not in repr(envelope)
