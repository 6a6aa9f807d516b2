"""The text of the mail with a new password, whatever names and sites are called."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.moodle.new_user_text import (
    BUILT_IN,
    PLACEHOLDERS,
    MailText,
    TemplateError,
    languages,
)
from sidecar.moodle.password_policy import Policy, by_policy

values = st.fixed_dictionaries(
    dict.fromkeys(PLACEHOLDERS, st.text(max_size=40) | st.sampled_from(
        ["<script>", "O'Rig & Søn", "&amp;", "a\r\nBcc: x@y.test", "{newpassword}", "</div>"]
    ))
)  # fmt: skip
CORE = """Hi {$a->firstname},

username: {$a->username}
   password: {$a->newpassword}
{$a->link}
<b>{sitename}</b> {$a->admin}"""


class Tags(HTMLParser):
    """Counts tags and collects text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def lines(text: str) -> int:
    return text.count("\n")


@given(values)
def test_no_value_opens_a_tag_or_a_header_or_is_escaped_twice(values: dict[str, str]) -> None:
    for template in (MailText(*BUILT_IN), MailText("New in {sitename}", CORE)):
        made = template.fill(values, "Site: ")
        page = Tags(made.html)
        assert [tag for tag in page.tags if tag != "br"] in (["div"], ["div", "b"])
        for name in ("username", "newpassword"):
            shown = re.sub(r"[\x00-\x09\x0b-\x1f\x7f]", " ", values[name])
            assert shown in page.text.replace("\x00", " ")
        assert not re.search(r"[\x00-\x1f\x7f]", made.subject)


@given(st.dictionaries(st.sampled_from(PLACEHOLDERS), st.text("abc", min_size=1), min_size=8))
def test_no_placeholder_is_left(values: dict[str, str]) -> None:
    made = MailText("{sitename}", CORE).fill(values, "")
    assert "{" not in made.subject + made.html + made.text


@given(st.builds(Policy, length=st.integers(8, 60), other=st.integers(1, 9)))
def test_the_password_stands_in_the_text_as_it_is(policy: Policy) -> None:
    password = by_policy(policy)
    values = dict.fromkeys(PLACEHOLDERS, "x") | {"newpassword": password}
    made = MailText(*BUILT_IN).fill(values, "")
    assert f"password: {password}\n" in made.text
    assert f"password: {password}" in Tags(made.html).text


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("{username} {newpassword} {nonsense}", "nobody fills in {nonsense}"),
        ("{$a->username} {$a->newpassword} {$a}", "nobody fills in {$a}"),
        ("{username}", "no {newpassword}"),
        ("", "no {username}"),
    ],
)
def test_a_template_that_would_fail_its_user_is_refused(body: str, complaint: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(complaint)):
        MailText("x", body)


@pytest.mark.parametrize(
    ("own", "site", "parents", "order"),
    [
        ("de_du", "fr", {}, ["de_du", "de", "fr", "en"]),
        ("de_kids", "de", {"de_kids": "de_du"}, ["de_kids", "de_du", "de", "en"]),
        ("en", "en", {}, ["en"]),
        ("", "da", {"da": "da"}, ["da", "en"]),
        ("EN_us", "en", {}, ["en_us", "en"]),
    ],
)
def test_where_a_text_is_looked_for(
    own: str, site: str, parents: dict[str, str], order: list[str]
) -> None:
    assert languages(own, site, parents) == order
