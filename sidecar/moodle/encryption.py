"""Values as Moodle's ``\\core\\encryption`` writes them; both sides read them.

Source: lib/classes/encryption.php of Moodle 4.3; FACTS §7. The empty string stays empty.
"""

import base64
import binascii
import hmac
import os
import secrets
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from sidecar.errors import EncryptionError

_SODIUM = "sodium:"
_LEGACY = "openssl-aes-256-ctr:"


class Vault:
    """The site's encrypted settings; the key is read anew each time, since Moodle may make it."""

    def __init__(
        self,
        dataroot: Path | None,
        secretdataroot: Path | None = None,
        handed: Path | None = None,
    ) -> None:
        """handed: a copy of the key, where the key itself is for the web server's user only."""
        self._dataroot, self._secretdataroot = dataroot, secretdataroot
        self._handed = handed

    def reveal(self, value: str) -> str:
        """The clear text of a stored value; raises EncryptionError."""
        return decrypt(value, self.key()) if value else ""

    def conceal(self, text: str) -> str:
        """What to store for ``text``; makes the site's key if it has none.

        Raises EncryptionError.
        """
        if not text:
            return ""
        self._make()
        return encrypt(text, self.key())

    def key(self) -> bytes:
        """The site's key, which must be there already; raises EncryptionError."""
        if self._handed is not None:
            return _read(self._handed)
        return read_key(self._root(), self._secretdataroot)

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, from the site's own: HMAC-SHA256 of its name.

        Makes the site's key if it has none. Raises EncryptionError.
        """
        self._make()
        return hmac.digest(self.key(), purpose.encode(), "sha256")

    def _make(self) -> None:
        if self._handed is None:
            make_key(key_path(self._root(), self._secretdataroot))

    def _root(self) -> Path:
        if self._dataroot is None:
            raise EncryptionError("dataroot is not known: set dataroot in sidecar.toml")
        return self._dataroot


def key_path(dataroot: Path, secretdataroot: Path | None = None) -> Path:
    """Where the site's key lies."""
    return (secretdataroot or dataroot / "secret") / "key" / "sodium.key"


def make_key(path: Path) -> None:
    """Make the site's key as Moodle does on first use; one that is there stays.

    It belongs to whoever owns the folder above, so that the web server can read it too. Raises
    EncryptionError.
    """
    try:
        there = next(parent for parent in path.parents if parent.exists())
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(SecretBox.KEY_SIZE))
            if os.geteuid() == 0:
                owner = there.stat()
                for made in (path, *(p for p in path.parents if there in p.parents)):
                    os.chown(made, owner.st_uid, owner.st_gid)
        except OSError:
            path.unlink()  # half a key would stay for ever, and Moodle could not use it either
            raise
    except FileExistsError:
        return
    except OSError as error:
        raise EncryptionError(
            f"{path} cannot be made ({error.strerror}): run the sidecar as the web server's user"
        ) from None


def read_key(dataroot: Path, secretdataroot: Path | None = None) -> bytes:
    """The site's key, which Moodle makes on first use; raises EncryptionError."""
    return _read(key_path(dataroot, secretdataroot))


def _read(path: Path) -> bytes:
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
