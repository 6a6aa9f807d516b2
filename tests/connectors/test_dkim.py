"""DKIM: what arrives verifies with another implementation's eyes, and only if it is untouched."""

import os
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from sidecar.connectors.dkim import DkimKeys, Signer, signature
from sidecar.connectors.mime import build
from sidecar.demo.sink import Sink
from sidecar.errors import SigningKeyError
from sidecar.mail import Address, Content
from tests.connectors.mails import make_batch, make_mail
from tests.connectors.smtp_rig import Make, submit

DOMAIN, SELECTOR = "moodle.example.test", "2026-a"
KEY = rsa.generate_private_key(65_537, 2_048)
OTHER = rsa.generate_private_key(65_537, 2_048)
PUBLIC = b"v=DKIM1; k=rsa; p=" + b"".join(
    KEY.public_key()
    .public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    .splitlines()[1:-1]
)


def pem(
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    encryption: form.KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, encryption or form.NoEncryption()
    )


@pytest.fixture
def keys(tmp_path: Path) -> DkimKeys:
    """The key of DOMAIN where Moodle has it."""
    folder = tmp_path / "dkim"
    (folder / DOMAIN).mkdir(parents=True)
    (folder / DOMAIN / f"{SELECTOR}.private").write_bytes(pem(KEY))
    return DkimKeys(folder, SELECTOR)


def verifies(message: bytes) -> bool:
    """Whether the first signature is valid, with our key in a DNS of our own."""

    def record(name: bytes, timeout: int = 5) -> bytes | None:
        return PUBLIC if name == f"{SELECTOR}._domainkey.{DOMAIN}.".encode() else None

    return bool(dkim.verify(message, dnsfunc=record))


def test_what_arrives_verifies_and_nothing_else_does(
    sink: Sink, make: Make, keys: DkimKeys
) -> None:
    mail = make_mail(
        content=Content(
            "Grüße 😀 " * 20, "<p>.\n..\n.</p>\nFrom here  \t\n \n\n", "x " * 300 + "\n."
        ),
        reply_to="Anna <anna@example.test>",
        headers=(
            ("To", "first@example.test"),
            ("List-Unsubscribe", "<https://moodle.example.test/u?a=1>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ),
    )
    submit(make(dkim=keys), make_batch([mail]))
    (message,) = sink.messages
    assert message.data.startswith(b"DKIM-Signature:")
    assert verifies(message.data)
    assert message.data.endswith(build(mail).partition(b"\r\n\r\n")[2])
    for old, new in (
        (b"To: first@", b"To: second@"),
        (b"Rig Support", b"Rig support"),
        (b"One-Click", b"No-Click"),
        (b"charset=utf-8", b"charset=utf-7"),
    ):
        assert old in message.data
        assert not verifies(message.data.replace(old, new, 1))


@given(subject=st.text(max_size=80), text=st.text(max_size=300), name=st.text(max_size=80))
def test_every_mail_that_can_be_built_verifies(subject: str, text: str, name: str) -> None:
    sender = Address(f"noreply@{DOMAIN}", name)
    mail = make_mail(content=Content(subject, text, text), sender=sender)
    try:
        message = build(mail)
    except ValueError:
        return
    assert verifies(signature(message, DOMAIN, SELECTOR, KEY, 1_700_000_000) + message)


def test_only_the_domain_that_has_the_key_is_signed_for(keys: DkimKeys) -> None:
    signer = Signer(keys)
    message = build(make_mail())
    assert signer.sign("noreply@elsewhere.example.test", message) == message
    assert signer.sign("noreply", message) == message
    assert verifies(signer.sign(f"noreply@{DOMAIN}", message))


def test_no_address_leads_out_of_the_folder(keys: DkimKeys) -> None:
    (keys.folder.parent / f"{SELECTOR}.private").write_bytes(pem(KEY))
    message = build(make_mail())
    assert Signer(keys).sign("a@..", message) == message
    for domain in ("..", "a/../..", "", "a\r\nb"):
        with pytest.raises(SigningKeyError):
            keys.path(domain)


def test_a_key_that_comes_and_changes_is_used_at_once(keys: DkimKeys) -> None:
    path, message = keys.path(DOMAIN), build(make_mail())
    path.unlink()
    signer = Signer(keys)
    assert signer.sign(f"a@{DOMAIN}", message) == message
    for number, (key, good) in enumerate(((OTHER, False), (KEY, True))):
        path.write_bytes(pem(key))
        os.utime(path, (number, number))
        assert verifies(signer.sign(f"a@{DOMAIN}", message)) is good


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no private key without a passphrase"),
        (pem(KEY, form.BestAvailableEncryption(b"secret")), "without a passphrase"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "is not an RSA key"),
        (None, "cannot be read"),
    ],
    ids=["empty", "passphrase", "ed25519", "a folder"],
)
def test_a_key_that_cannot_be_used_is_named_once_and_mail_goes_unsigned(
    keys: DkimKeys, caplog: pytest.LogCaptureFixture, content: bytes | None, says: str
) -> None:
    path, message = keys.path(DOMAIN), build(make_mail())
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(SigningKeyError, match=says):
        keys.load(DOMAIN)
    signer = Signer(keys)
    assert [signer.sign(f"a@{DOMAIN}", message) for _ in range(3)] == [message] * 3
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert "PRIVATE" not in record.getMessage()
