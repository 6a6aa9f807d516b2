"""The reader of {email}.headers, against real IOMAD values and PHP's own serialize()."""

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import HeadersError
from sidecar.moodle.headers import (
    AttachmentRef,
    RowHeaders,
    TemplateOptions,
    parse,
    template_options,
)

from .php import Php

# A row of company 2 in the IOMAD 4.3.9 fixture; the template's body is shortened.
GLOBEX = (
    'a:7:{s:10:"attachment";O:8:"stdClass":2:{s:8:"filepath";'
    's:74:"/var/www/moodledata/filedir/05/8d/058da3868e4a9f7530a032f5421c715adef742f9";'
    's:8:"filename";s:11:"welcome.txt";}i:0;s:25:"To:hr@globex.example.test";'
    'i:1;s:32:"To:reception@globex.example.test";i:2;s:28:"Cc:audit@globex.example.test";'
    'i:3;s:30:"Cc:archive@globex.example.test";i:4;s:37:"reply-to:helpdesk@globex.example.test";'
    's:8:"template";O:8:"stdClass":22:{s:2:"id";s:2:"92";s:9:"companyid";s:1:"2";'
    's:4:"name";s:11:"user_create";s:4:"lang";s:2:"en";'
    's:7:"subject";s:43:"Welcome to {Company_Name}, {User_FirstName}";'
    's:4:"body";s:36:"<p>Kære {User_FirstName}";}i:9;</p>";'
    's:9:"signature";s:46:"<p>Globex Learning Team<br>+45 00 00 00 00</p>";'
    's:8:"disabled";i:0;s:15:"disabledmanager";i:0;s:18:"disabledsupervisor";s:1:"1";'
    's:7:"emailto";s:4:"1006";s:12:"emailtoother";s:29:"reception@globex.example.test";'
    's:7:"emailcc";s:10:"1007, 1008";s:12:"emailccother";'
    's:43:"archive@globex.example.test, not-an-address";s:9:"emailfrom";s:0:"";'
    's:14:"emailfromother";s:28:"training@globex.example.test";s:12:"emailreplyto";s:0:"";'
    's:17:"emailreplytoother";s:28:"helpdesk@globex.example.test";s:12:"repeatperiod";i:0;'
    's:11:"repeatvalue";i:0;s:9:"repeatday";i:0;s:18:"emailfromothername";s:14:"{Company_Name}";}}'
)
BARE = 'a:1:{s:8:"template";O:8:"stdClass":1:{s:4:"name";s:11:"user_create";}}'

# As queue_for_cron does it: attachment, then header lines, then the template.
SERIALIZE = r"""
function answer($in) {
    $headers = [];
    if ($in['attachment']) { $headers['attachment'] = (object) $in['attachment']; }
    foreach ($in['raw'] as $line) { $headers[] = $line; }
    $headers['template'] = (object) $in['template'];
    return serialize($headers);
}
"""


@pytest.fixture(scope="module")
def serialize() -> Iterator[Php]:
    with Php(SERIALIZE) as php:
        yield php


def test_a_row_with_everything_set() -> None:
    assert parse(GLOBEX) == RowHeaders(
        template=TemplateOptions(
            name="user_create",
            lang="en",
            emailto=(1006,),
            emailcc=(1007, 1008),
            emailtoother=("reception@globex.example.test",),
            emailccother=("archive@globex.example.test", " not-an-address"),
            emailfromother="training@globex.example.test",
            emailfromothername="{Company_Name}",
            disabledsupervisor=True,
        ),
        attachment=AttachmentRef(
            "/var/www/moodledata/filedir/05/8d/058da3868e4a9f7530a032f5421c715adef742f9",
            "welcome.txt",
        ),
        raw=(
            "To:hr@globex.example.test",
            "To:reception@globex.example.test",
            "Cc:audit@globex.example.test",
            "Cc:archive@globex.example.test",
            "reply-to:helpdesk@globex.example.test",
        ),
    )
    assert parse(GLOBEX.encode()) == parse(GLOBEX)


