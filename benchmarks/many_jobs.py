"""The same mails as one job of one company and as many jobs of as many companies at once.

Each is drained by the real daemon through a local mail server.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from benchmarks.latency import recording_sink
from benchmarks.site import bench_site, durable_server, resident_bytes
from tests.support.mariadb import MariaDBServer
from tests.support.processes import Sidecar


class Found(TypedDict):
    """What one drain took. first_mail_of_the_last_job_s: from the daemon's first look on."""

    jobs: int
    mails_per_second: float
    first_mail_of_the_last_job_s: float
    peak_memory_mb: float


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``jobs`` to the benchmarks."""
    parser = commands.add_parser("jobs", help=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=50_000, help="mails, all together")
    parser.add_argument("--jobs", type=int, default=200, help="jobs at once")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print: one job, many, one again."""
    with durable_server() as server:
        found = [drain(server, options.rows, jobs) for jobs in (1, options.jobs, 1)]
    one, many, again = found
    best = max(one["mails_per_second"], again["mails_per_second"])
    measured = {
        "rows": options.rows,
        "one": one,
        "many": many,
        "one_again": again,
        "many_x_one": round(best / many["mails_per_second"], 2),
    }
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        for name, value in measured.items():
            print(f"{name}: {value}")


def drain(server: MariaDBServer, rows: int, jobs: int) -> Found:
    """Send ``rows`` mails of ``jobs`` companies that all wait when the daemon starts."""
    with (
        tempfile.TemporaryDirectory() as folder,
        recording_sink(Path(folder, "record")) as (port, record),
        bench_site(server, companies=jobs, smtphosts=f"127.0.0.1:{port}") as made,
    ):
        company_of: dict[str, int] = {}
        for company in range(1, jobs + 1):
            people = made.site.add_users(company, rows // jobs)
            company_of.update((person.email, company) for person in people)
            made.site.queue("user_create", company, people, due=0)
        made.sql(
            "INSERT INTO mdl_manireports_cloud_company_settings (company_id, enabled, provider)"
            f" SELECT seq, 1, 'smtp' FROM seq_1_to_{jobs}"
        )
        with Sidecar(made.config) as daemon:
            daemon.wait_for_line("leading this site")
            began = time.time()
            with peak_memory(daemon.pid) as peak:
                spent = made.wait(made.counted, len(company_of))
            daemon.stop()
        first: dict[int, float] = {}
        for line in record.open():
            mail = json.loads(line)
            first.setdefault(company_of[mail["rcpt"][0]], mail["at"] - began)
    if len(first) != jobs:
        sys.exit(f"{len(first)} of {jobs} companies were served")
    return {
        "jobs": jobs,
        "mails_per_second": round(len(company_of) / spent, 1),
        "first_mail_of_the_last_job_s": round(max(first.values()), 2),
        "peak_memory_mb": round(max(peak) / 1e6, 1),
    }


@contextmanager
def peak_memory(pid: int) -> Iterator[list[int]]:
    """Resident bytes of the daemon and its processes, added twice a second."""
    found, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            found.append(resident_bytes(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
