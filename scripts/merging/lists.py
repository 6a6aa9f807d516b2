"""The files of db/ that fill arrays: each half stays a file of its own, and one that Moodle reads
joins them."""

from __future__ import annotations

import re

from . import generated, php
from .errors import MergeError
from .tree import Plugin, Result, beside

VARIABLES = {
    "db/access.php": ("capabilities", "deprecatedcapabilities"),
    "db/caches.php": ("definitions",),
    "db/events.php": ("observers",),
    "db/hooks.php": ("callbacks",),
    "db/log.php": ("logs",),
    "db/messages.php": ("messageproviders",),
    "db/mobile.php": ("addons",),
    "db/renamedclasses.php": ("renamedclasses",),
    "db/services.php": ("functions", "services"),
    "db/tag.php": ("tagareas",),
    "db/tasks.php": ("tasks",),
}
"""What Moodle reads out of each file."""

ENTRIES = {
    "db/access.php": r"'([\w/]+:\w+)'\s*=>",
    "db/caches.php": r"^ {0,4}'(\w+)'\s*=>",
    "db/events.php": r"'callback'\s*=>\s*(.+?),?\s*$",
    "db/hooks.php": r"'callback'\s*=>\s*(.+?),?\s*$",
    "db/messages.php": r"^ {0,4}'(\w+)'\s*=>",
    "db/services.php": r"'(local_manireports_\w+)'\s*=>",
    "db/tasks.php": r"'classname'\s*=>\s*'([^']+)'",
}
"""What must occur once only, and what the account counts."""

MAIL_OBSERVER = "EmailOffloadHandler"
OBSERVER = re.compile(r"(?:array\s*(\()|(\[))")


def entries(path: str, text: str) -> list[str]:
    """The names that a file of db/ defines, in their order."""
    masked = php.code(text, strings=True).replace('"', "'").replace("\\\\", "\\")
    return [
        name.strip().strip("'").lstrip("\\")
        for name in re.findall(ENTRIES[path], masked, re.MULTILINE)
    ]


def merge_list(path: str, earlier: Plugin, cloud: Plugin, result: Result, hooks: str = "") -> None:
    """Writes one file of db/, from one or both plugins; `hooks` is a third list of our own."""
    theirs = earlier.text(path) if path in earlier.files else ""
    ours = cloud.text(path) if path in cloud.files else ""
    if path == "db/events.php" and theirs:
        theirs = _without_mail_observers(theirs, result)
    if path in ENTRIES:
        _refuse_double(path, theirs, ours)
        result.counts[path] = (len(entries(path, theirs)), len(entries(path, ours)))
    halves = {"earlier": theirs, "cloud": ours, "merged": hooks}
    present = [name for name, text in halves.items() if text]
    if len(present) == 1:
        result.put(path, halves[present[0]], "new" if hooks else present[0])
        return
    for name in present:
        text = halves[name]
        result.put(
            beside(path, name),
            php.one_folder_deeper(text) if name != "merged" else text,
            "new" if name == "merged" else name,
        )
    result.put(path, _joined(path, {name: halves[name] for name in present}), "both")


def _refuse_double(path: str, theirs: str, ours: str) -> None:
    both = sorted(set(entries(path, theirs)) & set(entries(path, ours)))
    if both and path not in {"db/events.php", "db/hooks.php"}:
        raise MergeError(f"{path}: both plugins define {', '.join(both)}")


def _joined(path: str, halves: dict[str, str]) -> str:
    names = [
        name for name in VARIABLES[path] if any(f"${name}" in text for text in halves.values())
    ]
    folders = ", ".join(f"'{name}'" for name in halves)
    lines = [f"${name} = [];" for name in names]
    lines += [
        f"foreach ([{folders}] as $manireportspart) {{",
        "    $manireportslists = (static function (string $file): array {",
        *[f"        ${name} = [];" for name in names],
        "        require($file);",
        f"        return [{', '.join('$' + name for name in names)}];",
        "    })(__DIR__ . '/' . $manireportspart . '/" + path.removeprefix("db/") + "');",
        *[
            f"    ${name} = array_merge(${name}, $manireportslists[{at}]);"
            for at, name in enumerate(names)
        ],
        "}",
        "unset($manireportspart, $manireportslists);",
    ]
    return generated.file("Both halves of this list, each from its own file.", "\n".join(lines))


def _without_mail_observers(text: str, result: Result) -> str:
    """Their events.php without the observers of the class that sent mail itself."""
    while (at := php.code(text, strings=True).find(MAIL_OBSERVER)) >= 0:
        masked = php.code(text)
        around = [
            (found.start(), end)
            for found in OBSERVER.finditer(masked, 0, at)
            if (end := php.block_end(masked, found.start(found.lastindex or 0))) > at
        ]
        if len(around) < 2:
            raise MergeError(f"db/events.php: the observer of {MAIL_OBSERVER} cannot be taken out")
        start, end = around[-1]
        named = re.search(r"'eventname'\s*=>\s*'([^']+)'", text[start:end])
        result.dropped[f"observer of {named[1].lstrip(chr(92)) if named else MAIL_OBSERVER}"] = (
            "the sidecar claims this mail from Moodle's queue instead"
        )
        comma = re.match(r"\s*,", masked[end:])
        text = (
            text[:start].rstrip() + "\n    " + text[end + (comma.end() if comma else 0) :].lstrip()
        )
    return text
