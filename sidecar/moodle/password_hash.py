"""Password hashes as core stores those of new users: SHA-512 crypt with 5000 rounds.

Source: hash_internal_user_password, get_password_peppers in lib/moodlelib.php of Moodle 4.3 (FACTS
§5). The work is done by the system's own libcrypt (libxcrypt; on musl the C library itself), which
lets go of Python's lock meanwhile, so that threads use every core.
"""

import ctypes
import secrets
import string
from collections.abc import Mapping
from functools import lru_cache

from sidecar.errors import MoodleError

ROUNDS = 5000
"""Core's fast cost; core itself raises no hash of this form later."""

_SALT = "./" + string.digits + string.ascii_letters
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", None)
_CRYPT_DATA = 262_144
"""Bytes of ``struct crypt_data``, and more: 32 kB in libxcrypt, 131 kB in old versions of glibc."""


class HashError(MoodleError):
    """Passwords cannot be hashed as this site needs it; new users stay with Moodle."""


def hash_password(password: str, pepper: str = "") -> str:
    """What to store in ``user.password``; raises HashError."""
    salt = "".join(secrets.choice(_SALT) for _ in range(16))
    setting = f"$6$rounds={ROUNDS}${salt}$"
    made = crypt(password + pepper, setting)
    if not made.startswith(setting):
        raise HashError("libcrypt of this system makes no SHA-512 hashes: new users stay in Moodle")
    return made


def crypt(password: str, setting: str) -> str:
    """crypt(3): a stored hash as ``setting`` gives itself for the right password.

    Raises HashError where the system has no libcrypt.
    """
    data = ctypes.create_string_buffer(_CRYPT_DATA)
    made = _libcrypt().crypt_r(password.encode(), setting.encode(), data)
    return bytes(made).decode("ascii") if made else ""


@lru_cache
def _libcrypt() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
            library.crypt_r.restype = ctypes.c_char_p
            library.crypt_r.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        except (OSError, AttributeError):
            continue
        return library
    raise HashError("this system has no libcrypt: install the package libcrypt1 (or libxcrypt)")


def newest_pepper(moodle_config: Mapping[str, object], unread: frozenset[str]) -> str:
    """The last of ``$CFG->passwordpeppers`` by its number; '' for none.

    Raises HashError if config.php sets them in a way that cannot be read.
    """
    if "passwordpeppers" in unread:
        raise HashError(
            "$CFG->passwordpeppers cannot be read from config.php: write them there as a plain"
            " array, or let this user run php"
        )
    peppers = moodle_config.get("passwordpeppers")
    if isinstance(peppers, dict):
        if not all(str(number).isdecimal() for number in peppers):
            raise HashError("$CFG->passwordpeppers in config.php must be numbered: 1, 2, 3 …")
        peppers = [peppers[number] for number in sorted(peppers, key=int)]
    return str(peppers[-1]) if isinstance(peppers, list) and peppers else ""
