"""DKIM signatures (RFC 6376): relaxed/relaxed, rsa-sha256, by the domain of the From address.

dkimpy canonicalizes; its RSA is pure Python, 25 times slower than that of cryptography (measured:
15 ms a mail), and would hold all connections up.
"""

import logging
import re
import time
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sidecar.errors import SigningKeyError

log = logging.getLogger(__name__)

SIGNED = frozenset(
    (
        *(b"from", b"to", b"cc", b"reply-to", b"date", b"subject", b"message-id"),
        *(b"mime-version", b"content-type", b"list-unsubscribe", b"list-unsubscribe-post"),
    )
)
"""Headers that are signed wherever a mail has them; RFC 8058 §4 requires the last two."""

_NAME = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,253}")
_FIELD = re.compile(rb"([!-9;-~]+):((?:.*\r\n)(?:[ \t].*\r\n)*)")


@dataclass(frozen=True, slots=True)
class DkimKeys:
    """Where the signing keys lie: ``folder/<domain>/<selector>.private``, RSA in PEM."""

    folder: Path
    selector: str

    def path(self, domain: str) -> Path:
        """The key file of a domain; raises SigningKeyError where that could be no file of ours."""
        for name in (domain, self.selector):
            if not _NAME.fullmatch(name):
                raise SigningKeyError(f"{name[:253]!r} cannot be part of a DKIM record's name")
        return self.folder / domain / f"{self.selector}.private"

    def load(self, domain: str) -> RSAPrivateKey | None:
        """The key of a domain; None if it has none. Raises SigningKeyError."""
        path = self.path(domain)
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SigningKeyError(f"{path} cannot be read ({error.strerror})") from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise SigningKeyError(f"{path} is no private key without a passphrase") from None
        if not isinstance(key, RSAPrivateKey):
            raise SigningKeyError(f"{path} is not an RSA key")
        return key


class Signer:
    """Signs mails with the keys that are there; thread-safe."""

    def __init__(self, keys: DkimKeys) -> None:
        self._keys = keys
        self._loaded: dict[str, tuple[int, RSAPrivateKey | None]] = {}

    def sign(self, sender: str, message: bytes) -> bytes:
        """``message`` with a signature of the domain of ``sender``; as it is, where that has no
        key, or none that can be used: so does Moodle."""
        domain = sender.rpartition("@")[2]
        key = self._key(domain)
        if key is None:
            return message
        return signature(message, domain, self._keys.selector, key, int(time.time())) + message

    def _key(self, domain: str) -> RSAPrivateKey | None:
        """The key of a domain; read again when its file has changed."""
        try:
            changed = self._keys.path(domain).stat().st_mtime_ns
        except (OSError, SigningKeyError):
            changed = 0
        known = self._loaded.get(domain)
        if known and known[0] == changed:
            return known[1]
        try:
            key = self._keys.load(domain)
        except SigningKeyError as error:
            log.warning("mail from %s is not signed: %s", domain, error)
            key = None
        self._loaded[domain] = (changed, key)
        return key


def signature(message: bytes, domain: str, selector: str, key: RSAPrivateKey, now: int) -> bytes:
    """The header DKIM-Signature for ``message``, whose lines end in CRLF. now: Unix seconds."""
    from dkim.canonicalization import Relaxed  # noqa: PLC0415 - it loads a DNS resolver

    head, _, body = message.partition(b"\r\n\r\n")
    # Of a header that comes twice, a verifier takes the last first (RFC 6376 §5.4.2).
    fields = [
        (name, value)
        for name, value in reversed(_FIELD.findall(head + b"\r\n"))
        if name.lower() in SIGNED
    ]
    body_hash = b64encode(sha256(Relaxed.canonicalize_body(body)).digest()).decode()
    names = " :\r\n ".join(name.decode().lower() for name, _ in fields)
    header = (
        f" v=1; a=rsa-sha256; c=relaxed/relaxed; q=dns/txt; t={now};\r\n"
        f" d={domain};\r\n s={selector};\r\n h={names};\r\n bh={body_hash};\r\n b="
    ).encode()
    signed = Relaxed.canonicalize_headers([*fields, (b"DKIM-Signature", header)])
    data = b"".join(name + b":" + value for name, value in signed).removesuffix(b"\r\n")
    value = b64encode(key.sign(data, PKCS1v15(), SHA256()))
    lines = [value[start : start + 72] for start in range(0, len(value), 72)]
    return b"DKIM-Signature:" + header + b"\r\n ".join(lines) + b"\r\n"
