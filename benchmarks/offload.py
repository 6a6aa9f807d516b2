"""From rows in IOMAD's queue to batches that SQS has accepted, beside the floor of that work.

The floor does the same to the same rows in one loop: select with bodies, mark as sent, insert
recipients, commit, JSON, gzip, base64, HMAC. It renders nothing, checks nothing and sends nothing.
"""

import argparse
import base64
import hashlib
import hmac
import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import Engine, create_engine, text

from benchmarks.site import SCHEMA, commit_seconds, durable_server
from sidecar.demo.site import Site
from sidecar.packing import LEVEL
from tests.support.mariadb import MariaDBServer
from tests.support.processes import Sidecar, run_sidecar

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
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    with durable_server() as server:
        commit = commit_seconds(server)
        floor = run_floor(server, options.rows)
        sidecar, peak = run_sidecar_path(server, options.rows)
        again = run_floor(server, options.rows)
    best = min(floor, again)
    measured: Mapping[str, object] = {
        "rows": options.rows,
        "body_bytes": BODY_BYTES,
        "mariadb_commit_ms": round(commit * 1000, 3),
        "floor_mails_per_second": round(options.rows / best, 1),
        "sidecar_mails_per_second": round(options.rows / sidecar, 1),
        "sidecar_x_floor": round(sidecar / best, 2),
        "sidecar_peak_memory_mb": round(peak / 1e6, 1),
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


@contextmanager
def site(server: MariaDBServer, rows: int) -> Iterator[tuple[str, Engine]]:
    """A database with so many mails in IOMAD's queue; its URL."""
    name = "offload"
    server.create_database(name, SCHEMA)
    url = server.url(name)
    made = Site(url)
    made.install()
    made.add_company(1, "Acme Training Ltd")
    people = made.add_users(1, rows)
    made.queue("user_create", 1, people, due=0, body=lambda person: body(person.id))
    made.engine.dispose()
    engine = create_engine(url)
    yield url, engine
    engine.dispose()
    server.drop_database(name)


def run_floor(server: MariaDBServer, rows: int) -> float:
    """Seconds of the floor."""
    with site(server, rows) as (_, engine), engine.connect() as conn:
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
    with (
        site(server, rows) as (url, engine),
        endpoint() as port,
        tempfile.TemporaryDirectory() as folder,
    ):
        config = configured(Path(folder), url, port)
        mine = "SELECT COALESCE(SUM(email_count), 0) FROM mdl_manireports_cloud_import_batches"
        with Sidecar(config) as daemon, engine.connect() as conn:
            daemon.wait_for_line("leading this site")
            started = time.perf_counter()
            while True:
                queued = conn.execute(text(f"{mine} WHERE status = 'queued'")).scalar_one()
                conn.commit()
                if queued >= rows:
                    break
                if time.perf_counter() - started > 600:
                    sys.exit(f"{queued} of {rows} mails were accepted:\n{daemon.output()[-2000:]}")
                time.sleep(0.02)
            spent = time.perf_counter() - started
            ours = psutil.Process(daemon.pid)
            peak = sum(peak_bytes(p.pid) for p in (ours, *ours.children(recursive=True)))
            daemon.stop()
        return spent, peak


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had, in bytes (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024


def configured(folder: Path, url: str, port: int) -> Path:
    """The sidecar set up for the endpoint at ``port``; its configuration file."""
    dataroot = folder / "moodledata"
    dataroot.mkdir()
    config = folder / "sidecar.toml"
    config.write_text(
        f'database_url = "{url}"\nwwwroot = "https://learn.example.test"\n'
        f'dataroot = "{dataroot}"\nstate_dir = "{folder}/state"\n'
        f'aws_endpoint_url = "http://127.0.0.1:{port}"\n'
        "metrics_port = 0\nmin_age = 0\n"
    )
    config.chmod(0o600)
    queue_url = f"http://127.0.0.1:{port}/1/jobs"
    for arguments in (
        ["schema", "--create"],
        [
            *["company", "set", "1", "--provider", "aws", "--aws-region", "eu-west-1"],
            *["--aws-access-key", "AKIABENCHMARK", "--aws-secret-key", "--new-callback-key"],
            *["--sqs-queue-url", queue_url, "--manager-copies", "none", "--enable"],
        ],
    ):
        done = run_sidecar(config, *arguments, input="secret\n")
        if done.returncode:
            sys.exit(f"{' '.join(arguments)}: {done.stderr}")
    return config


@contextmanager
def endpoint() -> Iterator[int]:
    """The minimal SQS in a process of its own; its port."""
    command = [sys.executable, "-m", "benchmarks.sqs_endpoint"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())["port"]
        finally:
            process.terminate()
        if not json.loads(process.stdout.readline())["messages"]:
            sys.exit("no message arrived")
