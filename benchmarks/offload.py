"""From rows in IOMAD's queue to batches that SQS has accepted, beside the floor of that work.

The floor does the same to the same rows in one loop: select with bodies, mark as sent, insert
recipients, commit, JSON, gzip, base64, HMAC. It renders nothing, checks nothing and sends nothing.
They run in the order floor, sidecar, sidecar, floor; medians count.
"""

import argparse
import base64
import hashlib
import hmac
import json
import statistics
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import psutil
from sqlalchemy import text

from benchmarks.aws_site import accepted, aws_site
from benchmarks.site import bench_site, commit_seconds, durable_server
from sidecar.demo.site import Site
from sidecar.packing import LEVEL
from tests.support.mariadb import MariaDBServer
from tests.support.processes import Sidecar

BODY_BYTES = 5_000
CHUNK, BATCH = 250, 100
WORDS = [
    "a",
    "new",
    "on-line",
    "learning",
    "account",
    "has",
    "been",
    "created",
    "for",
    "you",
    "please",
    "sign",
    "in",
    "and",
    "change",
]


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``offload`` to the benchmarks."""
    parser = commands.add_parser("offload", help=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=50_000, help="queue rows, one mail each")
    parser.add_argument(
        "--rounds", type=int, default=1, help="rounds of floor, sidecar, sidecar, floor"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    floors: list[float] = []
    ours: list[float] = []
    peaks: list[int] = []
    with durable_server() as server:
        commit = commit_seconds(server)
        for way in options.rounds * ("floor", "sidecar", "sidecar", "floor"):
            if way == "floor":
                floors.append(run_floor(server, options.rows))
            else:
                spent, peak = run_sidecar_path(server, options.rows)
                ours.append(spent)
                peaks.append(peak)
    measured: Mapping[str, object] = {
        "rows": options.rows,
        "body_bytes": BODY_BYTES,
        "mariadb_commit_ms": round(commit * 1000, 3),
        "floor_mails_per_second": [round(options.rows / spent) for spent in floors],
        "sidecar_mails_per_second": [round(options.rows / spent) for spent in ours],
        "sidecar_x_floor": round(statistics.median(ours) / statistics.median(floors), 2),
        "sidecar_peak_memory_mb": round(max(peaks) / 1e6, 1),
    }
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        for name, value in measured.items():
            print(f"{name}: {value}")


def body(number: int) -> str:
    """A mail of 5 KB; no two are equal."""
    text_ = " ".join(WORDS[(number * 7 + n * n) % len(WORDS)] for n in range(BODY_BYTES // 6))
    return f"<p>Dear user {number},</p><p>{text_}</p>"[:BODY_BYTES]


def run_floor(server: MariaDBServer, rows: int) -> float:
    """Seconds of the floor."""
    with bench_site(server) as made, made.engine.connect() as conn:
        fill(made.site, rows)
        conn.execute(
            text(
                "CREATE TABLE floor_recipients (id BIGINT AUTO_INCREMENT PRIMARY KEY, batch_id"
                " BIGINT, email VARCHAR(255), data LONGTEXT, mail_key VARCHAR(64), UNIQUE"
                " (mail_key)) ENGINE=InnoDB"
            )
        )
        raw = conn.connection.cursor()
        raw.execute(
            "SELECT e.id, u.email, e.subject, e.body FROM mdl_email e"
            " JOIN mdl_user u ON u.id = e.userid LIMIT 0"
        )
        started = time.perf_counter()
        last, waiting = 0, []
        while True:
            raw.execute(
                "SELECT e.id, u.email, e.subject, e.body FROM mdl_email e"
                " JOIN mdl_user u ON u.id = e.userid WHERE e.id > %s ORDER BY e.id LIMIT %s"
                " FOR UPDATE",
                (last, CHUNK),
            )
            found = raw.fetchall()
            if not found:
                break
            last = found[-1][0]
            raw.execute(
                "UPDATE mdl_email SET sent = UNIX_TIMESTAMP() WHERE id IN %s",
                ([r[0] for r in found],),
            )
            keys = [hashlib.sha256(f"{row[0]}{row[1]}".encode()).hexdigest() for row in found]
            raw.executemany(
                "INSERT INTO floor_recipients (batch_id, email, data, mail_key)"
                " VALUES (%s, %s, %s, %s)",
                [(1, row[1], "{}", key) for row, key in zip(found, keys, strict=True)],
            )
            conn.connection.commit()
            waiting += [
                {
                    "id": row[0],
                    "mail_key": key,
                    "to": row[1],
                    "subject": row[2],
                    "html": row[3],
                    "text": row[3],
                }
                for row, key in zip(found, keys, strict=True)
            ]
            while len(waiting) >= BATCH:
                pack(waiting[:BATCH])
                del waiting[:BATCH]
        if waiting:
            pack(waiting)
        return time.perf_counter() - started


def pack(mails: list[dict[str, object]]) -> str:
    """JSON, gzip, base64, HMAC."""
    gzip = zlib.compressobj(LEVEL, wbits=31)
    packed = gzip.compress(json.dumps(mails).encode()) + gzip.flush()
    payload = json.dumps({"emails": base64.b64encode(packed).decode()})
    signature = hmac.new(b"secret", payload.encode(), hashlib.sha256).hexdigest()
    return json.dumps({"payload": payload, "signature": signature})


def run_sidecar_path(server: MariaDBServer, rows: int) -> tuple[float, int]:
    """Seconds from the first look to the last accepted batch, and the peak memory in bytes, the
    rendering process with it."""
    with aws_site(server) as made:
        fill(made.site, rows)
        with Sidecar(made.config) as daemon:
            daemon.wait_for_line("leading this site")
            spent = made.wait(lambda: accepted(made), rows)
            ours = psutil.Process(daemon.pid)
            peak = sum(peak_bytes(p.pid) for p in (ours, *ours.children(recursive=True)))
            daemon.stop()
    return spent, peak


def fill(site: Site, rows: int) -> None:
    """Queue so many mails for company 1."""
    people = site.add_users(1, rows)
    site.queue("user_create", 1, people, due=0, body=lambda person: body(person.id))


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had, in bytes (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024
