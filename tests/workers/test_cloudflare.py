"""The Worker on Cloudflare and what the sidecar packs: sizes count alike, texts stay equal."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sidecar.connectors.cloudflare import SMALLEST_MAIL
from sidecar.connectors.cloudflare_submit import MAX_MESSAGE
from sidecar.demo.workerd import Workerd
from sidecar.mail import Attachment, Content, Mail
from sidecar.message import encode_batch
from sidecar.packing import mail_bytes, pack
from tests.support.wait import wait_for
from tests.workers.cloudflare import push
from tests.workers.rig import KEY, SITE, CallbackPage, checked, make_batch, make_mail

BATCH_KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


@pytest.fixture(scope="module")
def page() -> Iterator[CallbackPage]:
    with CallbackPage() as running:
        yield running


@pytest.fixture(scope="module")
def rig(page: CallbackPage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    with Workerd(tmp_path_factory.mktemp("workerd")) as made:
        yield made.start(SITE, f"{KEY.key}:{KEY.secret}", f"{page.url}/callback")


def filled(size: int, letter: str) -> Mail:
    """A mail of so many bytes, of which most are that letter."""
    file = Attachment("ü.bin", "application/x-y", b"\x00\xff" * 500)
    headers = (("X-Course", "Sécurité"), ("List-Id", "<a.test>"))
    empty = make_mail(
        content=Content("Grüße", "", "ü", (file,)), headers=headers, message_id="1@a.test"
    )
    rest, odd = divmod(size - mail_bytes(empty), len(letter.encode()))
    html = letter * rest + "." * odd
    return replace(empty, content=Content("Grüße", html, "ü", (file,)))


@pytest.mark.parametrize("letter", ["x", "ü", "太"])
def test_a_mail_of_the_largest_size_is_sent_and_one_byte_more_is_not(
    rig: Workerd, page: CallbackPage, letter: str
) -> None:
    """What the sidecar hands over is never too large for the Worker, and the other way round."""
    fits, larger = filled(SMALLEST_MAIL, letter), filled(SMALLEST_MAIL + 1, letter)
    page.reset()
    push(rig, make_batch([fits]), make_batch([larger]))
    wait_for(lambda: len(page.stored) == 2, 60, "both reports")
    said = {
        mail.mail_key: (mail.status.value, mail.error_code)
        for body, *_ in page.stored
        for mail in checked(body).recipients
    }
    assert said == {
        fits.mail_key: ("sent", ""),
        larger.mail_key: ("permanently_failed", "too_large"),
    }


def test_messages_packed_to_the_limit_pass_the_queue_and_arrive_byte_equal(
    rig: Workerd, page: CallbackPage
) -> None:
    """Unicode, control characters, empty bodies, and as many as a message takes."""
    bodies = [
        ("", ""),
        ("<p>Größe 太郎 😀 \u202e</p>\r\n\t\u0001", "\n.\nFrom here on =\r\n"),
        ("<p>" + "long line " * 30_000 + "</p>", "x" * 100_000),
        *((random.Random(n).randbytes(1500).hex(), "") for n in range(300)),
    ]
    mails = [make_mail(content=Content("Grüße 😀", html, text)) for html, text in bodies]
    packed = pack(mails, limit=MAX_MESSAGE, batch_size=100, batch_key=BATCH_KEY)
    assert not packed.too_large
    batches = [make_batch(group) for group in packed.groups]
    sizes = [len(encode_batch(batch, SITE, KEY, 1)) for batch in batches]
    assert len(sizes) > 1
    assert MAX_MESSAGE * 0.9 < max(sizes) <= MAX_MESSAGE
    page.reset()
    before = len(rig.mails())
    for batch in batches:
        push(rig, batch)
    wait_for(lambda: len(page.stored) == len(batches), 60, "all reports")
    arrived = {mail["to"]: mail for mail in rig.mails()[before:]}
    assert Counter(mail["to"] for mail in rig.mails()[before:]) == {mail.to: 1 for mail in mails}
    for mail in mails:
        found = arrived[mail.to]
        given = (found["subject"], found.get("html", ""), found["text"])
        assert given == (mail.content.subject, mail.content.html, mail.content.text)
