"""What is sent: every mail once, as it was written."""

import json
import threading
from collections import Counter
from dataclasses import replace
from email import message_from_bytes, message_from_string, policy
from email.message import EmailMessage, MIMEPart
from email.utils import parseaddr
from typing import Any

import boto3
import pytest
from hypothesis import given
from moto.ses.models import ses_backends

from cloud_workers.aws import lambda_handler
from cloud_workers.aws.lambda_handler import Books, Unsendable, build, unpack
from sidecar.connectors import mime
from sidecar.mail import Address, Attachment, Content, Mail, MailBatch
from sidecar.message import BatchStatus, MailStatus, encode_batch
from tests.contract.strategies import batches
from tests.workers.rig import (
    ACCOUNT_ID,
    KEY,
    REGION,
    SENDER,
    SITE,
    Mood,
    Refuse,
    Rig,
    attachment,
    make_batch,
    make_mail,
    statuses,
)

RICH = Content(
    "Grüße: ваш новый 帐户 😀 " + "und so weiter " * 12,
    "<p>Dear Björn &amp; 太郎,</p>\n" + "<p>" + "long line " * 300 + "</p>\n.\nFrom here\n",
    "Dear Björn,\n\n.\nFrom here on = equals\ttab \ntrailing blank \n" + "x" * 3000,
    (
        Attachment("Übersicht 2026 – Kurse.pdf", "application/pdf", bytes(range(256)) * 40),
        Attachment("notes.txt", "text/plain; charset=utf-8", b"a\r\nb\nc"),
        Attachment("a" * 200 + ".bin", "multipart/evil", b""),
    ),
)
HEADERS = (
    ("List-Unsubscribe", "<https://moodle.example.test/u?" + "k" * 200 + ">"),
    ("X-Course-Name", "Sécurité"),
    ("Precedence", "bulk"),
    ("X-Two", "1"),
    ("X-Two", "2"),
    ("Auto-Submitted", "auto-generated"),
)
SIGNED_BY = lambda_handler.Key(KEY.key, KEY.secret)


def test_every_mail_is_sent_once_and_reported(rig: Rig) -> None:
    batch = rig.ask(make_batch(25))
    assert rig.run() == 0
    assert rig.ses.times() == Counter({mail.mail_key: 1 for mail in batch.mails})
    (report,) = rig.reports()
    assert report.status is BatchStatus.SENT
    assert report.final
    assert (report.attempt, report.try_, report.emails_sent, report.emails_failed) == (1, 1, 25, 0)
    assert (report.batch_key, report.batch_id, report.job_id) == (batch.batch_key, batch.id, 31)
    assert [(m.mail_key, m.id, m.message_id) for m in report.recipients] == [
        (mail.mail_key, mail.id, f"ses-{mail.to}") for mail in batch.mails
    ]
    assert rig.states(batch) == ["s"] * 25
    assert not rig.delays()
    assert not rig.queued_reports()


