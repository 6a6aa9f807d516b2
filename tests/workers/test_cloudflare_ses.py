"""The Worker on Cloudflare sending by SES: the mail is the one that every other way would send."""

from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sidecar.connectors import mime
from sidecar.demo.workerd import Workerd
from sidecar.mail import Address, Content, MailBatch
from sidecar.message import MailStatus
from tests.support.wait import wait_for
from tests.workers.cloudflare import push
from tests.workers.rig import (
    KEY,
    REGION,
    SENDER,
    SITE,
    CallbackPage,
    FakeSes,
    Refuse,
    checked,
    make_batch,
    make_mail,
)
from tests.workers.test_sending import HEADERS, RICH, same_as

ACCESS_KEY, SECRET_KEY = "AKIARIGRIGRIGRIGRIG1", "rig/secret/access/key"
FURTHER = (("To", "hr@a.test"), ("Cc", "b@a.test"), ("to", "desk@a.test"), ("CC", "c@a.test"))


class Signed(FakeSes):
    """An SES that keeps the headers of its requests."""

    def reset(self) -> None:
        super().reset()
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    def answer(self, request: object, body: bytes) -> None:
        self.headers.append(dict(request.headers))  # type: ignore[attr-defined]
        self.bodies.append(body)
        super().answer(request, body)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def ses() -> Iterator[Signed]:
    with Signed() as running:
        yield running


@pytest.fixture(scope="module")
def page() -> Iterator[CallbackPage]:
    with CallbackPage() as running:
        yield running


@pytest.fixture(scope="module")
def rig(
    ses: Signed, page: CallbackPage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workerd]:
    folder: Path = tmp_path_factory.mktemp("workerd")
    with Workerd(folder) as made:
        sender = {"SENDER": "ses", "SENDER_URL": ses.url, "SES_REGION": REGION}
        secrets = {"SES_ACCESS_KEY": ACCESS_KEY, "SES_SECRET_KEY": SECRET_KEY}
        keys = f"{KEY.key}:{KEY.secret}"
        more = {**sender, **secrets, "SES_CONFIGURATION_SET": "bounces"}
        yield made.start(SITE, keys, f"{page.url}/callback", more=more)


def send(rig: Workerd, page: CallbackPage, batch: MailBatch) -> None:
    """Have a batch sent, and wait for its report."""
    page.reset()
    push(rig, batch)
    wait_for(lambda: page.stored, 30, "the report")


def test_a_mail_arrives_as_every_other_way_would_send_it(
    rig: Workerd, ses: Signed, page: CallbackPage
) -> None:
    ses.reset()
    mails = [
        make_mail(content=RICH, headers=HEADERS, reply_to="office@example.test"),
        *(
            make_mail(content=content, headers=HEADERS, sender=Address(SENDER.email, name))
            for name in ("", 'a "b" \\c', "a@b, c", "x" * 99)
            for content in (RICH, Content("plain", "<p>a</p>", "a"), Content("", "", ""))
        ),
    ]
    send(rig, page, make_batch(mails))
    taken = {each.mail_key: each for each in ses.taken}
    assert len(ses.taken) == len(taken) == len(mails)
    same_as(mails[0], taken[mails[0].mail_key].message)
    for mail in mails:
        raw = taken[mail.mail_key].raw
        assert raw.isascii()
        assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
        assert b"\n" not in raw.replace(b"\r\n", b"")
        ours = message_from_bytes(raw, policy=policy.default)
        theirs = message_from_bytes(mime.build(mail), policy=policy.default)
        assert not ours.defects
        for field in {*theirs.keys()} - {"Date", "Content-Type", "Content-Transfer-Encoding"}:
            assert ours.get_all(field) == theirs.get_all(field), field
        parts = [list(message.walk()) for message in (ours, theirs)]
        for one, other in zip(*parts, strict=True):
            assert one.get_content_type() == other.get_content_type()
            assert one.get_filename() == other.get_filename()
            assert one.get_payload(decode=True) == other.get_payload(decode=True)
    first = ses.taken[0]
    assert first.configuration_set == "bounces"
    assert first.tags["company_id"] == "7"


def test_the_further_to_and_cc_headers_of_iomad_are_joined(
    rig: Workerd, ses: Signed, page: CallbackPage
) -> None:
    ses.reset()
    mail = make_mail(headers=FURTHER)
    send(rig, page, make_batch([mail]))
    message = ses.taken[0].message
    assert message.get_all("To") == [f"{mail.to}, hr@a.test, desk@a.test"]
    assert message.get_all("Cc") == ["b@a.test, c@a.test"]


def test_requests_are_signed_as_botocore_signs_them(
    rig: Workerd, ses: Signed, page: CallbackPage
) -> None:
    ses.reset()
    send(rig, page, make_batch(1))
    headers = {name.lower(): value for name, value in ses.headers[0].items()}
    url = f"http://{headers['host']}/v2/email/outbound-emails"
    given = {"Content-Type": "application/json", "X-Amz-Date": headers["x-amz-date"]}
    request = AWSRequest("POST", url, headers=given, data=ses.bodies[0])
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "ses", REGION)
    canonical = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    assert headers["authorization"].endswith(f"Signature={signature}")
    assert "SignedHeaders=content-type;host;x-amz-date" in headers["authorization"]


def test_a_mail_that_ses_rejects_is_reported(rig: Workerd, ses: Signed, page: CallbackPage) -> None:
    ses.reset()
    ses.mood = lambda to, nth: Refuse(400, "MessageRejected", "no such mailbox")
    send(rig, page, make_batch(1))
    report = checked(page.stored[0][0])
    (mail,) = report.recipients
    assert (mail.status, mail.error_code) == (MailStatus.PERMANENTLY_FAILED, "MessageRejected")
    assert mail.error == "no such mailbox"
