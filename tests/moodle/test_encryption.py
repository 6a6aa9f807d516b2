r"""\core\encryption values, exchanged with real PHP."""

import base64
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import EncryptionError
from sidecar.moodle.encryption import decrypt, encrypt, read_key

from .php import run

KEY = bytes(range(32))

# What encrypt() and decrypt() of lib/classes/encryption.php do for METHOD_SODIUM.
PHP_ENCRYPT = r"""
$nonce = random_bytes(SODIUM_CRYPTO_SECRETBOX_NONCEBYTES);
$cipher = sodium_crypto_secretbox(base64_decode($argv[2]), $nonce, base64_decode($argv[1]));
echo 'sodium:' . base64_encode($nonce . $cipher);
"""
PHP_DECRYPT = r"""
$data = base64_decode(substr($argv[2], strlen('sodium:')), true);
$nonce = substr($data, 0, SODIUM_CRYPTO_SECRETBOX_NONCEBYTES);
$cipher = substr($data, SODIUM_CRYPTO_SECRETBOX_NONCEBYTES);
echo sodium_crypto_secretbox_open($cipher, $nonce, base64_decode($argv[1]));
"""
TEXTS = ["secret", "søn 🎉 שלום", " ", "x" * 10_000]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def _sodium() -> None:
    if run("echo extension_loaded('sodium') ? 1 : 0;") != b"1":
        pytest.skip("this php has no sodium extension")


@pytest.mark.usefixtures("_sodium")
@pytest.mark.parametrize("text", TEXTS)
def test_php_reads_what_we_write(text: str) -> None:
    assert run(PHP_DECRYPT, b64(KEY), encrypt(text, KEY)).decode() == text


@pytest.mark.usefixtures("_sodium")
@pytest.mark.parametrize("text", TEXTS)
def test_we_read_what_php_writes(text: str) -> None:
    assert decrypt(run(PHP_ENCRYPT, b64(KEY), b64(text.encode())).decode(), KEY) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_round_trip(text: str) -> None:
    assert decrypt(encrypt(text, KEY), KEY) == text


def test_nothing_stays_nothing() -> None:
    assert encrypt("", KEY) == ""
    assert decrypt("", KEY) == ""


def test_no_two_values_are_alike() -> None:
    assert encrypt("secret", KEY) != encrypt("secret", KEY)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("plain text", "not encrypted by Moodle"),
        ("sodium:", "damaged"),
        ("sodium:?", "damaged"),
        ("sodium:é", "damaged"),
        ("sodium:" + b64(b"x" * 24), "damaged"),
        ("sodium:" + b64(b"x" * 60), "another site's key"),
        (encrypt("secret", KEY)[:-8] + "AAAAAAA=", "damaged"),
        (encrypt("secret", KEY[::-1]), "another site's key"),
        ("openssl-aes-256-ctr:" + b64(b"x" * 60), "re-save the setting in Moodle"),
    ],
    ids=itertools.count(),
)
def test_unreadable_values(value: str, reason: str) -> None:
    with pytest.raises(EncryptionError, match=reason) as caught:
        decrypt(value, KEY)
    assert "plain text" not in str(caught.value)


def test_the_key_file(tmp_path: Path) -> None:
    with pytest.raises(EncryptionError, match="is missing"):
        read_key(tmp_path)
    file = tmp_path / "secret" / "key" / "sodium.key"
    file.parent.mkdir(parents=True)
    file.write_bytes(KEY)
    assert read_key(tmp_path) == KEY
    assert read_key(Path("/nowhere"), tmp_path / "secret") == KEY
    file.write_bytes(KEY[:31])
    with pytest.raises(EncryptionError, match="31 bytes"):
        read_key(tmp_path)


def test_a_key_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "secret" / "key" / "sodium.key").mkdir(parents=True)
    with pytest.raises(EncryptionError, match="cannot be read"):
        read_key(tmp_path)
