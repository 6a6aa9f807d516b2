"""Puts the two plugins together and writes the result, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .callbacks import merge_lib
from .errors import MergeError
from .halves import (
    PRIVACY,
    SETTINGS,
    STYLES,
    merge_privacy,
    merge_settings,
    merge_strings,
    merge_styles,
)
from .lists import VARIABLES, merge_list
from .repairs import STRINGS, repair
from .tables import PATH as TABLES
from .tables import merge_tables
from .takeover import STRINGS as TAKEOVER_STRINGS
from .takeover import refuse_traces, take_over
from .tree import COMPONENT, MARK, Plugin, Result, read_plugin
from .upgrade import merge_upgrade, version_file

DOCUMENTS = (".md", ".txt", ".rst")
ONCE = {"db/install.php", "db/upgrade.php", "db/uninstall.php"}
FOLDERS_OF_OURS = (
    "db/earlier/",
    "db/cloud/",
    "db/merged/",
    "settings/",
    "lib/",
    "classes/earlier/",
)


def merge(old: Path, ours: Path, after: int = 0) -> Result:
    """The merged plugin, in memory. `after` is a version that the result has to exceed, beside
    those of the two. MergeError, naming the file, if they cannot be put together."""
    earlier = read_plugin(old, "earlier")
    cloud = read_plugin(ours, "cloud")
    if MARK in earlier.files or "classes/cloud/access.php" in earlier.files:
        raise MergeError(
            f"{old} holds the sidecar's half already: take the ManiReports it was made of"
        )
    if TABLES not in cloud.files:
        raise MergeError(f"{ours} is not the sidecar's plugin: {TABLES} is missing")
    result = Result()
    kept = repair(take_over(earlier, result), result)
    refuse_traces(kept)
    earlier = Plugin(earlier.name, kept, earlier.version, earlier.facts)
    version = max(earlier.version, cloud.version, after) + 1
    result.put("version.php", version_file(earlier, cloud, version), "both")
    only_earlier = merge_tables(earlier, cloud, result, version)
    hooks = merge_lib(earlier, cloud, result)
    for path in sorted(VARIABLES):
        if path in earlier.files or path in cloud.files or (hooks and path == "db/hooks.php"):
            merge_list(path, earlier, cloud, result, hooks if path == "db/hooks.php" else "")
    merge_upgrade(earlier, cloud, result, only_earlier)
    merge_privacy(earlier, cloud, result)
    merge_settings(earlier, cloud, result)
    merge_styles(earlier, cloud, result)
    for path in sorted({*earlier.files, *cloud.files}):
        if path.startswith("lang/") and path.endswith(f"/{COMPONENT}.php"):
            english = path.startswith("lang/en/")
            missing, more = (STRINGS, TAKEOVER_STRINGS) if english else ({}, {})
            merge_strings(path, earlier, cloud, result, missing, more)
    _take_the_rest(earlier, cloud, result)
    _refuse_twins(result)
    result.put(MARK, _mark(earlier, cloud, version, result), "new")
    return result


def _special(path: str) -> bool:
    return path in {
        "version.php",
        "lib.php",
        TABLES,
        PRIVACY,
        SETTINGS,
        STYLES,
        *ONCE,
        *VARIABLES,
    } or (path.startswith("lang/") and path.endswith(f"/{COMPONENT}.php"))


def _take_the_rest(earlier: Plugin, cloud: Plugin, result: Result) -> None:
    for path, data in sorted(earlier.files.items()):
        if not _special(path):
            if path in result.files:
                raise MergeError(f"{path}: the merge makes a file of this name itself")
            result.put(path, data, "earlier")
    for path, data in sorted(cloud.files.items()):
        if _special(path):
            continue
        if path not in result.files:
            result.put(path, data, "cloud")
        elif result.files[path] == data:
            result.origins[path] = "both"
        elif path.endswith(DOCUMENTS):
            folder, _, name = path.rpartition("/")
            result.put(f"{folder}/cloud_{name}".lstrip("/"), data, "cloud")
        else:
            raise MergeError(f"{path}: both plugins have this file, and it differs")


def _refuse_twins(result: Result) -> None:
    seen: dict[str, str] = {}
    for path in result.files:
        if (other := seen.setdefault(path.lower(), path)) != path:
            raise MergeError(f"{path}: differs from {other} by case only")
        if any(
            path.startswith(other + "/") for other in (seen.get(p) for p in _parents(path)) if other
        ):
            raise MergeError(f"{path}: one of its folders is a file in the other plugin")


def _parents(path: str) -> list[str]:
    parts = path.lower().split("/")
    return ["/".join(parts[:at]) for at in range(1, len(parts))]


def _mark(earlier: Plugin, cloud: Plugin, version: int, result: Result) -> str:
    """What the result was made of, for the next who looks at it."""
    facts = {
        "version": version,
        "earlier": earlier.version,
        "cloud": cloud.version,
        "files": {
            path: [result.origins[path], hashlib.sha256(data).hexdigest()]
            for path, data in sorted(result.files.items())
        },
    }
    return json.dumps(facts, indent=1) + "\n"


def write(result: Result, out: Path, keep: Path) -> None:
    """Writes the result to a folder that does not exist yet, and not inside `keep`: an interrupted
    run leaves none. MergeError if PHP, where it is installed, finds a file that it cannot read."""
    if out.resolve().is_relative_to(keep):
        raise MergeError(f"{out} lies inside {keep}, which is only read")
    if out.exists() or out.is_symlink():
        raise MergeError(f"{out} exists already")
    if not out.parent.is_dir():
        raise MergeError(f"{out.parent} is no folder")
    work = Path(tempfile.mkdtemp(prefix=".merge-", dir=out.parent))
    try:
        made = work / "plugin"
        for path, data in result.files.items():
            target = made / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        _check(made, result)
        os.rename(made, out)  # noqa: PTH104 - refuses a folder that appeared meanwhile
    except OSError as error:
        raise MergeError(f"{out} cannot be written: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check(made: Path, result: Result) -> None:
    """`php -l` of all but what is ours as it was, and of libraries. What the earlier plugin had
    broken itself is told, not refused."""
    if shutil.which("php") is None:
        result.warnings.append("php is not installed here: the result was not checked by php -l")
        return
    for path in sorted(result.files):
        ours = result.origins[path] == "cloud" and not path.startswith(FOLDERS_OF_OURS)
        if not path.endswith(".php") or ours or "/vendor/" in f"/{path}":
            continue
        done = subprocess.run(
            ["php", "-d", "display_errors=stderr", "-l", str(made / path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not done.returncode:
            continue
        said = next((line for line in done.stderr.splitlines() if line.strip()), "php -l failed")
        said = said.replace(str(made) + "/", "")
        if result.origins[path] != "earlier" or path in result.changed:
            raise MergeError(f"{path}: {said}")
        result.warnings.append(f"{path} is broken in the earlier plugin already: {said}")
