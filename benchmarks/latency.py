"""Seconds from a row that is visible in Moodle's queue to a mail that the provider has taken.

Small bulk jobs of twelve mails come one after another, by default polling (poll_interval 1 s,
min_age 3 s): first alone, then while a job of another company is being sent.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.site import BenchSite, bench_site, durable_server
from tests.support.processes import Sidecar
from tests.support.wait import wait_for

SMALL, BIG = 1, 2
JOB = 12


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``latency`` to the benchmarks."""
    parser = commands.add_parser("latency", help=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=20, help="small jobs, idle and under load")
    parser.add_argument("--load", type=int, default=100_000, help="mails of the big job")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    measured = measure(options.jobs, options.load)
    if options.json:
        print(json.dumps(measured, indent=2))
        return
    for name, waits in measured.items():
        shares = statistics.quantiles(waits, n=100)
        print(f"{name}: p50 {shares[49]:.2f} s, p99 {shares[98]:.2f} s, {len(waits)} mails")


def measure(jobs: int, load: int) -> dict[str, list[float]]:
    """Seconds of every mail, idle and loaded."""
    with (
        durable_server() as server,
        tempfile.TemporaryDirectory() as folder,
        recording_sink(Path(folder, "record")) as (port, record),
        bench_site(server, companies=2, smtphosts=f"127.0.0.1:{port}", min_age=3) as made,
    ):
        for company in (SMALL, BIG):
            made.run("company", "set", str(company), "--provider", "smtp", "--enable")
        with Sidecar(made.config) as daemon:
            daemon.wait_for_line("leading this site")
            idle = trickle(made, jobs, record)
            made.site.queue("user_create", BIG, made.site.add_users(BIG, load))
            made.wait(made.counted, len(idle) + 1)
            loaded = trickle(made, jobs, record)
            if made.counted() >= len(idle) + len(loaded) + load:
                sys.exit("the big job was sent before the small ones: --load is too small")
            daemon.stop()
    return {"idle": idle, "under load": loaded}


def trickle(made: BenchSite, jobs: int, record: Path) -> list[float]:
    """Queue small jobs, each when the one before has gone out; seconds of every mail."""
    waits: list[float] = []
    with record.open("rb") as file:
        for _ in range(jobs):
            news(file)  # of others
            people = made.site.add_users(SMALL, JOB)
            made.site.queue("user_create", SMALL, people)
            visible = time.time()
            mine = {person.email for person in people}
            taken: dict[str, float] = {}

            def all_came(mine: set[str] = mine, taken: dict[str, float] = taken) -> bool:
                found = ((mail["rcpt"][0], mail["at"]) for mail in news(file))
                taken.update({rcpt: at for rcpt, at in found if rcpt in mine})
                return len(taken) == JOB

            wait_for(all_came, 120, f"{JOB} mails have come")
            waits += [at - visible for at in taken.values()]
    return waits


def news(file: BinaryIO) -> list[dict[str, Any]]:
    """The complete lines of a record that were written since this was asked last."""
    began = file.tell()
    whole, end, _ = file.read().rpartition(b"\n")
    file.seek(began + len(whole) + len(end))
    return [json.loads(line) for line in whole.splitlines()]


@contextmanager
def recording_sink(record: Path) -> Iterator[tuple[int, Path]]:
    """A sink that writes down when each mail came."""
    record.touch()
    command = [sys.executable, "-m", "sidecar.demo.sink", "--record", str(record)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())["port"], record
        finally:
            process.terminate()
            process.communicate()  # its last words
