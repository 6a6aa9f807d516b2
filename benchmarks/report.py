"""Runs every benchmark, keeps what it found in benchmarks/results, and draws the plots of docs/."""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import plots

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parents[1] / "docs" / "images"

RUNS: Mapping[str, Sequence[str]] = {
    "idle": ("--seconds", "30"),
    "offload": ("--rows", "40000"),
    "settle": ("--rows", "20000"),
    "latency": ("--jobs", "24", "--load", "250000"),
    "smtp": ("--rows", "2000", "--seconds", "4"),
    "growth": ("--most", "50000"),
    "backlog": ("--seconds", "40"),
    "jobs": ("--rows", "50000"),
    "worker": (),
}
"""Benchmark → its arguments here."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``report`` to the benchmarks."""
    parser = commands.add_parser("report", help=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}; else all")
    parser.add_argument("--draw", action="store_true", help="only draw what was found before")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, unless only to draw; then draw."""
    if unknown := set(options.names) - set(RUNS):
        sys.exit(f"no such benchmark in the report: {', '.join(sorted(unknown))}")
    RESULTS.mkdir(exist_ok=True)
    for name in () if options.draw else options.names or RUNS:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", "benchmarks", name, *RUNS[name], "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        (RESULTS / f"{name}.json").write_text(done.stdout)
    for path in plots.draw({name: found for name in RUNS if (found := result(name))}, IMAGES):
        print(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def result(name: str) -> Any:
    """What a benchmark found last; None if it never ran."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None
