"""Reading JSON that a stranger may have written: nothing is guessed, nothing is converted. Pure."""

import json
import re
from enum import StrEnum
from typing import NoReturn, TypeVar

from sidecar.errors import MessageError

MAX_INT = 2**63 - 1
"""The largest number that every database column of ours can hold."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")

E = TypeVar("E", bound=StrEnum)


class Fields:
    """The fields of one JSON object; each getter raises MessageError with the field's name.

    where: what goes before the name, such as ``recipients[3].``. Fields nobody asks for are
    ignored, so that a newer writer can add some.
    """

    def __init__(self, value: object, where: str = "") -> None:
        if not isinstance(value, dict):
            raise MessageError(f"{where.rstrip('.') or 'the message'}: not an object")
        self._value: dict[str, object] = value
        self._where = where

    def text(self, name: str, pattern: re.Pattern[str]) -> str:
        """A string that ``pattern`` matches as a whole."""
        value = self._get(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self._malformed(name)
        return value

    def line(self, name: str, most: int) -> str:
        """A string for the eye, made one printable line of at most ``most`` characters."""
        return printable(self._get(name), self._where + name, most)

    def number(self, name: str, least: int = 0) -> int:
        """An integer from ``least`` to MAX_INT; true and 1.0 are none."""
        value = self._get(name)
        if type(value) is not int or not least <= value <= MAX_INT:
            raise self._malformed(name)
        return value

    def flag(self, name: str) -> bool:
        """true or false."""
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._malformed(name)
        return value

    def choice(self, name: str, choices: type[E]) -> E:
        """One of ``choices``."""
        value = self._get(name)
        for choice in choices:
            if choice == value:
                return choice
        raise self._malformed(name)

    def items(self, name: str) -> list[object]:
        """An array."""
        value = self._get(name)
        if not isinstance(value, list):
            raise self._malformed(name)
        return value

    def _get(self, name: str) -> object:
        if name not in self._value:
            raise MessageError(f"{self._where}{name}: missing")
        return self._value[name]

    def _malformed(self, name: str) -> MessageError:
        return MessageError(f"{self._where}{name}: malformed")


def load(text: str, most: int) -> object:
    """The JSON value in ``text``, which is at most ``most`` bytes of UTF-8, else MessageError.

    Stricter than json: no key twice in an object, no NaN or Infinity, and what nests too deeply or
    holds a number too long to read is malformed like anything else.
    """
    if len(text) > most or len(text.encode(errors="replace")) > most:
        raise MessageError(f"longer than {most} bytes")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not JSON: {error}") from None


def printable(value: object, name: str, most: int) -> str:
    """``value``, the string called ``name``, as one printable line of at most ``most`` characters.

    Raises MessageError if it is no string.
    """
    if not isinstance(value, str):
        raise MessageError(f"{name}: malformed")
    return _UNPRINTABLE.sub(" ", value)[:most]


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise MessageError(f"{printable(name, 'a key', 40)}: given twice")
        found[name] = value
    return found


def _no_number(constant: str) -> NoReturn:
    raise MessageError(f"not JSON: {constant}")
