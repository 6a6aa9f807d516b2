"""``python -m benchmarks NAME``."""

import argparse
import os

from benchmarks import (
    backlog,
    growth,
    handler,
    idle,
    latency,
    many_jobs,
    offload,
    passwords,
    report,
    settle,
    smtp,
    worker,
)


def main() -> None:
    """Run the benchmark that is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(required=True, metavar="NAME")
    for benchmark in (
        *(smtp, offload, settle, latency, idle, backlog, growth, many_jobs),
        *(handler, worker, passwords, report),
    ):
        benchmark.add_command(commands)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each start would compile the package anew
    options.run(options)


main()
