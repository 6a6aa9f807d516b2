"""SES's events as they lie in the feedback queue: enveloped, raw, of an identity, and garbage."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.connectors.aws_feedback import TEXT_LENGTH, parse_feedback
from sidecar.connectors.base import Feedback, FeedbackKind
from tests.connectors.feedback_events import (
    KEY,
    SITE,
    bounce,
    complaint,
    delivery,
    enveloped,
    event,
)


def one(body: str) -> Feedback:
    (found,) = parse_feedback(body)
    return found


@pytest.mark.parametrize("wrap", [json.dumps, enveloped], ids=["raw", "enveloped"])
def test_a_hard_bounce(wrap: Any) -> None:
    assert one(wrap(bounce("Anna@x.test"))) == Feedback(
        FeedbackKind.BOUNCED, "Anna@x.test", "ses-1", KEY, SITE,
        "General: smtp; 550 5.1.1 user unknown",
    )  # fmt: skip


def test_a_bounce_of_several_addresses_is_one_event_each() -> None:
    body = bounce("a@x.test")
    body["bounce"]["bouncedRecipients"].append({"emailAddress": "b@x.test"})
    assert [(e.address, e.text) for e in parse_feedback(json.dumps(body))] == [
        ("a@x.test", "General: smtp; 550 5.1.1 user unknown"),
        ("b@x.test", "General"),
    ]


@pytest.mark.parametrize(
    ("type_", "subtype", "kind"),
    [
        ("Permanent", "NoEmail", FeedbackKind.BOUNCED),
        ("Permanent", "OnAccountSuppressionList", FeedbackKind.BOUNCED),
        ("Transient", "MailboxFull", FeedbackKind.SOFT_BOUNCED),
        ("Transient", "ContentRejected", FeedbackKind.SOFT_BOUNCED),
        ("Transient", "General", None),  # an automatic answer, more often than not
        ("Undetermined", "Undetermined", None),
    ],
)
def test_what_a_bounce_means(type_: str, subtype: str, kind: FeedbackKind | None) -> None:
    found = parse_feedback(json.dumps(bounce("a@x.test", type_, subtype)))
    assert [each.kind for each in found] == ([kind] if kind else [])


def test_a_complaint_and_one_that_is_none() -> None:
    found = one(json.dumps(complaint("a@x.test")))
    assert (found.kind, found.address, found.text) == (FeedbackKind.COMPLAINED, "a@x.test", "abuse")
    assert not parse_feedback(json.dumps(complaint("a@x.test", "not-spam")))


def test_a_delivery_and_a_rejection() -> None:
    assert one(json.dumps(delivery("a@x.test"))).kind is FeedbackKind.DELIVERED
    rejected = event("Reject", "a@x.test", reject={"reason": "Bad content"})
    found = one(json.dumps(rejected))
    assert (found.kind, found.address, found.text) == (
        FeedbackKind.REJECTED, "a@x.test", "Bad content",
    )  # fmt: skip


def test_feedback_of_an_identity_names_the_mail_by_its_header_or_not_at_all() -> None:
    body = bounce("a@x.test")
    body["notificationType"] = body.pop("eventType")
    del body["mail"]["tags"]
    assert (one(json.dumps(body)).mail_key, one(json.dumps(body)).site_uid) == ("", "")
    body["mail"]["headers"] = [{"name": "X-ManiReports-Mail", "value": KEY}]
    assert one(json.dumps(body)).mail_key == KEY


def test_an_address_with_a_name_and_a_text_of_many_lines() -> None:
    body = bounce('"Anna" <anna@x.test>')
    body["bounce"]["bouncedRecipients"][0]["diagnosticCode"] = "550\r\n" + "x" * 5000
    found = one(json.dumps(body))
    assert found.address == "anna@x.test"
    assert len(found.text) == TEXT_LENGTH
    assert "\n" not in found.text


@pytest.mark.parametrize("kind", ["Send", "Open", "Click", "DeliveryDelay", "Rendering Failure"])
def test_other_events_say_nothing(kind: str) -> None:
    assert not parse_feedback(json.dumps(event(kind, "a@x.test")))


@pytest.mark.parametrize(
    "body",
    ["", "no", "[]", "1", '{"Message": "no"}', '{"Message": 1}', "[" * 100_000,
     '{"mail": 1, "eventType": "Bounce"}', '{"mail": {"messageId": 7}, "eventType": "Bounce"}'],
)  # fmt: skip
def test_garbage_says_nothing(body: str) -> None:
    assert parse_feedback(body) == ()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(["bounce", "complaint", "delivery", "mail", "eventType"]), _json)
def test_whatever_stands_in_a_field_breaks_nothing(name: str, value: Any) -> None:
    for body in (bounce("a@x.test"), complaint("a@x.test"), delivery("a@x.test")):
        for found in parse_feedback(json.dumps(body | {name: value})):
            assert isinstance(found.address, str)


@given(st.sampled_from(["bouncedRecipients", "bounceType", "bounceSubType"]), _json)
def test_whatever_stands_in_a_bounce_breaks_nothing(name: str, value: Any) -> None:
    body = bounce("a@x.test")
    body["bounce"][name] = value
    parse_feedback(json.dumps(body))
