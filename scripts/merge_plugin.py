#!/usr/bin/env python3
"""Builds one complete plugin from an existing ManiReports tree and the sidecar's own.

    scripts/merge_plugin.py OLD OUT

OLD, the folder local/manireports of an earlier ManiReports, is only read. OUT must not exist."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.merging.account import account  # noqa: E402
from scripts.merging.errors import MergeError  # noqa: E402
from scripts.merging.merge import merge, write  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """0, and the account printed; or 1, with one line that says what stands in the way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, metavar="OLD")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument(
        "--plugin",
        type=Path,
        default=ROOT / "moodle_plugin",
        metavar="FOLDER",
        help="the sidecar's plugin; moodle_plugin of this checkout if not given",
    )
    parser.add_argument(
        "--after",
        type=int,
        default=0,
        metavar="VERSION",
        help="the version of a merged plugin that runs already, which this one has to exceed",
    )
    given = parser.parse_args(arguments)
    try:
        result = merge(given.old.resolve(), given.plugin.resolve(), given.after)
        write(result, given.out.absolute(), keep=given.old.resolve())
    except MergeError as error:
        print(f"merge_plugin: {error}", file=sys.stderr)
        return 1
    print(account(result))
    print(f"\n{given.out} is ready: put it in place of local/manireports, then upgrade Moodle.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
