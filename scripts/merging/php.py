"""Just enough PHP to take source text apart safely: what is code, where a block ends, which
functions a file defines. It never runs the text it reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

OPEN = re.compile(r"<\?(?:php\b|=)", re.IGNORECASE)
HEREDOC = re.compile(r"<<<[ \t]*([\"']?)([A-Za-z_]\w*)\1\r?\n")


@dataclass(frozen=True)
class Function:
    """A function outside of any class: text[start:end], its doc comment included."""

    name: str
    start: int
    end: int
    signature: str
    """What stands between the parentheses of its declaration."""


def code(text: str, *, strings: bool = False) -> str:
    """The text with everything that is not code blanked out, every position kept: comments, what
    stands outside of PHP tags and, unless `strings`, the inside of strings."""
    out = list(text)

    def blank(start: int, end: int) -> None:
        for at in range(start, min(end, len(out))):
            if out[at] not in "\r\n":
                out[at] = " "

    at = _outside(text, 0, blank)
    while at < len(text):
        if text.startswith("?>", at):
            at = _outside(text, at + 2, blank)
        elif text.startswith(("//", "#"), at) and not text.startswith("#[", at):
            end = _first(text, at, "\n", "?>")
            blank(at, end)
            at = end
        elif text.startswith("/*", at):
            end = _after(text, "*/", at + 2)
            blank(at, end)
            at = end
        elif text[at] in "'\"`":
            end = _string_end(text, at)
            if not strings:
                blank(at + 1, end - 1)
            at = end
        elif text.startswith("<<<", at) and (found := HEREDOC.match(text, at)):
            end = _heredoc_end(text, found)
            if not strings:
                blank(found.end(), end)
            at = end
        else:
            at += 1
    return "".join(out)


def _outside(text: str, at: int, blank: Callable[[int, int], None]) -> int:
    """Blanks what is no PHP from `at` on; where PHP goes on."""
    found = OPEN.search(text, at)
    end = found.end() if found else len(text)
    blank(at, found.start() if found else end)
    return end


def _after(text: str, mark: str, at: int) -> int:
    found = text.find(mark, at)
    return len(text) if found < 0 else found + len(mark)


def _first(text: str, at: int, *marks: str) -> int:
    found = [place for mark in marks if (place := text.find(mark, at)) >= 0]
    return min(found, default=len(text))


def _string_end(text: str, at: int) -> int:
    quote, at = text[at], at + 1
    while at < len(text) and text[at] != quote:
        at += 2 if text[at] == "\\" else 1
    return min(at + 1, len(text))


def _heredoc_end(text: str, found: re.Match[str]) -> int:
    end = re.compile(r"^[ \t]*" + found[2] + r"\b", re.MULTILINE).search(text, found.end())
    return end.end() if end else len(text)


def block_end(masked: str, opening: int) -> int:
    """The position after the bracket that closes the one at `opening`; -1 if nothing closes it."""
    pairs = {"{": "}", "(": ")", "[": "]"}
    start = masked[opening]
    depth = 0
    for at in range(opening, len(masked)):
        if masked[at] == start:
            depth += 1
        elif masked[at] == pairs[start]:
            depth -= 1
            if not depth:
                return at + 1
    return -1


def functions(text: str) -> list[Function]:
    """The functions outside of classes and blocks that are complete, in their order."""
    masked = code(text)
    found = []
    for match in re.finditer(r"\bfunction\s+&?\s*([A-Za-z_]\w*)\s*(\()", masked):
        if _depth(masked, match.start()):
            continue
        after = block_end(masked, match.start(2))
        opening = masked.find("{", after) if after > 0 else -1
        end = block_end(masked, opening) if opening >= 0 else -1
        if end > 0:
            start = _doc_start(text, match.start())
            found.append(Function(match[1], start, end, text[match.end() : after - 1]))
    return found


def _depth(masked: str, at: int) -> int:
    return masked.count("{", 0, at) - masked.count("}", 0, at)


def _doc_start(text: str, at: int) -> int:
    """Where the doc comment begins that ends right before `at`; else `at`."""
    before = text[:at].rstrip()
    if not before.endswith("*/"):
        return at
    start = before.rfind("/**")
    return at if start < 0 else start


def rename_calls(text: str, names: dict[str, str]) -> str:
    """The text with functions declared and called under other names."""
    masked = code(text)
    found = re.compile(r"(?<![\w\\$>:])\\?(" + "|".join(map(re.escape, names)) + r")(?=\s*\()")
    return _replaced(text, [(m.start(1), m.end(1), names[m[1]]) for m in found.finditer(masked)])


def one_folder_deeper(text: str) -> str:
    """The text as it has to read when its file moves into a folder beside it."""
    masked = code(text)
    spots = [(m.start(), m.end(), "dirname(__DIR__)") for m in re.finditer(r"\b__DIR__\b", masked)]
    spots += [
        (m.start(), m.end(), "(dirname(__DIR__) . '/' . basename(__FILE__))")
        for m in re.finditer(r"\b__FILE__\b", masked)
    ]
    return _replaced(text, spots)


def _replaced(text: str, spots: list[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(spots, reverse=True):
        text = text[:start] + new + text[end:]
    return text
