"""What the daemon costs when there is nothing to do, and how long it takes to be ready.

Beside a Python that imports nothing, so that the machine's own share is seen.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter

import psutil

from benchmarks.site import BenchSite, bench_site, durable_server
from tests.support.processes import Sidecar

STARTS = 5

QUERIES = ("select", "insert", "update", "delete", "insert_select", "update_multi")


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``idle`` to the benchmarks."""
    parser = commands.add_parser("idle", help=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to watch")
    parser.add_argument("--companies", type=int, default=50, help="of them enabled")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    with durable_server() as server, bench_site(server, companies=options.companies) as made:
        for company in range(1, options.companies + 1):
            made.run("company", "set", str(company), "--provider", "smtp", "--enable")
        starts = [start_seconds(made) for _ in range(STARTS)]
        measured = {
            "companies": options.companies,
            "python_start_s": round(statistics.median(bare() for _ in range(STARTS)), 3),
            "start_to_leading_s": round(statistics.median(starts), 3),
            **watch(made, options.seconds),
        }
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        for name, value in measured.items():
            print(f"{name}: {value}")


def start_seconds(made: BenchSite) -> float:
    """From the start of the process until it leads."""
    started = time.perf_counter()
    with Sidecar(made.config) as daemon:
        daemon.wait_for_line("leading this site")
        spent = time.perf_counter() - started
        daemon.stop()
    return spent


def bare() -> float:
    """A Python that does nothing."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", ""], check=True)
    return time.perf_counter() - started


def watch(made: BenchSite, seconds: float) -> dict[str, float]:
    """Share of one core, queries a second, and memory, of an idle daemon."""
    made.sql("UPDATE mdl_manireports_cloud_sidecar SET state = JSON_REMOVE(state, '$.lock_doubts')")
    with Sidecar(made.config) as daemon:
        daemon.wait_for_line("leading this site")
        made.wait(lambda: int(has_looked(made)), 1)
        process = psutil.Process(daemon.pid)
        busy, before, began = cpu(process), asked(made), time.perf_counter()
        time.sleep(seconds)
        spent = time.perf_counter() - began
        busy, sent = cpu(process) - busy, asked(made) - before
        memory = process.memory_info().rss
        daemon.stop()
    return {
        "core_percent": round(100 * busy / spent, 2),
        "queries_per_second": round(sum(sent[f"Com_{kind}"] for kind in QUERIES) / spent, 2),
        "rollbacks_per_second": round(sent["Com_rollback"] / spent, 2),
        "memory_mb": round(memory / 1e6, 1),
    }


def has_looked(made: BenchSite) -> bool:
    """Whether the daemon has been round once: it writes down then what it saw."""
    state = json.loads(made.one("SELECT state FROM mdl_manireports_cloud_sidecar") or "{}")
    return "lock_doubts" in state


def cpu(process: psutil.Process) -> float:
    """Seconds of CPU that a process has used."""
    times = process.cpu_times()
    return times.user + times.system


def asked(made: BenchSite) -> Counter[str]:
    """How often clients have sent each kind of statement to the server, by its own count."""
    with made.engine.connect() as conn:
        rows = conn.exec_driver_sql("SHOW GLOBAL STATUS WHERE Variable_name LIKE 'Com\\_%%'")
        return Counter({name: int(number) for name, number in rows})
