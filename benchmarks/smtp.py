"""Mails a second to a local SMTP sink, beside IOMAD's way, other senders, and smtp-source.

``sidecar`` delivers what it has claimed, as the other senders do; ``sidecar+claim`` starts with
rows of IOMAD's queue. ``loop`` plays IOMAD's cron; ``iomad`` is the real one.
Every path sends mails of one size to a sink in a process of its own, which answers after 0, 5,
20 and 50 ms. Paths run in the order A B C … C B A, so that a machine that warms up or tires favours
none; medians count. Where a path would take longer than ``--seconds``, it sends fewer mails.
smtp-source, in C, is the ceiling.
"""

import argparse
import json
import os
import shutil
import smtplib
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from email.message import EmailMessage
from functools import partial
from pathlib import Path

from benchmarks.iomad import iomad_way
from benchmarks.journal import Journal, sync_seconds
from benchmarks.peers import peer_ways
from benchmarks.site import commit_seconds, delivery_path, durable_server, sidecar_path
from benchmarks.way import Way
from sidecar.connectors.mime import build
from sidecar.connectors.smtp import SmtpConnector
from sidecar.connectors.smtp_servers import SmtpServer
from sidecar.mail import Address, Content, Mail, MailBatch
from sidecar.settings import Settings
from tests.support.mariadb import MariaDBServer

LATENCIES = (0, 5, 20, 50)
CONNECTIONS = 4
TOOLS = Path(__file__).parents[1] / ".tools" / "postfix"

SUBJECT = "A new on-line learning account has been created for you"
HTML = "<p>Dear Björn,</p>\n" + "<p>A new user account has been made for you.</p>\n" * 16
TEXT = "Dear Björn,\n" + "A new user account has been made for you.\n" * 16


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``smtp`` to the benchmarks."""
    parser = commands.add_parser("smtp", help=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=10_000, help="mails a run")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of A B C … C B A")
    parser.add_argument("--seconds", type=float, default=20.0, help="about the longest run")
    parser.add_argument("--iomad", type=Path, help="source folder of an IOMAD, for its cron task")
    parser.add_argument(
        "--latencies", type=int, nargs="+", default=LATENCIES, help="of the sink's answers, in ms"
    )
    parser.add_argument("--ways", nargs="+", help="only these, beside the loop")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    with ExitStack() as ending:
        server = ending.enter_context(durable_server())
        found = dict(ways(server))
        if options.iomad:
            found["iomad"] = ending.enter_context(iomad_way(options.iomad))
        if options.ways:
            found = {name: found[name] for name in found if name in {"loop", *options.ways}}
        measured = {
            "rows": options.rows,
            "cpus": os.cpu_count(),
            "mariadb_commit_ms": round(commit_seconds(server) * 1000, 3),
            "file_sync_ms": round(sync_seconds() * 1000, 3),
            "mails_per_second": measure(found, options),
        }
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        print_table(measured)


def ways(server: MariaDBServer) -> Mapping[str, Way]:
    """The ways that can be measured here."""
    found = {
        "sidecar": Way(partial(delivery_path, server), 2 / Settings().smtp_max_connections),
        "sidecar+claim": Way(partial(sidecar_path, server), 2 / Settings().smtp_max_connections),
        "connector": Way(run_connector, 2 / CONNECTIONS),
        "loop": Way(run_loop, 8),
        **peer_ways(server),
    }
    if source := smtp_source():
        found["smtp-source"] = Way(partial(run_source, source), 4 / CONNECTIONS)
    else:
        print("no smtp-source: scripts/bench-tools.sh fetches it", file=sys.stderr)
    return found


def measure(
    found: Mapping[str, Way], options: argparse.Namespace
) -> dict[str, dict[str, dict[str, float]]]:
    """Latency → way → rate, and its ratios to the loop and to smtp-source."""
    measured = {}
    for latency in options.latencies:
        rates: dict[str, list[float]] = defaultdict(list)
        for _ in range(options.rounds):
            for name in [*found, *reversed(list(found))]:
                way = found[name]
                rows = min(options.rows, way.most or options.rows)
                if latency:
                    most = options.seconds / (way.answers * latency / 1000)
                    rows = max(1, min(rows, int(most)))
                with sink(latency, rows) as port:
                    rates[name].append(rows / way.run(port, rows))
        medians = {name: statistics.median(each) for name, each in rates.items()}
        measured[f"{latency} ms"] = {
            name: {
                "rate": round(median, 1),
                **{
                    f"x_{other}": round(median / medians[other], 2)
                    for other in ("loop", "smtp-source")
                    if other in medians
                },
            }
            for name, median in medians.items()
        }
    return measured


def print_table(measured: Mapping[str, object]) -> None:
    """The same as a table."""
    rates = measured["mails_per_second"]
    assert isinstance(rates, dict)
    for name, value in measured.items():
        if value is not rates:
            print(f"{name}: {value}")
    print(f"{'latency':>8} {'way':<14} {'mails/s':>9} {'x loop':>8} {'x smtp-source':>14}")
    for latency, by_way in rates.items():
        for name, row in by_way.items():
            ratios = f"{row['x_loop']:>8} {row.get('x_smtp-source', ''):>14}"
            print(f"{latency:>8} {name:<14} {row['rate']:>9} {ratios}")


@contextmanager
def sink(latency: int, expected: int) -> Iterator[int]:
    """A sink in a process of its own; its port. It must have got what was sent."""
    command = [sys.executable, "-m", "sidecar.demo.sink", "--latency-ms", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())["port"]
        finally:
            process.terminate()
        accepted = json.loads(process.stdout.readline())["accepted"]
    if accepted != expected:
        sys.exit(f"{accepted} mails arrived, {expected} were sent")


def run_connector(port: int, rows: int) -> float:
    """The SMTP connector alone, its outcomes committed to a file."""
    numbers = range(rows)
    batches = (
        MailBatch(start, str(start), 1, 1, 1, tuple(map(mail, numbers[start : start + 100])))
        for start in range(0, rows, 100)
    )
    connector = SmtpConnector(
        [SmtpServer("127.0.0.1", port)], guard=lambda: None, connections=CONNECTIONS
    )
    with Journal() as journal:
        started = time.perf_counter()
        for _ in connector.submit(batches, journal.report):
            pass
        spent = time.perf_counter() - started
    connector.close(time.monotonic() + 10)
    return spent


def mail(number: int) -> Mail:
    """A mail like IOMAD's user_create: no two share a body."""
    return Mail(
        id=number,
        mail_key=str(number),
        message_id=f"{number}@learn.example.test",
        to=f"user{number}@example.test",
        sender=Address("noreply@learn.example.test", "Rig Support"),
        envelope_from="noreply@learn.example.test",
        content=Content(SUBJECT, f"{HTML}<p>{number}</p>", f"{TEXT}{number}"),
    )


