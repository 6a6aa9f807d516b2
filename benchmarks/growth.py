"""Does ten times the work take ten times as long? Each path at 1x, 10x and 100x the work.

The slope is that of the line through the logarithms of work and seconds from 10x to 100x: 1 is
proportional, over 1.1 is a defect.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping

from benchmarks.offload import run_sidecar_path
from benchmarks.settle import settle
from benchmarks.site import durable_server, sidecar_path
from benchmarks.smtp import sink
from tests.support.mariadb import MariaDBServer

DEFECT = 1.1


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``growth`` to the benchmarks."""
    parser = commands.add_parser("growth", help=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--most", type=int, default=50_000, help="mails at 100x")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    with durable_server() as server:
        measured = {name: grow(way, options.most) for name, way in ways(server).items()}
    if options.json:
        print(json.dumps(measured, indent=2))
        return
    for name, by_size in measured.items():
        shown = ", ".join(f"{size}: {seconds:.1f} s" for size, seconds in by_size.items())
        print(f"{name}: slope {slope(by_size):.2f} ({shown})")


def ways(server: MariaDBServer) -> Mapping[str, Callable[[int], float]]:
    """Path → the seconds of so many mails."""

    def smtp(rows: int) -> float:
        with sink(0, rows) as port:
            return sidecar_path(server, port, rows)

    return {
        "claim to provider": lambda rows: run_sidecar_path(server, rows)[0],
        "settling": lambda rows: settle(server, rows).seconds,
        "smtp": smtp,
    }


def grow(way: Callable[[int], float], most: int) -> dict[str, float]:
    """Seconds at a hundredth, a tenth, and all of the work."""
    return {str(rows): way(rows) for rows in (most // 100, most // 10, most)}


def slope(by_size: Mapping[str, float]) -> float:
    """Of the logarithms, between the last two sizes."""
    (a, x), (b, y) = list(by_size.items())[-2:]
    if min(x, y) <= 0:
        sys.exit("nothing was measured")
    return math.log(y / x) / math.log(int(b) / int(a))