@pytest.mark.parametrize("value", [None, "", b"", "0", "a:0:{}"])
def test_without_a_template_the_caller_reads_the_database(value: str | bytes | None) -> None:
    assert parse(value) == RowHeaders()


def test_rows_of_one_job_share_their_template() -> None:
    other = GLOBEX.replace("s:25:", "s:26:").replace("To:hr@", "To:hrm@")
    assert parse(GLOBEX).template is parse(other).template


def template_of(**fields: object) -> TemplateOptions:
    return template_options({"name": "user_create", **fields})


@pytest.mark.parametrize("nothing", [None, "", "0", 0, False])
def test_php_empty_values_are_none(nothing: object) -> None:
    names = (field.name for field in dataclasses.fields(TemplateOptions) if field.name != "name")
    assert template_of(**dict.fromkeys(names, nothing)) == TemplateOptions(name="user_create")


def test_a_template_row_of_the_database() -> None:
    found = template_of(
        lang="da",
        emailto="4, 5,x,",
        emailtoother=" a@x.example,,b@x.example",
        emailfrom=7,
        disabledmanager=1,
    )
    assert found == TemplateOptions(
        name="user_create",
        lang="da",
        emailto=(4, 5),
        emailtoother=(" a@x.example", "", "b@x.example"),
        emailfrom=7,
        disabledmanager=True,
    )


def test_a_sender_that_is_no_user_id_is_refused() -> None:
    with pytest.raises(HeadersError, match="user id"):
        template_of(emailfrom="boss")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", "an array at byte 0"),
        ('O:8:"stdClass":0:{}', "an array at byte 0"),
        ("a:-1:{}", "an array"),
        ("a:99999999:{}", "an array"),
        ("a:1:{}", "a scalar at byte 5"),
        ('a:1:{i:0;s:2:"xy";i:1;s:1:"z";}', "the end after 1 elements"),
        ('a:2:{i:0;s:2:"xy";i:0;s:1:"z";}', "every key only once"),
        ('a:1:{i:0;s:2:"xy";}}', "the end of the value at byte 19"),
        ('a:1:{i:0;s:2:"xy";}\n', "the end of the value"),
        ('a:1:{i:0;s:3:"xy";}', "a string of the length it states at byte 9"),
        ('a:1:{i:0;s:1:"é";}', "a string of the length it states"),
        ('a:1:{i:0;s:99:"xy";}', "a string of the length it states"),
        (b'a:1:{i:0;s:1:"\xff";}', "a string in UTF-8"),
        ("a:1:{i:0;s:2:\"xy';}", "a string of the length it states"),
        ("a:1:{i:0;i:7;}", "a text without line breaks"),
        ("a:1:{i:0;d:0.5;}", "a text without line breaks"),
        ('a:1:{i:0;s:7:"To:x\r\ny";}', "a text without line breaks"),
        ('a:1:{i:0;s:3:"a\0b";}', "a text without line breaks"),
        ('a:1:{b:1;s:1:"x";}', "an integer, 'template' or 'attachment' as key"),
        ('a:1:{s:4:"From";s:1:"x";}', "an integer, 'template' or 'attachment' as key"),
        ('a:1:{s:1:"0";s:1:"x";}', "an integer, 'template' or 'attachment' as key"),
        ("a:1:{i:0;a:1:{i:0;i:0;}}", "a scalar"),
        ("a:1:{i:0;r:1;}", "a scalar"),
        ('a:2:{i:0;s:1:"x";i:1;R:2;}', "a scalar"),
        ('a:1:{i:0;E:7:"Foo:Bar";}', "a scalar"),
        ('a:1:{i:0;C:11:"ArrayObject":0:{}}', "a scalar"),
        ('a:1:{s:8:"template";s:1:"x";}', "an stdClass at byte 20"),
        ('a:1:{s:8:"template";N;}', "an stdClass"),
        ('a:1:{s:8:"template";O:9:"Exception":0:{}}', "an stdClass"),
        ('a:1:{s:8:"template";O:8:"stdclass":0:{}}', "an stdClass"),
        ('a:1:{s:8:"template";O:8:"stdClass":1:{i:0;i:0;}}', "the name of a property"),
        ('a:1:{s:8:"template";O:8:"stdClass":1:{s:1:"a";O:8:"stdClass":0:{}}}', "a scalar"),
        ('a:1:{s:8:"template";O:8:"stdClass":1:{s:1:"a";a:0:{}}}', "a scalar"),
        ('a:1:{s:8:"template";O:8:"stdClass":2:{s:1:"a";i:1;s:1:"a";i:2;}}', "every key only once"),
        ('a:1:{s:10:"attachment";O:8:"stdClass":0:{}}', "a text without line breaks"),
        ('a:1:{s:8:"template";O:8:"stdClass":1:{s:9:"emailfrom";s:1:"x";}}', "a user id"),
    ],
)
def test_what_iomad_does_not_write_is_refused(value: str | bytes, expected: str) -> None:
    with pytest.raises(HeadersError) as caught:
        parse(value)
    assert f"expected {expected}" in str(caught.value)


