"""``python -m tests.faults [CASE…] [--dose full|N]``: plays faults, prints what became of the mail.

Exit code 1 if anything that must hold did not.
"""

import argparse
import json
import logging
import re
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults.case import HEAD, Case, Played, as_markdown, as_text, play
from tests.faults.cases import CASES
from tests.faults.stage import Stage
from tests.support.mariadb import MariaDBServer


def main() -> int:
    """Play what is named, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("case", nargs="*", help="a case, or a part of its name")
    parser.add_argument("--dose", default="full", help="full (default), small, or a number")
    parser.add_argument("--minutes", type=int, help="the dose of the soak, in minutes")
    parser.add_argument("--list", action="store_true", help="print the cases and their doses")
    parser.add_argument("--json", type=Path, help="add one JSON line a case to this file")
    parser.add_argument(
        "--table", type=Path, nargs="+", help="play nothing: print such files as a Markdown table"
    )
    options = parser.parse_args()
    chosen = choose(options.case)
    if options.table:
        print(table(options.table), end="")
        return 0
    if options.list:
        for case in chosen:
            print(f"{case.name:<40} {case.full:>6}  {case.covered}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # servers end with us
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    dose = str(60 * options.minutes) if options.minutes else options.dose
    played = run(chosen, dose, options.json)
    return 0 if all(each.held for each in played) else 1


def choose(names: Sequence[str]) -> list[Case]:
    """The cases that are meant; words may be given without caring for case and punctuation."""
    wanted = [_plain(name) for name in names]
    found = [c for c in CASES if not wanted or any(w in _plain(c.name) for w in wanted)]
    for name, plain in zip(names, wanted, strict=True):
        if not any(plain in _plain(case.name) for case in CASES):
            sys.exit(f"no case is called {name!r}: see --list")
    return found


def table(files: Sequence[Path]) -> str:
    """The last play of each case in files that ``--json`` wrote, in the order of the cases."""
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    last = {row["case"]: row for row in map(json.loads, lines)}
    return as_markdown([last[case.name] for case in CASES if case.name in last])


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()


def run(chosen: Sequence[Case], dose: str, lines: Path | None) -> list[Played]:
    """Play one case after the other, and say what it found as soon as it is over."""
    played = []
    print(HEAD, flush=True)
    with MariaDBServer() as server, tempfile.TemporaryDirectory(prefix="faults-") as folder:
        stage = Stage(server, Path(folder))
        for case in chosen:
            doses = {"full": case.full, "small": max(1, case.small)}
            done = play(case, stage, doses[dose] if dose in doses else int(dose))
            print(as_text(done), flush=True)
            played.append(done)
            if lines:
                with lines.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(done.row() | {"wrong": done.finding.wrong}) + "\n")
    return played


if __name__ == "__main__":
    sys.exit(main())