def test_what_ses_is_told_beside_the_message(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIGURATION_SET", "bounces")
    batch = rig.ask(make_batch(1))
    assert rig.run() == 0
    (taken,) = rig.ses.taken
    assert (taken.to, taken.sender) == (batch.mails[0].to, SENDER.email)
    assert taken.configuration_set == "bounces"
    assert taken.tags == {
        "batch_key": batch.batch_key,
        "mail_key": batch.mails[0].mail_key,
        "company_id": "7",
        "site_uid": SITE,
    }
    assert taken.tenant == ""


def test_the_tenant_of_ses(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANT_NAME", "acme")
    rig.ask(make_batch(1))
    assert rig.run() == 0
    assert rig.ses.taken[0].tenant == "acme"


def test_several_are_in_flight_but_not_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCURRENCY", "3")
    three = threading.Barrier(3)
    rig.ses.before = lambda to: three.wait(30)
    rig.ask(make_batch(9))
    assert rig.run() == 0
    assert rig.ses.most_at_once == 3


def test_windows_grow_while_all_is_taken_and_shrink_after_trouble(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCURRENCY", "30")
    windows: list[int] = []
    turn = Books.turn

    def spy(books: Books, results: Any, window: Any) -> Any:
        windows.append(len(window))
        return turn(books, results, window)

    monkeypatch.setattr(Books, "turn", spy)
    monkeypatch.setattr(lambda_handler, "BREATH", 0)
    batch = make_batch(100)
    late = batch.mails[70].to
    refused = Refuse(429, "TooManyRequestsException", "Maximum sending rate exceeded")
    rig.ses.mood = lambda to, nth: refused if to == late and nth == 1 else Mood.TAKE
    rig.ask(batch)
    rig.run()
    assert windows == [8, 16, 30, 30, 8, 8]
    assert max(Counter(taken.to for taken in rig.ses.taken).values()) == 1


def test_a_mail_arrives_as_it_was_written(rig: Rig) -> None:
    mail = make_mail(content=RICH, headers=HEADERS, reply_to="office@example.test")
    rig.ask(make_batch([mail]))
    assert rig.run() == 0
    (taken,) = rig.ses.taken
    assert all(len(line) <= 998 for line in taken.raw.split(b"\r\n"))
    assert b"\n" not in taken.raw.replace(b"\r\n", b"")
    assert taken.raw.isascii()
    same_as(mail, taken.message)
    names = [name for name, _ in taken.message.items()]
    at = names.index("Message-ID")
    assert names[at : at + 8] == [
        "Message-ID",
        *(name for name, _ in HEADERS),
        "X-ManiReports-Mail",
    ]
    assert taken.mail_key == mail.mail_key
    unsubscribe = [line for line in taken.raw.split(b"\r\n") if line.startswith(b"List-Unsub")]
    assert unsubscribe == [f"List-Unsubscribe: {HEADERS[0][1]}".encode()]


def same_as(mail: Mail, message: EmailMessage) -> None:
    """What a reader sees of ``message`` is ``mail``."""
    assert parseaddr(str(message["To"]))[1] == mail.to
    (sender,) = message["From"].addresses
    assert sender.addr_spec == mail.sender.email
    assert sender.display_name == mail.sender.name
    assert str(message["Message-ID"]) == f"<{mail.message_id}>"
    assert str(message["Subject"]) == mail.content.subject.strip()
    assert str(message.get("Reply-To", "")) == mail.reply_to
    for name in {name for name, _ in mail.headers}:
        assert message.get_all(name) == [value for n, value in mail.headers if n == name]
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert content_of(text) == mail.content.text
    assert content_of(html) == mail.content.html
    files = list(message.iter_attachments())
    for file, written in zip(files, mail.content.attachments, strict=True):
        assert file.get_filename() == written.filename
        assert file.get_payload(decode=True) == written.content


def content_of(part: MIMEPart) -> str:
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    return data.decode().replace("\r\n", "\n")


@pytest.mark.usefixtures("new_clients")
def test_moto_takes_it_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another reader of the request: SES as moto understands it."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_SESV2")
    client = boto3.client("sesv2", endpoint_url=rig.endpoint)
    client.create_email_identity(EmailIdentity="moodle.example.test")
    before = len(ses_backends[ACCOUNT_ID][REGION].sent_messages)
    mail = make_mail(content=RICH, headers=HEADERS, reply_to="office@example.test")
    stranger = make_mail(sender=Address("noreply@stranger.test"))
    rig.ask(make_batch([mail]))
    rig.ask(make_batch([stranger]))
    assert rig.run() == 0
    (sent,) = ses_backends[ACCOUNT_ID][REGION].sent_messages[before:]
    message = message_from_string(sent.raw_data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    same_as(mail, message)
    good, bad = rig.reports()
    assert good.recipients[0].message_id == sent.id
    (refused,) = bad.recipients
    assert (refused.status, refused.error_code) == (MailStatus.FAILED, "identity_not_verified")
    assert refused.retryable
    client.close()


def test_a_big_batch_with_attachments(rig: Rig) -> None:
    content = replace(RICH, attachments=(attachment(3000), attachment(1000, "b.pdf")))
    batch = rig.ask(
        make_batch(make_mail(content=replace(content, subject=f"{n}")) for n in range(100))
    )
    assert rig.run() == 0
    assert rig.ses.times() == Counter({mail.mail_key: 1 for mail in batch.mails})
    by_key = {taken.mail_key: taken for taken in rig.ses.taken}
    same_as(batch.mails[99], by_key[batch.mails[99].mail_key].message)
    (report,) = rig.reports()
    assert report.emails_sent == 100
    size = len(json.dumps(rig.item(batch)))
    assert size < 400_000 / 4


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"to": "a@b.test\r\nBcc: c@d.test"}, "invalid_address"),
        ({"to": "a@b.test, c@d.test"}, "invalid_address"),
        ({"to": "björn@example.test"}, "invalid_address"),
        ({"to": ""}, "invalid_address"),
        ({"content": Content("a\r\nBcc: c@d.test", "", "")}, "invalid_header"),
        ({"content": Content("a\0", "", "")}, "invalid_header"),
        ({"content": Content("half \ud83d", "", "")}, "invalid_header"),
        ({"content": Content("a", "half \ud83d", "")}, "invalid_content"),
        ({"headers": (("X-A", "a\nb"),)}, "invalid_header"),
        ({"headers": (("X-A\r\nBcc", "a"),)}, "invalid_header"),
        ({"headers": (("X A", "a"),)}, "invalid_header"),
        ({"headers": (("Subject", "a"),)}, "invalid_header"),
        ({"headers": (("to", "a@b.test\nBcc: c@d.test"),)}, "invalid_header"),
        ({"headers": (("Content-Type", "text/html"),)}, "invalid_header"),
        ({"headers": (("X-ManiReports-Mail", "a"),)}, "invalid_header"),
        ({"reply_to": "a@b.test\nBcc: c@d.test"}, "invalid_header"),
        ({"sender": Address(SENDER.email, "a\r\nBcc: c@d.test")}, "invalid_header"),
        (
            {"content": Content("a", "", "", (Attachment('"\r\n', "text/plain", b""),))},
            "invalid_header",
        ),
    ],
)
def test_a_mail_that_cannot_be_sent_fails_alone(
    rig: Rig, changes: dict[str, Any], code: str
) -> None:
    bad = make_mail(**changes)
    batch = rig.ask(make_batch([make_mail(), bad, make_mail()]))
    assert rig.run() == 0
    assert len(rig.ses.taken) == 2
    assert rig.states(batch) == ["s", "f", "s"]
    (report,) = rig.reports()
    assert report.status is BatchStatus.PARTIAL_FAILURE
    failed = report.recipients[1]
    assert (failed.status, failed.error_code) == (MailStatus.PERMANENTLY_FAILED, code)
    assert failed.error
    assert not failed.retryable


