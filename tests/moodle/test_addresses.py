"""Addresses: PHP's own filter is the judge of what is valid."""

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import AddressError
from sidecar.moodle.addresses import is_valid, to_ascii

from .php import Php

# validate_email of lib/weblib.php with PHPMailer::validateAddress in its place.
VALIDATE = r"""
function answer($in) {
    if (strpbrk($in, "\r\n<>") !== false) { return '0'; }
    return filter_var($in, FILTER_VALIDATE_EMAIL) !== false ? '1' : '0';
}
"""

LOCALS = [
    "a", "a.b", "A_b+c", "o'x", ".a", "a.", "a..b", "a b", 'a"b', '""', '"a"."b"', '"a b"',
    '"a\\ b"', '"a@b"', '"\\""', "é", "x" * 64, "x" * 65, f'"{"x" * 64}"', f'"{"x" * 65}"',
    '"' + "\\x" * 64 + '"', '"' + "\\x" * 65 + '"', "a@b", "a,b",
]  # fmt: skip
LABELS = ["a", "b1", "1", "1a", "a-b", "a--b", "-a", "a-", "a_b", "xn--a", "xn--", "é", "",
          "x" * 63, "x" * 64]  # fmt: skip
LITERALS = [
    "1.2.3.4", "256.1.1.1", "01.2.3.4", "IPv6:::", "IPv6:1::", "IPv6:1:2:3:4:5:6:7:8",
    "IPv6:1:2:3:4:5:6::", "IPv6:1:2:3:4:5:6:7::", "ipv6:a::b", "IPv6:::1.2.3.4",
    "IPv6:1:2:3:4:5:6:1.2.3.4", "IPv6:1:2:3:4:5::1.2.3.4", "IPv6:12345::", "IPv7:1::",
]  # fmt: skip

likely = st.tuples(
    st.sampled_from(LOCALS),
    st.lists(st.sampled_from(LABELS), min_size=1, max_size=8).map(".".join)
    | st.sampled_from(LITERALS).map("[{}]".format),
).map("@".join)
anything = st.text(st.sampled_from('ab9.-_@" \\[]:IPv6é<>,;\t\r\n\0\x7f'), max_size=20)
addresses = likely | anything | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture(scope="module")
def validate() -> Iterator[Php]:
    with Php(VALIDATE) as php:
        yield php


@given(address=addresses)
def test_valid_is_what_php_says(validate: Php, address: str) -> None:
    assert is_valid(address) == (validate.ask(address) == b"1")


@pytest.mark.parametrize("labels", [1, 60, 80, 126, 127])
def test_long_domains_as_in_php(validate: Php, labels: int) -> None:
    address = "a@" + "b." * labels + "cc"
    assert is_valid(address) == (validate.ask(address) == b"1")


@pytest.mark.parametrize("address", ["a@" + "a." * 150 + "!", '"' + 'a"' * 150, "a." * 150 + "!"])
def test_no_address_is_slow(address: str) -> None:
    assert not is_valid(address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("a@b.example", "a@b.example"),
        (" \ta@b.example\r\n", "a@b.example"),
        ("A.B@Example.ORG", "A.B@Example.ORG"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
        ("a@faß.example", "a@xn--fa-hia.example"),
        ("a@例え。テスト", "a@xn--r8jz45g.xn--zckzah"),
        ("x" * 64 + "@b.example", "x" * 64 + "@b.example"),
    ],
)
def test_the_form_on_the_wire(address: str, expected: str) -> None:
    assert to_ascii(address) == expected


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "is empty"),
        (" \r\n", "is empty"),
        ("a@b.example\r\nBcc: c@d.example", "line break"),
        ("a@b,c@d", "more than one address"),
        ("a@b.example;c@d.example", "more than one address"),
        ("ab.example", "no @"),
        ("x" * 65 + "@b.example", "longer than 64"),
        ("a@" + "b" * 60 + ".b" * 100, "longer than 254"),
        ("x" * 60 + "@" + "ü." * 25 + "example", "in ASCII is longer than 254"),
        ("é@b.example", "outside ASCII"),
        ("a@-ü.example", "international domain"),
        ("a@☃.example", "international domain"),
        ("a@ü b.example", "international domain"),
        ("a@localhost", "no mail address"),
        ("Ann <a@b.example>", "no mail address"),
        ('"a\\ b"@b.example', "space or a control character"),
    ],
)
def test_what_cannot_be_sent_to(address: str, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        to_ascii(address)


@given(addresses | likely.map("{}\n".format) | st.text())
def test_nothing_dangerous_reaches_the_wire(address: str) -> None:
    with contextlib.suppress(AddressError):
        found = to_ascii(address)
        assert found.isascii()
        assert found.isprintable()
        assert " " not in found
        assert is_valid(found)
        assert to_ascii(found) == found