def test_positions_count_from_the_start_also_inside_the_template() -> None:
    with pytest.raises(HeadersError, match=f"a scalar at byte {BARE.index('s:11')}"):
        parse(BARE.replace('s:11:"user_create";', "r:1;"))


def test_size_and_encoding_are_limited() -> None:
    with pytest.raises(HeadersError, match="more than 10"):
        parse(BARE, max_bytes=10)
    with pytest.raises(HeadersError, match="UTF-8"):
        parse('a:1:{i:0;s:1:"\ud800";}')


def test_errors_never_show_the_content() -> None:
    with pytest.raises(HeadersError) as caught:
        parse('a:2:{i:0;s:9:"To:secret";i:1;s:99:"hunter2";}')
    assert "secret" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@given(st.integers(0, len(GLOBEX.encode()) - 1))
def test_every_truncation_is_refused(length: int) -> None:
    if length:
        with pytest.raises(HeadersError):
            parse(GLOBEX.encode()[:length])


@given(st.integers(0, len(GLOBEX.encode()) - 1), st.binary(max_size=3))
def test_damage_is_refused_or_read_but_nothing_else(at: int, damage: bytes) -> None:
    data = GLOBEX.encode()
    with contextlib.suppress(HeadersError):
        assert isinstance(parse(data[:at] + damage + data[at + len(damage) :]), RowHeaders)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    with contextlib.suppress(HeadersError):
        assert isinstance(parse(data), RowHeaders)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1)
names = st.text("abcdefghijklmnop_", min_size=1, max_size=12)


@given(
    raw=st.lists(lines, max_size=4),
    attachment=st.none() | st.fixed_dictionaries({"filepath": lines, "filename": lines}),
    others=st.dictionaries(
        names,
        st.none()
        | st.booleans()
        | texts
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False),
    ),
    name=lines.filter(lambda name: name != "0"),
    tos=st.lists(st.integers(1, 10**12), min_size=1, max_size=3),
)
def test_what_php_serializes_comes_back(
    serialize: Php,
    raw: list[str],
    attachment: dict[str, str] | None,
    others: dict[str, object],
    name: str,
    tos: list[int],
) -> None:
    template = {**others, "name": name, "lang": "en", "emailto": ",".join(map(str, tos))}
    question = {"raw": raw, "attachment": attachment, "template": template}
    found = parse(serialize.ask(question))
    assert found.raw == tuple(raw)
    assert found.attachment == (AttachmentRef(**attachment) if attachment else None)
    assert found.template == TemplateOptions(name=name, lang="en", emailto=tuple(tos))