def test_too_large_a_mail_fails_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_handler, "MAX_RAW", 5000)
    big = make_mail(content=Content("a", "b" * 6000, "c"))
    rig.ask(make_batch([big, make_mail()]))
    assert rig.run() == 0
    (report,) = rig.reports()
    assert [mail.error_code for mail in report.recipients] == ["too_large", ""]


def test_an_invalid_sender_stops_the_batch(rig: Rig) -> None:
    """That is the company's set-up: no mail of it may be lost for good."""
    rig.ask(make_batch(make_mail(sender=Address("nobody")) for _ in range(20)))
    assert rig.run() == 0
    (report,) = rig.reports()
    assert statuses(report) == {MailStatus.FAILED: 8, MailStatus.DEFERRED: 12}
    assert {(m.error_code, m.retryable) for m in report.recipients} == {("invalid_sender", True)}


@given(batches)
def test_any_mail_is_built_well_or_refused(batch: MailBatch) -> None:
    payload = json.loads(json.loads(encode_batch(batch, SITE, KEY, 1))["payload"])
    try:
        job = unpack(payload, SIGNED_BY, SITE)
    except lambda_handler.Refused:
        return
    for mail in job.mails:
        try:
            raw = build(replace(mail, to="a@b.test", sender=("c@d.test", mail.sender[1])))
        except Unsendable:
            continue
        assert raw.isascii()
        assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
        assert b"\n" not in raw.replace(b"\r\n", b"")
        assert b"\r" not in raw.replace(b"\r\n", b"")
        message = message_from_bytes(raw, policy=policy.default)
        ours = ["Date", "From", "To", "Subject", *(["Reply-To"] if mail.reply_to else [])]
        alone = not (mail.html or mail.attachments)
        assert message.keys() == [
            *ours,
            *(name for name, _ in mail.headers),
            *("X-ManiReports-Mail", "MIME-Version", "Content-Type"),
            *(["Content-Transfer-Encoding"] if alone else []),
        ]
        assert not message.defects
        plain = message.get_body(("plain",))
        assert isinstance(plain, MIMEPart)
        text = mail.text.replace("\r\n", "\n").replace("\r", "\n")
        assert content_of(plain) == (text if mail.html else text + "\n")
        assert len(list(message.iter_attachments())) == len(mail.attachments)


def test_the_further_to_and_cc_headers_of_iomad_are_joined() -> None:
    """Two To headers, or two Cc, are more than RFC 5322 allows and SES takes."""
    headers = (("To", "hr@a.test"), ("Cc", "b@a.test"), ("to", "desk@a.test"), ("CC", "c@a.test"))
    mail = make_mail(headers=headers)
    payload = json.loads(json.loads(encode_batch(make_batch([mail]), SITE, KEY, 1))["payload"])
    (read,) = unpack(payload, SIGNED_BY, SITE).mails
    message = message_from_bytes(build(read), policy=policy.default)
    assert message.get_all("To") == [f"{mail.to}, hr@a.test, desk@a.test"]
    assert message.get_all("Cc") == ["b@a.test, c@a.test"]


@pytest.mark.parametrize("name", ["", "Moodle", "Moodle of Björn", 'a "b" \\c', "a@b, c", "x" * 99])
@pytest.mark.parametrize("content", [RICH, Content("plain", "<p>a</p>", "a")])
def test_it_is_what_the_smtp_path_would_send(name: str, content: Content) -> None:
    """The sidecar's SMTP connector builds the same mail: a reader finds no difference."""
    mail = make_mail(content=content, sender=Address(SENDER.email, name), headers=HEADERS)
    payload = json.loads(json.loads(encode_batch(make_batch([mail]), SITE, KEY, 1))["payload"])
    (read,) = unpack(payload, SIGNED_BY, SITE).mails
    ours = message_from_bytes(build(read), policy=policy.default)
    theirs = message_from_bytes(mime.build(mail), policy=policy.default)
    for field in {*theirs.keys()} - {"Date", "Content-Type"}:
        assert ours.get_all(field) == theirs.get_all(field)
    parts = [list(message.walk()) for message in (ours, theirs)]
    for one, other in zip(*parts, strict=True):
        assert one.get_content_type() == other.get_content_type()
        assert one.get_filename() == other.get_filename()
        assert one.get_payload(decode=True) == other.get_payload(decode=True)
