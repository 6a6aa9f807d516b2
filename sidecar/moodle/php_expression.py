"""The PHP expressions that config.php needs, evaluated without PHP. Pure.

A PHP array becomes a list if its keys are 0, 1, 2 …, else a dict with its keys as text: the same
as json_encode makes of it.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from sidecar.moodle.php_values import is_empty, to_string


class Unsupported(Exception):  # noqa: N818 - it says that PHP has to be asked
    """This is more PHP than is understood here."""


class Token(NamedTuple):
    """kind: variable, name, number, single, double, heredoc or operator."""

    kind: str
    text: str


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "v": "\v", "e": "\x1b", "f": "\f"}
_IN_SINGLE = re.compile(r"\\([\\'])")
_IN_DOUBLE = re.compile(
    r"""\\(?P<plain>[nrtvef\\$"])
    | \\(?P<octal>[0-7]{1,3}) | \\x(?P<hex>[0-9A-Fa-f]{1,2}) | \\u\{(?P<unicode>[0-9A-Fa-f]{1,6})\}
    | \{\$CFG->(?P<braced>\w+)\} | \$CFG->(?P<name>\w+)
    | (?P<other>\\\{|\{\$|\$\{|\$\w)""",
    re.VERBOSE,
)
_CONSTANTS: Mapping[str, object] = {"true": True, "false": False, "null": None}


class Expression:
    """A recursive-descent evaluator over ``tokens``; every method raises Unsupported.

    known: the value of an earlier ``$CFG->name``.
    """

    def __init__(
        self,
        tokens: list[Token],
        file: Path,
        env: Mapping[str, str],
        known: Callable[[str], object],
    ) -> None:
        self.tokens = tokens
        self.at = 0
        self._file = file
        self._env = env
        self._known = known

    def peek(self) -> str:
        """The next token's text, '' at the end; a string token never equals an operator."""
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def take(self, text: str) -> bool:
        if self.peek() != text:
            return False
        self.at += 1
        return True

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise Unsupported

    def name(self) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at].kind != "name":
            raise Unsupported
        self.at += 1
        return self.tokens[self.at - 1].text

    def value(self) -> object:
        """coalesce [? [coalesce] : coalesce]"""
        left = self._coalesce()
        if not self.take("?"):
            return left
        if self.take(":"):
            right = self._coalesce()
            return right if is_empty(left) else left
        middle = self._coalesce()
        self.expect(":")
        right = self._coalesce()
        return right if is_empty(left) else middle

    def key(self) -> str:
        """An array key, as text: PHP makes 5 and '5' the same key."""
        value = self.value()
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise Unsupported
        return str(value)

    def _coalesce(self) -> object:
        left = self._concatenation()
        if self.take("??"):
            right = self._coalesce()
            return right if left is None else left
        return left

    def _concatenation(self) -> object:
        left = self._operand()
        while self.take("."):
            right = self._operand()
            if any(isinstance(part, list | dict | float) for part in (left, right)):
                raise Unsupported
            left = to_string(left) + to_string(right)
        return left

    def _operand(self) -> object:
        if self.at >= len(self.tokens):
            raise Unsupported
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "name":
            return self._named(text)
        if kind == "variable":
            return self._setting(text)
        if kind == "operator":
            return self._composed(text)
        return self._literal(kind, text)

    def _literal(self, kind: str, text: str) -> object:
        if kind == "number":
            return _number(text)
        if kind == "single":
            return _encodable(_IN_SINGLE.sub(r"\1", text[1:-1]))
        if kind == "double":
            return _encodable(_IN_DOUBLE.sub(self._in_double, text[1:-1]))
        raise Unsupported

    def _composed(self, operator: str) -> object:
        if operator == "(":
            return self._parenthesis()
        if operator == "[":
            return self._array("]")
        if operator == "-" and isinstance(value := self._operand(), int | float):
            return -value
        raise Unsupported

    def _setting(self, variable: str) -> object:
        if variable != "$CFG":
            raise Unsupported
        self.expect("->")
        value = self._known(self.name())
        while self.take("["):
            key = self.key()
            self.expect("]")
            value = _elements(value).get(key)
        return value

    def _named(self, name: str) -> object:
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name == "__dir__":
            return str(self._file.parent)
        if name == "__file__":
            return str(self._file)
        self.expect("(")
        if name == "array":
            return self._array(")")
        argument = self.value()
        self.expect(")")
        if not isinstance(argument, str):
            raise Unsupported
        if name == "dirname":
            return str(Path(argument).parent)
        if name == "getenv":
            return self._getenv(argument)
        raise Unsupported

    def _getenv(self, name: str) -> object:
        if name in self._env:
            return self._env[name]
        # Without a default an absent variable says more about our environment than about Moodle.
        if self.peek() != "?":
            raise Unsupported
        return False

    def _parenthesis(self) -> object:
        cast = _CASTS.get(self.peek())
        if cast is not None:
            self.at += 1
            self.expect(")")
            value = self._operand()
            if isinstance(value, list | dict | float):
                raise Unsupported
            return cast(value)
        value = self.value()
        self.expect(")")
        return value

    def _array(self, closing: str) -> object:
        elements: dict[str, object] = {}
        following = 0
        while not self.take(closing):
            start = self.at
            value = self.value()
            key = str(following)
            if self.take("=>"):
                self.at = start
                key = self.key()
                self.expect("=>")
                value = self.value()
            if re.fullmatch(r"0|[1-9]\d{0,17}", key):
                following = max(following, int(key) + 1)
            elements[key] = value
            if not self.take(","):
                self.expect(closing)
                break
        return _array(elements)

    def _in_double(self, found: re.Match[str]) -> str:
        kind = found.lastgroup or "other"
        text = found[kind]
        if kind == "plain":
            return _ESCAPES.get(text, text)
        if kind in ("braced", "name"):
            value = self._known(text)
            if isinstance(value, list | dict | float):
                raise Unsupported
            return to_string(value)
        if kind == "other":
            raise Unsupported
        code = int(text, 8 if kind == "octal" else 16)
        if code > (0x10FFFF if kind == "unicode" else 0x7F):
            raise Unsupported
        return chr(code)


def with_element(container: object, keys: list[str], value: object) -> object:
    """A copy of the array in which ``container[key]…[key]`` is ``value``."""
    if not keys:
        return value
    elements = _elements(container)
    first, *rest = keys
    return _array({**elements, first: with_element(elements.get(first), rest, value)})


def _elements(array: object) -> dict[str, object]:
    if array is None:
        return {}
    if isinstance(array, list):
        return {str(index): element for index, element in enumerate(array)}
    if isinstance(array, dict):
        return array
    raise Unsupported


def _array(elements: dict[str, object]) -> object:
    if list(elements) == [str(index) for index in range(len(elements))]:
        return list(elements.values())
    return elements


def _number(text: str) -> int | float:
    digits = text.replace("_", "").lower()
    if digits.isdigit() and digits.startswith("0"):
        digits = "0o" + digits
    try:
        return int(digits, 0)
    except ValueError:
        pass
    try:
        return float(digits)
    except ValueError:
        raise Unsupported from None


def _to_int(value: object) -> int:
    found = re.match(r"[ \t\n\r\v\f]*([+-]?[0-9]{1,18})(?![.eE0-9])", to_string(value))
    return int(found[1]) if found else 0


def _encodable(text: str) -> str:
    """The text, if the file's bytes for it were UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unsupported from None
    return text


_CASTS: Mapping[str, Callable[[object], object]] = {
    "string": to_string,
    "bool": lambda value: not is_empty(value),
    "int": _to_int,
}
