"""What a reader finds in the messages that mime.py builds, whatever was put in."""

import email
import email.policy
import re
import string
from email.header import decode_header, make_header
from email.headerregistry import DateHeader
from email.message import EmailMessage
from email.utils import localtime, parseaddr
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.connectors.mime import address, build
from sidecar.mail import SUBJECT_BYTES, Address, Attachment, Content
from tests.connectors.mails import make_mail

SMUGGLED = (
    "one\n.\r\nMAIL FROM:<x@y>\r\n\r.\r\n\n.\n..\r\n.\nFrom here\r\nFrom From me\r\rFrom \n. \n"
)

bodies = st.text() | st.text(alphabet=" \t\r\n.=FromX-_é\u202e😀")
names = st.text(max_size=200).filter(lambda text: not re.search(r"[\r\n\0]", text))
subjects = st.text(max_size=1_200).filter(lambda text: not re.search(r"[\r\n\0]", text))
files = st.builds(
    Attachment,
    names.filter(lambda name: name.strip(" \t")),
    st.sampled_from(["text/plain", "image/png", "application/pdf"]),
    st.binary(max_size=300),
)


def read(message: bytes) -> EmailMessage:
    found = email.message_from_bytes(message, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def body_of(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    assert part is not None
    return str(part.get_content())


def unix(text: str) -> str:
    return re.sub(r"\r\n?", "\n", text)


def head_of(message: bytes) -> bytes:
    return message[: message.index(b"\r\n\r\n")]


@given(html=bodies, text=bodies, attachments=st.lists(files, max_size=2), subject=subjects)
@example(html=SMUGGLED, text=SMUGGLED, attachments=[], subject="x")
@example(html="x " * 80 + "\n" + "." * 76, text=" ", attachments=[], subject=" ")
def test_what_was_written_is_what_is_read(
    html: str, text: str, attachments: list[Attachment], subject: str
) -> None:
    content = Content(subject, html, text, tuple(attachments))
    message = build(make_mail(content=content))
    found = read(message)
    if html:
        assert unix(body_of(found, "html")) == unix(html)
        assert unix(body_of(found, "plain")) == unix(text)
    else:  # a mail of text alone ends with a line end
        assert found.get_body(("html",)) is None
        assert unix(body_of(found, "plain")) == unix(text) + "\n"
    assert [a.get_filename() for a in found.iter_attachments()] == [
        a.filename.strip() for a in attachments
    ]
    assert [a.get_content_type() for a in found.iter_attachments()] == [
        a.content_type for a in attachments
    ]
    assert [a.get_payload(decode=True) for a in found.iter_attachments()] == [
        a.content for a in attachments
    ]


@given(
    html=bodies, text=bodies, attachments=st.lists(files, max_size=2), subject=subjects, name=names
)
@example(html=SMUGGLED, text=SMUGGLED, attachments=[], subject="x", name="y")
def test_every_line_is_short_and_ends_in_crlf(
    html: str, text: str, attachments: list[Attachment], subject: str, name: str
) -> None:
    content = Content(subject, html, text, tuple(attachments))
    message = build(make_mail(content=content, sender=Address("a@b.test", name)))
    assert message.endswith(b"\r\n")
    assert message.isascii()
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", message)
    head, _, body = message.partition(b"\r\n\r\n")
    assert max(map(len, head.split(b"\r\n"))) <= 998
    assert max(map(len, body.split(b"\r\n"))) <= 78
    assert not re.search(rb"^(?:From |\.(?:\r|\Z))", body, re.MULTILINE)


@given(subject=subjects, name=names, prefix=subjects)
def test_no_input_adds_a_header(subject: str, name: str, prefix: str) -> None:
    plain = read(build(make_mail()))
    content = Content(subject, "<p>", "")
    who = Address("a@b.test", name)
    made = build(make_mail(content=content, sender=who, subject_prefix=prefix, to_name=name))
    assert read(made).keys() == plain.keys()
    assert not any(line.isspace() or not line for line in head_of(made).split(b"\r\n"))


@given(subject=subjects, prefix=subjects)
@example(subject="é" * 450, prefix="")
@example(subject="é" * 450, prefix="x")
@example(subject="=?utf-8?q?no?=", prefix="")
@example(subject="word " * 100, prefix="")
def test_subject(subject: str, prefix: str) -> None:
    message = build(make_mail(content=Content(subject, "", ""), subject_prefix=prefix))
    wanted = (prefix + subject).encode()[:SUBJECT_BYTES].decode(errors="ignore").strip(" \t")
    assert read(message)["Subject"] == wanted


@given(name=names)
@example(name='O\'Neil, "Jo" \\ <x@y>')
@example(name="Globex & Søn")
@example(name="=?utf-8?q?no?=")
@example(name="a@b.test")
def test_names_of_sender_and_recipient(name: str) -> None:
    # Not by the newer policy: Python < 3.13 puts a blank between the encoded words of a name.
    who = Address("a@b.test", name)
    message = email.message_from_bytes(build(make_mail("a@b.test", sender=who, to_name=name)))
    for header in (message["From"], message["To"]):
        phrase, found = parseaddr(header)
        assert found == "a@b.test"
        assert str(make_header(decode_header(phrase))).split() == name.split()


def test_headers_in_order_and_repeated() -> None:
    headers = (("To", "hr@example.test"), ("Cc", "a@example.test"), ("Cc", "ü <b@example.test>"))
    message = read(
        build(make_mail("me@example.test", reply_to="help@example.test", headers=headers))
    )
    assert message.get_all("To") == ["me@example.test", "hr@example.test"]
    assert message.get_all("Reply-To") == ["help@example.test"]
    assert len(message.get_all("Cc", [])) == 2


def test_date_is_now_and_message_id_is_kept() -> None:
    message = read(build(make_mail(message_id="abc@moodle.example.test")))
    date = message["Date"]
    assert isinstance(date, DateHeader)
    assert date.datetime
    assert abs((date.datetime - localtime()).total_seconds()) < 60
    assert message["Message-ID"] == "<abc@moodle.example.test>"


def test_mails_of_one_row_share_their_encoded_body() -> None:
    content = Content("Hello", "<p>Hello</p>", "Hello")
    first, second = (build(make_mail(content=content)) for _ in range(2))
    assert first.partition(b"MIME-Version")[2] == second.partition(b"MIME-Version")[2]
    assert first != second


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\r\nBcc: all@example.test"])
@pytest.mark.parametrize(
    "where",
    [
        lambda bad: {"content": Content(f"x{bad}y", "", "")},
        lambda bad: {"subject_prefix": bad},
        lambda bad: {"sender": Address("a@b.test", f"x{bad}y")},
        lambda bad: {"sender": Address(f"a@b.test{bad}")},
        lambda bad: {"to": f"a@b.test{bad}"},
        lambda bad: {"envelope_from": f"a@b.test{bad}"},
        lambda bad: {"reply_to": f"x{bad}y"},
        lambda bad: {"headers": (("To", f"x{bad}y"),)},
        lambda bad: {"headers": ((f"To{bad}", "x"),)},
        lambda bad: {"message_id": f"x{bad}y"},
        lambda bad: {"content": Content("", "", "", (Attachment(f"x{bad}y", "a/b", b""),))},
    ],
)
def test_header_injection_is_refused(where: Any, bad: str) -> None:
    with pytest.raises(ValueError, match=r"header|address|Message-ID"):
        build(make_mail(**where(bad)))


@pytest.mark.parametrize(
    "bad",
    [
        *("", "a", "a@", "@b", "a@b,c@d", "a@b c", "<a@b>", "ä@b", "a@bücher.example"),
        *('"a b"@c', "a@b@c", "a@" + "b" * 253),
    ],
)
def test_addresses_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        address(bad)


@given(
    local=st.text(
        alphabet=string.ascii_letters + string.digits + ".+_-'=/", min_size=1, max_size=64
    ),
    domain=st.sampled_from(["example.test", "xn--bcher-kva.example", "a_b.test", "[192.0.2.1]"]),
)
def test_addresses_taken(local: str, domain: str) -> None:
    assert address(f"{local}@{domain}") == f"{local}@{domain}"


@pytest.mark.parametrize(
    "name", ["Subject", "from", "Content-Type", "MIME-Version", "DATE", "", "a b", "ä"]
)
def test_a_raw_header_never_replaces_ours(name: str) -> None:
    with pytest.raises(ValueError, match="header"):
        build(make_mail(headers=((name, "x"),)))


def test_an_attachment_type_that_base64_may_not_carry_becomes_plain_bytes() -> None:
    kinds = ["message/rfc822", "multipart/mixed", "no type", "", "text/html; charset=x", "TEXT/CSV"]
    attachments = tuple(Attachment("f", kind, b"x") for kind in kinds)
    found = read(build(make_mail(content=Content("", "", "", attachments))))
    assert [part.get_content_type() for part in found.iter_attachments()] == [
        *["application/octet-stream"] * 4, "text/html", "text/csv",
    ]  # fmt: skip


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        build(make_mail(content=Content("x", "\udc80", "")))
