"""Values as Moodle's ``\\core\\encryption`` writes them; both sides read them.

Source: lib/classes/encryption.php of Moodle 4.3; FACTS §7. The empty string stays empty.
"""

import base64
import binascii
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from sidecar.errors import EncryptionError

_SODIUM = "sodium:"
_LEGACY = "openssl-aes-256-ctr:"


def read_key(dataroot: Path, secretdataroot: Path | None = None) -> bytes:
    """The site's key, which Moodle makes on first use; raises EncryptionError."""
    path = (secretdataroot or dataroot / "secret") / "key" / "sodium.key"
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        raise EncryptionError(f"{path} is missing: Moodle makes it on first use") from None
    except OSError as error:
        raise EncryptionError(
            f"{path} cannot be read ({error.strerror}): run the sidecar as the web server's user"
        ) from None
    if len(key) != SecretBox.KEY_SIZE:
        raise EncryptionError(f"{path} is {len(key)} bytes long, not {SecretBox.KEY_SIZE}")
    return key


def encrypt(text: str, key: bytes) -> str:
    """What ``\\core\\encryption::encrypt`` would store."""
    if not text:
        return ""
    return _SODIUM + base64.b64encode(SecretBox(key).encrypt(text.encode())).decode("ascii")


def decrypt(value: str, key: bytes) -> str:
    """What ``\\core\\encryption::decrypt`` would return; raises EncryptionError."""
    if not value:
        return ""
    if value.startswith(_LEGACY):
        raise EncryptionError(
            "the value is encrypted with OpenSSL, as Moodle 4.1 did: re-save the setting in Moodle"
        )
    if not value.startswith(_SODIUM):
        raise EncryptionError("the value is not encrypted by Moodle")
    try:
        data = base64.b64decode(value.removeprefix(_SODIUM), validate=True)
        return SecretBox(key).decrypt(data).decode()
    except (binascii.Error, CryptoError, ValueError):
        raise EncryptionError(
            "the value cannot be decrypted: it is damaged, or of another site's key"
        ) from None
