"""The sidecar's whole path on a private MariaDB: queue → claim → batches → SMTP → settled."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, create_engine, text

from sidecar.demo.site import Site
from tests.support.mariadb import MariaDBServer
from tests.support.processes import Sidecar, run_sidecar

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


def resident_bytes(pid: int) -> int:
    """What a daemon and its processes have in memory now."""
    ours = psutil.Process(pid)
    return sum(each.memory_info().rss for each in (ours, *ours.children(recursive=True)))


@dataclass(frozen=True)
class BenchSite:
    """A throw-away site with the sidecar's tables, and the sidecar's configuration for it."""

    site: Site
    config: Path
    engine: Engine

    def run(self, *arguments: str, input: str = "") -> str:  # noqa: A002 - as subprocess calls it
        """Run a command of the sidecar to its end; its standard output."""
        done = run_sidecar(self.config, *arguments, timeout=3600, input=input)
        if done.returncode:
            sys.exit(f"{' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def one(self, statement: str, **values: object) -> Any:
        """The single value of a query."""
        with self.engine.connect() as conn:
            return conn.execute(text(statement), values).scalar()

    def sql(self, statement: str, **values: object) -> None:
        """Change something."""
        with self.engine.begin() as conn:
            conn.execute(text(statement), values)

    def in_state(self, state: str) -> int:
        """How many recipients are in a state."""
        query = "SELECT COUNT(*) FROM mdl_manireports_cloud_recipients WHERE status = :state"
        return int(self.one(query, state=state) or 0)

    def counted(self) -> int:
        """How many mails the batches say were sent; costs a site less than ``in_state``."""
        query = "SELECT COALESCE(SUM(sent_count), 0) FROM mdl_manireports_cloud_import_batches"
        return int(self.one(query))

    def wait(self, count: Callable[[], int], wanted: int, seconds: float = 900) -> float:
        """Seconds until ``count`` gives ``wanted``."""
        started = time.perf_counter()
        while (found := count()) < wanted:
            if time.perf_counter() - started > seconds:
                sys.exit(f"{found} of {wanted} after {seconds:g} s")
            time.sleep(0.1)  # each count takes some of what is measured
        return time.perf_counter() - started


@contextmanager
def bench_site(
    server: MariaDBServer, *, companies: int = 1, smtphosts: str = "", **settings: object
) -> Iterator[BenchSite]:
    """A site with companies 1 to ``companies``, none of them enabled.

    smtphosts: Moodle's setting. settings: lines of the sidecar's configuration.
    """
    name = "benchmark"
    server.create_database(name, SCHEMA)
    url = server.url(name)
    site = Site(url)
    site.install(smtphosts=smtphosts)
    for company in range(1, companies + 1):
        site.add_company(company, f"Company {company}")
    engine = create_engine(url)
    with tempfile.TemporaryDirectory() as folder:
        dataroot = Path(folder, "moodledata")
        dataroot.mkdir()
        values = {
            "database_url": url,
            "wwwroot": "https://learn.example.test",
            "dataroot": str(dataroot),
            "state_dir": f"{folder}/state",
            "metrics_port": 0,
            "min_age": 0,
            **settings,
        }
        config = Path(folder, "sidecar.toml")
        config.write_text("".join(f"{key} = {json.dumps(v)}\n" for key, v in values.items()))
        config.chmod(0o600)
        made = BenchSite(site, config, engine)
        made.run("schema", "--create")
        yield made
    engine.dispose()
    site.engine.dispose()
    server.drop_database(name)


def sidecar_path(server: MariaDBServer, sink_port: int, rows: int) -> float:
    """Seconds in which the real daemon drains a queue of ``rows`` mails to a local sink.

    From its start to the last mail that its tables call sent: claiming, rendering, sending,
    committing every outcome.
    """
    with _queued(server, rows, sink_port) as made:
        started = time.perf_counter()
        with Sidecar(made.config) as daemon:
            made.wait(made.counted, rows)
            spent = time.perf_counter() - started
            daemon.stop()
        _expect_sent(made, rows)
    return spent


def delivery_path(server: MariaDBServer, sink_port: int, rows: int) -> float:
    """Seconds in which the real daemon delivers ``rows`` mails that it has claimed before.

    From the admin's ``resume`` to the last mail that its tables call sent: rendering, sending,
    committing every outcome.
    """
    with _queued(server, rows, sink_port) as made:
        made.run("pause", "all")
        with Sidecar(made.config) as daemon:
            made.wait(lambda: made.in_state("pending"), rows)
            made.run("resume", "all")
            spent = made.wait(made.counted, rows)
            daemon.stop()
        _expect_sent(made, rows)
    return spent


@contextmanager
def _queued(server: MariaDBServer, rows: int, sink_port: int) -> Iterator[BenchSite]:
    """A site with so many mails in its queue, to be sent to a local sink."""
    with bench_site(server, smtphosts=f"127.0.0.1:{sink_port}") as made:
        made.site.queue("user_create", 1, made.site.add_users(1, rows), due=0)
        made.run("company", "set", "1", "--provider", "smtp", "--enable")
        yield made


def _expect_sent(made: BenchSite, rows: int) -> None:
    if (sent := made.in_state("sent")) != rows:
        sys.exit(f"{sent} of {rows} mails were sent")
