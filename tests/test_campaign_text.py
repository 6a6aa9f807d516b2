"""Placeholders: every one is filled, once, and no value is more than text."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.campaign_text import ENGLISH, STANDARD, CampaignText, read_data
from sidecar.errors import CampaignError

VALUES = st.dictionaries(st.sampled_from(sorted(STANDARD)), st.text(), min_size=len(STANDARD))
FULL = {name: name.upper() for name in STANDARD}


def render(subject: str, body: str, **values: str) -> tuple[str, str]:
    return CampaignText(subject, body).render(values)


@given(VALUES)
def test_a_value_opens_no_tag_ends_no_attribute_and_no_line(values: dict[str, str]) -> None:
    marks = "".join(f'<a href="{{{name}}}">{{{name}}}</a>' for name in sorted(values))
    subject, body = render("{firstname}{lastname}: {fullname}", marks, **values)
    assert body.count("<") == 2 * len(values)
    assert body.count('"') == 2 * len(values)
    assert not re.search(r"[\r\n\x00-\x1f\x7f-\x9f\u2028\u2029]", subject)
    subject.encode()
    body.encode()


@given(st.text(alphabet="{}abc_1 &<>\"'", max_size=30))
def test_what_a_value_holds_is_escaped_once_and_never_filled(value: str) -> None:
    _, body = render("s", "[{firstname}]", firstname=value, abc="WRONG")
    assert html.unescape(body) == f"[{value}]"
    assert "WRONG" not in body


PLAIN = st.text(alphabet="ab1_:; \n", max_size=9) | st.sampled_from(["{ }", "{a:b}", "{1}", "{}"])
NAME = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True)
PART = st.one_of(
    PLAIN.map(lambda text: (text, text)),
    NAME.map(lambda name: (f"{{{name}}}", "<v>")),
    NAME.map(lambda name: (f"{{{{{name}}}}}", f"{{{name}}}")),
)


@given(st.lists(PART))
def test_every_placeholder_is_filled_and_every_other_brace_stays(
    parts: list[tuple[str, str]],
) -> None:
    body = "".join(written for written, _ in parts)
    text = CampaignText("", body)
    _, made = text.render(dict.fromkeys(text.names, "<v>"))
    assert html.unescape(made) == "".join(meant for _, meant in parts)


def test_the_ways_to_write_braces() -> None:
    css = "<style>p{color:red} @media print{a{margin:0}}</style>"
    assert render("s", css)[1] == css
    assert render("{{firstname}} {firstname}", "", firstname="A")[0] == "{firstname} A"
    assert render("a\r\nBcc: x", "")[0] == "a Bcc: x"


def test_an_unknown_placeholder_is_named() -> None:
    text = CampaignText("{firstname}", "{frstname} {bonus}")
    assert text.own_names() == {"frstname", "bonus"}
    with pytest.raises(CampaignError, match=r"\{bonus\}, \{frstname\}"):
        text.render(FULL)


def test_the_default_text_needs_nothing_but_the_standard() -> None:
    assert ENGLISH.own_names() == set()
    subject, body = ENGLISH.render(FULL)
    assert subject == "COURSENAME is waiting for you"
    assert 'href="UNSUBSCRIBEURL"' in body


@pytest.mark.parametrize(
    ("data", "complaint"),
    [("{", "not JSON"), ("[1]", "not a JSON object"), ('{"a": [1]}', "'a' is neither")],
)
def test_bad_data_is_named(data: str, complaint: str) -> None:
    with pytest.raises(CampaignError, match=complaint):
        read_data(data)
    assert read_data('{"a": 1, "b": "x"}') == {"a": "1", "b": "x"}
    assert read_data(None) == {}
