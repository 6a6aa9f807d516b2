"""The summary that is printed: what came from where."""

from __future__ import annotations

import json
from collections import Counter

from .halves import strings
from .tree import MARK, Result

ORIGINS = {
    "earlier": "from the earlier ManiReports",
    "cloud": "from the sidecar's plugin",
    "both": "of both, put together",
    "new": "new, to join them",
}
NAMES = {
    "db/access.php": "capabilities",
    "db/caches.php": "caches",
    "db/events.php": "observers",
    "db/hooks.php": "hooks",
    "db/messages.php": "message providers",
    "db/services.php": "web services",
    "db/tasks.php": "scheduled tasks",
}


def account(result: Result) -> str:
    """A plain table, then what was dropped, changed, and what to look at."""
    facts = json.loads(result.files[MARK])
    lines = [
        f"version {facts['version']}, made of {facts['earlier']} and ours {facts['cloud']}",
        "",
        f"{'':34}{'earlier':>9}{'sidecar':>9}{'merged':>9}",
    ]
    for what, (theirs, ours) in sorted(result.counts.items(), key=lambda item: _name(item[0])):
        lines.append(f"{_name(what):34}{theirs:>9}{ours:>9}{_total(what, theirs, ours, result):>9}")
    lines.append("")
    files = Counter(result.origins.values())
    lines += [f"{files[origin]:>5} files {text}" for origin, text in ORIGINS.items()]
    for title, entries in (
        ("Dropped", [f"{what}: {why}" for what, why in sorted(result.dropped.items())]),
        (
            "Changed",
            [f"{path}: {what}" for path, all_ in sorted(result.changed.items()) for what in all_],
        ),
        ("Look at", result.warnings),
    ):
        if entries:
            lines += ["", f"{title}:", *(f"  {entry}" for entry in entries)]
    return "\n".join(lines)


def _name(what: str) -> str:
    if what.startswith("lang/"):
        return f"strings, {what.split('/')[1]}"
    return NAMES.get(what, what)


def _total(what: str, theirs: int, ours: int, result: Result) -> int:
    if what.startswith("lang/"):
        return len(strings(result.files[what].decode()))
    return theirs + ours
