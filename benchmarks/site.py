"""The sidecar's whole path on a private MariaDB: queue → claim → batches → SMTP → settled."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from sidecar.demo.site import Site
from tests.support.mariadb import MariaDBServer
from tests.support.processes import run_sidecar

SCHEMA = Path(__file__).parents[1] / "tests" / "fixtures" / "iomad_schema.sql"


@contextmanager
def durable_server() -> Iterator[MariaDBServer]:
    """A private MariaDB that really writes every commit to the disk."""
    with MariaDBServer(durable=True) as server:
        yield server


def commit_seconds(server: MariaDBServer, commits: int = 200) -> float:
    """What one durable commit of one small change costs, in seconds."""
    server.create_database("commits")
    engine = create_engine(server.url("commits"))
    with engine.connect() as conn:
        conn.execute(text("CREATE TABLE t (id INT PRIMARY KEY, n INT) ENGINE=InnoDB"))
        conn.execute(text("INSERT INTO t VALUES (1, 0)"))
        conn.commit()
        started = time.perf_counter()
        for _ in range(commits):
            conn.execute(text("UPDATE t SET n = n + 1"))
            conn.commit()
        spent = time.perf_counter() - started
    engine.dispose()
    server.drop_database("commits")
    return spent / commits


def sidecar_path(server: MariaDBServer, rows: int, sink_port: int) -> float:
    """Seconds in which the real daemon drains a queue of ``rows`` mails to a local sink.

    From its start to its exit, settled: claiming, rendering, sending, committing every outcome.
    """
    name = "benchmark"
    server.create_database(name, SCHEMA)
    site = Site(server.url(name))
    site.install(smtphosts=f"127.0.0.1:{sink_port}")
    site.add_company(1, "Acme Training Ltd")
    site.queue("user_create", 1, site.add_users(1, rows), due=0)
    with tempfile.TemporaryDirectory() as folder:
        dataroot = Path(folder, "moodledata")
        dataroot.mkdir()
        config = Path(folder, "sidecar.toml")
        config.write_text(
            f'database_url = "{server.url(name)}"\n'
            'wwwroot = "https://learn.example.test"\n'
            f'dataroot = "{dataroot}"\nstate_dir = "{folder}/state"\n'
            "metrics_port = 0\nmin_age = 0\n"
        )
        config.chmod(0o600)
        _run(config, "schema", "--create")
        _run(config, "company", "set", "1", "--provider", "smtp", "--enable")
        started = time.perf_counter()
        _run(config, "run", "--until-idle")
        spent = time.perf_counter() - started
    engine = create_engine(server.url(name))
    with engine.connect() as conn:
        sent = conn.execute(
            text("SELECT COUNT(*) FROM mdl_manireports_cloud_recipients WHERE status = 'sent'")
        ).scalar()
    engine.dispose()
    if sent != rows:
        sys.exit(f"{sent} of {rows} mails were sent")
    server.drop_database(name)
    return spent


def _run(config: Path, *arguments: str) -> None:
    done: subprocess.CompletedProcess[str] = run_sidecar(config, *arguments, timeout=3600)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: {done.stderr}")
