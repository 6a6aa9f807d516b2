"""The page's reader and the sidecar's take and refuse the same reports."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.errors import MessageError
from sidecar.message import BatchResult, encode_result, parse_result
from tests.contract.strategies import results
from tests.moodle.php import Php

READER = Path(__file__).parents[2] / "moodle_plugin" / "classes" / "cloud" / "result_payload.php"

CODE = f"""
require({json.dumps(str(READER))});
function answer($in) {{
    return local_manireports\\cloud\\result_payload::delivery_id($in) ?? 'malformed';
}}
"""

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=3,
)
others = st.sampled_from(
    ["failed", "sent", "deferred", "a" * 32, "a" * 64, 0, -1, 2**63 - 1, 2**63]
)


@pytest.fixture(scope="module")
def php() -> Iterator[Php]:
    with Php(CODE) as running:
        yield running


def sidecar(payload: str) -> str:
    """What the sidecar says of a payload."""
    try:
        return parse_result(payload).delivery_id
    except MessageError:
        return "malformed"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
@given(result=results, data=st.data())
def test_a_field_that_is_changed_or_missing(
    php: Php, result: BatchResult, data: st.DataObject
) -> None:
    fields = json.loads(encode_result(result))
    target = data.draw(st.sampled_from([fields, *fields["recipients"]]))
    name = data.draw(st.sampled_from([*sorted(target), "more"]))
    if data.draw(st.booleans()):
        target.pop(name, None)
    else:
        target[name] = data.draw(values | others | st.sampled_from([*target.values()]))
    payload = json.dumps(fields, allow_nan=True)
    assert php.ask(payload).decode() == sidecar(payload)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
@given(
    result=results, at=st.integers(0, 10**6), new=st.text(max_size=3) | st.sampled_from('{}[]",:\\')
)
def test_a_text_that_is_damaged(php: Php, result: BatchResult, at: int, new: str) -> None:
    payload = encode_result(result)
    at %= len(payload)
    damaged = payload[:at] + new + payload[at + 1 :]
    try:
        damaged.encode()
    except UnicodeEncodeError:
        return  # nothing that arrives as UTF-8
    assert php.ask(damaged).decode() == sidecar(damaged)
