"""The golden vectors, the schemas and the sidecar's own code say the same."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import MessageError
from sidecar.mail import MailBatch, capture_hash, mail_key
from sidecar.message import (
    BatchResult,
    SigningKey,
    delivery_id,
    encode_batch,
    encode_result,
    is_signed,
    parse_envelope,
    parse_result,
    sign,
)
from tests.contract.strategies import batches, results
from tests.contract.wire import CONTRACT, batch_of, open_message, schema, text_of, vectors

KEY = SigningKey("company-1", "secret")


def by_name(case: Any) -> str | None:
    return str(case["name"]) if isinstance(case, dict) else None


def cases(name: str, of: str = "cases") -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", vectors(name)[of], ids=by_name)


def test_every_file_of_vectors_is_read_here() -> None:
    assert {path.stem for path in (CONTRACT / "vectors").iterdir()} == {
        "batch",
        "delivery_ids",
        "keys",
        "malformed_messages",
        "malformed_results",
        "messages",
        "results",
        "signatures",
    }


@cases("signatures")
def test_signatures(case: Any) -> None:
    made = sign(case["kind"], case["timestamp"], case["payload"], case["secret"])
    assert made == case["signature"]


@cases("signatures", of="checks")
def test_what_is_genuine(case: Any) -> None:
    found = is_signed(
        case["kind"], case["timestamp"], case["payload"], case["signature"], case["secrets"]
    )
    assert found is case["valid"]


@cases("keys")
def test_names_of_mails(case: Any) -> None:
    found = capture_hash(
        case["source"],
        int(case["source_id"]),
        int(case["source_stamp"]),
        case["role"],
        case["address"],
        int(case["generation"]),
    )
    assert found == case["capture_hash"]
    assert mail_key(vectors("keys")["site_uid"], found) == case["mail_key"]


@cases("delivery_ids")
def test_names_of_reports(case: Any) -> None:
    found = delivery_id(
        case["site_uid"], case["batch_key"], case["attempt"], case["try"], case["part"]
    )
    assert found == case["delivery_id"]


def test_the_batch_is_written_as_the_vector_says() -> None:
    vector = vectors("batch")
    key = SigningKey(**vector["key"])
    batch = batch_of(vector["payload"], vector["mails"])
    made = encode_batch(batch, vector["payload"]["site_uid"], key, vector["timestamp"])
    envelope, payload, mails = open_message(made, key.secret)
    assert (envelope["v"], envelope["key"], envelope["kind"]) == (1, key.key, "job")
    assert envelope["timestamp"] == vector["timestamp"]
    assert payload == vector["payload"]
    assert mails == vector["mails"]


def test_the_message_of_the_vector_is_correct() -> None:
    vector = vectors("batch")
    _, payload, mails = open_message(vector["message"], vector["key"]["secret"])
    assert payload == vector["payload"]
    assert mails == vector["mails"]
    check_message(vector["message"])


@cases("messages")
def test_messages_are_taken(case: Any) -> None:
    envelope = parse_envelope(case["message"])
    assert asdict(envelope) == case["envelope"]
    assert is_signed(
        envelope.kind,
        envelope.timestamp,
        envelope.payload,
        envelope.signature,
        [vectors("messages")["secret"]],
    )
    schema("envelope").validate(json.loads(case["message"]))


@cases("results")
def test_results_are_taken(case: Any) -> None:
    assert json.loads(case["payload"]) == case["result"]
    schema("result").validate(case["result"])
    wire = json.loads(encode_result(parse_result(case["payload"])))
    assert known(case["result"], wire) == wire


def known(value: Any, like: Any) -> Any:
    """``value`` without the fields that ``like`` has not."""
    if isinstance(like, dict):
        return {name: known(value[name], like[name]) for name in like}
    if isinstance(like, list):
        return [known(*pair) for pair in zip(value, like, strict=True)]
    return value


@cases("malformed_results")
def test_malformed_results_are_refused(case: Any) -> None:
    with pytest.raises(MessageError) as refusal:
        parse_result(text_of(case))
    check_refusal(case, refusal.value, "result")


@cases("malformed_messages")
def test_malformed_messages_are_refused(case: Any) -> None:
    with pytest.raises(MessageError) as refusal:
        parse_envelope(text_of(case))
    check_refusal(case, refusal.value, "envelope")


def check_refusal(case: Any, error: MessageError, name: str) -> None:
    assert str(error).startswith(f"{case['field']}:" if case["field"] else ("not", "the", "longer"))
    assert len(str(error)) < 200
    if case["schema"]:
        assert not schema(name).is_valid(json.loads(text_of(case)))


def check_message(message: str) -> None:
    envelope = json.loads(message)
    schema("envelope").validate(envelope)
    schema("job").validate(json.loads(envelope["payload"]))


@given(batch=batches)
def test_batches_follow_the_schemas(batch: MailBatch) -> None:
    message = encode_batch(batch, "site", KEY, 1)
    check_message(message)
    schema("mails").validate(open_message(message, KEY.secret)[2])


@given(result=results)
def test_results_follow_the_schema(result: BatchResult) -> None:
    schema("result").validate(json.loads(encode_result(result)))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=3,
)


@given(result=results, data=st.data())
def test_parser_and_schema_refuse_the_same(result: BatchResult, data: st.DataObject) -> None:
    fields = json.loads(encode_result(result))
    target = data.draw(st.sampled_from([fields, *fields["recipients"]]))
    name = data.draw(st.sampled_from(sorted(target)))
    if data.draw(st.booleans()):
        del target[name]
    else:
        others = [*target.values(), "failed", "sent", "deferred", "a" * 32, "a" * 64, 0, -1, 2**63]
        target[name] = data.draw(values | st.sampled_from(others))
    try:
        parse_result(json.dumps(fields))
        taken = True
    except MessageError as error:
        taken = "mail_key is given twice" in str(error)
    assert taken is schema("result").is_valid(fields)
