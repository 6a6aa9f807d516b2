"""Other senders of queued mail, each as its documentation sets it up, and tuned where it can be.

They live in a virtual environment of their own, ``.tools/peers`` (scripts/bench-tools.sh), and keep
their queue in the same durable MariaDB as the sidecar; Celery in a Redis with its append-only file.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.way import Way
from tests.support.mariadb import MariaDBServer, free_port

PYTHON = Path(__file__).parents[1] / ".tools" / "peers" / "bin" / "python"
PROGRAMS = Path(__file__).parent / "peer"

ANSWERS: Mapping[str, float] = {
    "post_office": 4 / 5,
    "post_office+": 4 / 40,
    "django-mailer": 4,
    "celery": 8 / 2,
    "celery+": 8 / 20,
}
"""Name → ``Way.answers``; + is tuned."""


def peer_ways(server: MariaDBServer) -> dict[str, Way]:
    """Those that are installed."""
    if not PYTHON.exists():
        return {}
    found = {name: answers for name, answers in ANSWERS.items() if can_run(name)}
    return {name: Way(partial(send, server, name), answers) for name, answers in found.items()}


def can_run(name: str) -> bool:
    """Whether what a peer needs beside its package is here."""
    return not name.startswith("celery") or shutil.which("redis-server") is not None


def send(server: MariaDBServer, name: str, port: int, rows: int) -> float:
    """Seconds in which a peer sends so many queued mails to a port."""
    server.create_database("peer")
    with tempfile.TemporaryDirectory() as folder, redis(Path(folder), name) as redis_port:
        done = subprocess.run(
            [str(PYTHON), str(PROGRAMS / "send.py"), name],
            cwd=PROGRAMS,
            env={
                "PATH": f"{PYTHON.parent}:/usr/bin:/bin",
                "TMPDIR": folder,
                "PEER_ROWS": str(rows),
                "PEER_SMTP_PORT": str(port),
                "PEER_DB_PORT": str(server.port),
                "PEER_REDIS": f"redis://127.0.0.1:{redis_port}/0",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=3600,
        )
    server.drop_database("peer")
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


@contextmanager
def redis(folder: Path, name: str) -> Iterator[int]:
    """A Redis of Celery's own; its port."""
    if not name.startswith("celery"):
        yield 0
        return
    port = free_port()
    command = ["redis-server", "--port", str(port), "--dir", str(folder), "--appendonly", "yes"]
    with subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.terminate()
