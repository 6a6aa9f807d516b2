"""What a config.php sets, found by reading it: nothing of it is run. Pure.

Understands what config-dist.php of Moodle shows: literals, arrays, ``.``, ``?:``, ``??``, getenv,
__DIR__, earlier ``$CFG`` values. It never guesses: a name that anything else may set is *unread*.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from sidecar.moodle.php_expression import Expression, Token, Unsupported, with_element

_TOKEN = re.compile(
    r"""
    (?P<skip>\s+|(?:\#|//)(?:(?!\?>)[^\n])*|/\*.*?(?:\*/|\Z))
  | (?P<html>\?>.*?(?:<\?php\b|<\?=|\Z))
  | (?P<heredoc><<<[ \t]*(["']?)(\w+)\4\r?\n.*?^[ \t]*\5\b|`[^`]*`)
  | (?P<variable>\$[A-Za-z_]\w*)
  | (?P<number>0[xX][0-9a-fA-F_]+|0[bB][01_]+|(?:\d[\d_]*)?\.?\d[\d_]*(?:[eE][+-]?\d+)?)
  | (?P<name>\\?[^\W\d][\w\\]*)
  | (?P<single>'(?:[^'\\]|\\.)*')
  | (?P<double>"(?:[^"\\]|\\.)*")
  | (?P<operator>\?->|->|=>|::|\?\?=?|[!=]==?|<=>|[.+\-*/%&|^<>]=|\+\+|--|&&|\|\||.)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_OPENING = re.compile(r"<\?php\b|<\?=", re.IGNORECASE)

_PRELUDE = (
    ("unset", "(", "$CFG", ")", ";"),
    ("global", "$CFG", ";"),
    ("$CFG", "=", "new", "stdclass", "(", ")", ";"),
    ("$CFG", "=", "new", "\\stdclass", "(", ")", ";"),
    ("$CFG", "=", "new", "stdclass", ";"),
)
_INCLUDES = {"include", "include_once", "require", "require_once"}
_LATER = {"function", "fn", "class", "trait", "enum"}
_CONDITIONS = {"if", "elseif", "for", "foreach", "while", "switch"}
_BLOCKS = {*_CONDITIONS, *_LATER, "else", "do", "try", "catch", "finally", "interface", "{"}
_ASSIGNS = {"=", ".=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "??=", "++", "--"}
_WRITES_ALL = {"unset", "list", "settype", "array_push"}
_BEFORE_PATTERN = {";", "{", "}", ":", ")", "as"}
"""What stands before the ``[`` of ``[$CFG->a, $b] = …``, but not before that of an element."""
_HIDDEN = {*_INCLUDES, "eval", "extract", "parse_str", "$GLOBALS"}


@dataclass(slots=True)
class Findings:
    """values: certain. unread: set to something that was not understood.

    incomplete: any name may be set, or set otherwise, by code that was not understood.
    """

    values: dict[str, object] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    incomplete: bool = False


class _Mention(NamedTuple):
    name: str | None
    """None: the object is handed on, a reference is taken, or the name is computed."""
    written: bool


def find_settings(source: str, file: Path, env: Mapping[str, str]) -> Findings:
    """What ``file``, whose content is ``source``, does to ``$CFG`` when run with ``env``."""
    reader = _Reader(list(_tokens(source)), file, env)
    while reader.at < len(reader.tokens):
        reader.statement()
    if reader.opaque:
        reader.doubt_everything()
    return reader.findings


def _tokens(source: str) -> Iterator[Token]:
    opening = _OPENING.search(source)
    if opening is None:
        return
    before = ""
    for found in _TOKEN.finditer(source, opening.end()):
        kind, text = found.lastgroup or "", found[0]
        if kind == "skip":
            continue
        if kind == "html":
            kind, text = "operator", ";"
        elif kind == "name" and before != "->":
            text = text.lower()  # only properties tell upper case from lower
        before = text
        yield Token(kind, text)


class _Reader(Expression):
    """Evaluates top-level statements it understands; searches the others for what they may set."""

    def __init__(self, tokens: list[Token], file: Path, env: Mapping[str, str]) -> None:
        self.findings = Findings()
        self.opaque = False
        super().__init__(tokens, file, env, self.known)

    def known(self, name: str) -> object:
        if name in self.findings.values:
            return self.findings.values[name]
        if name in self.findings.unread or self.findings.incomplete:
            raise Unsupported
        return None

    def statement(self) -> None:
        start = self.at
        if self.peek() in ("return", "exit", "die", "__halt_compiler"):
            self.at = len(self.tokens)
            return
        try:
            if not self.prelude():
                self.assignment()
        except (Unsupported, RecursionError):
            self.at = start
            self.skip()
            self.search(self.tokens[start : self.at])

    def prelude(self) -> bool:
        """Pass what changes no setting: the opening lines and the require of lib/setup.php."""
        rest = self.tokens[self.at : self.at + len(max(_PRELUDE, key=len))]
        texts = tuple(token.text for token in rest)
        for line in _PRELUDE:
            if texts[: len(line)] == line:
                self.at += len(line)
                return True
        if self.peek() in _INCLUDES:
            start = self.at
            self.skip()
            if not any(_names_setup(token) for token in self.tokens[start : self.at]):
                raise Unsupported
            return True
        return self.take(";")

    def assignment(self) -> None:
        self.expect("$CFG")
        self.expect("->")
        name = self.name()
        keys = []
        while self.take("["):
            keys.append(self.key())
            self.expect("]")
        self.expect("=")
        value = self.value()
        self.expect(";")
        if keys:
            value = with_element(self.known(name), keys, value)
        self.findings.values[name] = value
        self.findings.unread.discard(name)

    def skip(self) -> None:
        """Pass one statement, however it ends."""
        first = self.peek()
        depth = 0
        before = ""
        while self.at < len(self.tokens):
            text = self.peek()
            self.at += 1
            if text in ("(", "[", "{"):
                depth += 1
            elif text in (")", "]", "}"):
                depth -= 1
            if depth <= 0 and (text == ";" or (text == "}" and first in _BLOCKS)):
                return
            if first in _CONDITIONS and before == ")" and text == ":" and depth == 0:
                self.skip_to_last(f"end{first}")
            before = text

    def skip_to_last(self, word: str) -> None:
        """Pass "if (…): … endif": nested ones are not told apart, so up to the file's last."""
        ends = [at for at in range(self.at, len(self.tokens)) if self.tokens[at].text == word]
        self.at = ends[-1] if ends else len(self.tokens)

    def search(self, tokens: list[Token]) -> None:
        """What a statement that was not evaluated may have set is unread from now on."""
        pairs = list(pairwise([Token("operator", ";"), *tokens]))
        words = {
            token.text
            for before, token in pairs
            if token.kind in ("name", "variable") and before.text not in ("->", "::")
        }
        takes_apart = any(
            token.text == "[" and before.text in _BEFORE_PATTERN for before, token in pairs
        )
        mentions = list(_mentions(tokens))
        handed_on = any(mention.name is None for mention in mentions)
        self.opaque = self.opaque or handed_on or bool(mentions and words & _LATER)
        if words & _HIDDEN:
            self.doubt_everything()
        write_all = takes_apart or bool(words & _WRITES_ALL)
        for name, written in mentions:
            if name is not None and (written or write_all):
                self.findings.values.pop(name, None)
                self.findings.unread.add(name)

    def doubt_everything(self) -> None:
        self.findings.unread |= self.findings.values.keys()
        self.findings.values.clear()
        self.findings.incomplete = True


def _names_setup(token: Token) -> bool:
    return token.kind in ("single", "double") and token.text[1:-1].endswith("lib/setup.php")


def _mentions(tokens: list[Token]) -> Iterator[_Mention]:
    """Each ``$CFG`` in the tokens; ``isset($CFG)`` and ``global $CFG`` change nothing."""
    texts = [token.text for token in tokens]
    for at, token in enumerate(tokens):
        before = texts[at - 1] if at else ""
        if token.text == "$" and at + 1 < len(tokens):
            yield _Mention(None, True)
        if token.text != "$CFG" or before == "global" or texts[at - 2 : at] == ["isset", "("]:
            continue
        named = at + 2 < len(tokens) and tokens[at + 2].kind == "name"
        if not named or texts[at + 1] != "->" or before == "&":
            yield _Mention(None, True)
            continue
        after = _after_elements(texts, at + 3)
        written = after < len(texts) and texts[after] in _ASSIGNS
        yield _Mention(texts[at + 2], written or before in ("++", "--", "as"))


def _after_elements(texts: list[str], at: int) -> int:
    """The place behind ``['x']`` and ``->x``."""
    depth = 0
    while at < len(texts) and (depth or texts[at] in ("[", "->")):
        depth += {"[": 1, "]": -1}.get(texts[at], 0)
        at += 2 if texts[at] == "->" and not depth else 1
    return at