def run_loop(port: int, rows: int) -> float:
    """What IOMAD's cron does: for each mail a connection, in turn, eight answers (FACTS §9)."""
    started = time.perf_counter()
    for number in range(rows):
        message = EmailMessage()
        message["From"] = "Rig Support <noreply@learn.example.test>"
        message["To"] = f"user{number}@example.test"
        message["Subject"] = SUBJECT
        message.set_content(f"{TEXT}{number}")
        message.add_alternative(f"{HTML}<p>{number}</p>", subtype="html")
        with smtplib.SMTP("127.0.0.1", port, local_hostname="learn.example.test") as smtp:
            smtp.ehlo()
            smtp.rset()
            smtp.send_message(message)
    return time.perf_counter() - started


def smtp_source() -> str | None:
    """Postfix's smtp-source, ours or the system's."""
    path = os.pathsep.join([str(TOOLS / "usr" / "sbin"), os.environ.get("PATH", ""), "/usr/sbin"])
    return shutil.which("smtp-source", path=path)


def run_source(program: str, port: int, rows: int) -> float:
    """smtp-source, in C: one process, kept connections, constant mails."""
    length = len(build(mail(rows)))
    command = [program, "-d", "-s", str(CONNECTIONS), "-m", str(rows), "-l", str(length)]
    command += ["-f", "a@example.test", "-t", "b@example.test", f"127.0.0.1:{port}"]
    libraries = str(Path(program).parents[1] / "lib" / "postfix")
    started = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, "LD_LIBRARY_PATH": libraries})
    return time.perf_counter() - started
