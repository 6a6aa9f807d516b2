"""The two plugins that go in, and the one that comes out."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from . import php
from .errors import MergeError

COMPONENT = "local_manireports"
LEFT_OUT = {".git", ".svn", ".hg", ".DS_Store"}
MARK = "db/merged.json"


@dataclass(frozen=True)
class Plugin:
    """One of the two: its files by path, its version."""

    name: str
    files: dict[str, bytes]
    version: int
    facts: dict[str, str]
    """What version.php says beside, as PHP expressions."""

    def text(self, path: str) -> str:
        """A file's text; MergeError if it is no UTF-8."""
        try:
            return self.files[path].decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise MergeError(f"{self.name}: {path} is not UTF-8: {error}") from error


@dataclass
class Result:
    """What comes out, and the account of it."""

    files: dict[str, bytes] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    changed: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def put(self, path: str, data: str | bytes, origin: str) -> None:
        """Adds a file. Two files under one path, also on file systems that know no case, are a
        mistake of ours and end the merge."""
        if path in self.files:
            raise MergeError(f"{path}: made twice")
        self.files[path] = data.encode() if isinstance(data, str) else data
        self.origins[path] = origin

    def change(self, path: str, what: str) -> None:
        self.changed.setdefault(path, []).append(what)


def read_plugin(folder: Path, name: str) -> Plugin:
    """The plugin in a folder. MergeError if it is none, or not of our component."""
    if not folder.is_dir():
        raise MergeError(f"{name}: {folder} is no folder")
    if not (folder / "version.php").is_file():
        raise MergeError(f"{name}: {folder} holds no Moodle plugin: version.php is missing")
    files: dict[str, bytes] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        for entry in [*folders, *sorted(names)]:
            path = Path(place, entry)
            if path.is_symlink():
                raise MergeError(f"{name}: {path.relative_to(folder)} is a symbolic link")
        for entry in sorted(set(names) - LEFT_OUT):
            path = Path(place, entry)
            files[path.relative_to(folder).as_posix()] = path.read_bytes()
    _refuse_twins(name, files)
    facts = _facts(files["version.php"].decode("utf-8", "replace"))
    if facts.get("component", "").strip("'\"") != COMPONENT:
        raise MergeError(f"{name}: {folder} is no ManiReports: version.php names another component")
    if not facts.get("version", "").isdigit():
        raise MergeError(f"{name}: version.php has no plain number as version")
    return Plugin(name, files, int(facts["version"]), facts)


def _refuse_twins(name: str, files: dict[str, bytes]) -> None:
    seen: dict[str, str] = {}
    for path in files:
        if (other := seen.setdefault(path.lower(), path)) != path:
            raise MergeError(f"{name}: {path} and {other} differ by case only")


def _facts(text: str) -> dict[str, str]:
    masked = php.code(text)
    facts = {}
    for found in re.finditer(r"\$plugin->(\w+)\s*=\s*", masked):
        end = masked.find(";", found.end())
        facts[found[1]] = text[found.end() : end].strip() if end > 0 else ""
    return facts


def beside(path: str, folder: str) -> str:
    """db/access.php, earlier -> db/earlier/access.php."""
    pure = PurePosixPath(path)
    return str(pure.parent / folder / pure.name)
