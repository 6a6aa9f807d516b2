"""Claiming core's new users, beside hashing their passwords alone.

Both in one process with the same number of threads, in turn: hashing so many passwords, claiming so
many users on a private MariaDB that writes every commit to the disk. The ratio is what counts.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from benchmarks.site import SCHEMA, durable_server
from sidecar.context import Context
from sidecar.daemon import SWITCH_SECONDS
from sidecar.demo.site import Site
from sidecar.moodle.encryption import key_path, make_key
from sidecar.moodle.password_policy import Policy
from sidecar.pollers.base import Poller
from sidecar.pollers.passwords import Mint, Recipe
from sidecar.settings import Settings
from sidecar.store.companies import Companies, Company
from sidecar.store.site import create_schema
from tests.support.mariadb import MariaDBServer

NAME = "passwords"
MOST = 1.3
"""How many times the hashing alone a claim may take."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``passwords`` to the benchmarks."""
    parser = commands.add_parser(NAME, help=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--users", type=int, default=10_000, help="users a run")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of hash, claim, claim, hash")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print; exit 1 if a claim takes more than MOST times the hashing."""
    sys.setswitchinterval(SWITCH_SECONDS)
    hashing: list[float] = []
    claiming: list[float] = []
    with durable_server() as server:
        for _ in range(options.rounds):
            hashing.append(hash_alone(options.users))
            claiming.append(claim(server, options.users))
            claiming.append(claim(server, options.users))
            hashing.append(hash_alone(options.users))
    ratio = statistics.median(claiming) / statistics.median(hashing)
    measured = {
        "users": options.users,
        "threads": os.cpu_count(),
        "hashing_s": round(statistics.median(hashing), 2),
        "claiming_s": round(statistics.median(claiming), 2),
        "ratio": round(ratio, 2),
    }
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        print("\n".join(f"{name}: {value}" for name, value in measured.items()))
    if ratio > MOST:
        sys.exit(f"a claim takes more than {MOST} times the hashing alone")


def hash_alone(users: int) -> float:
    """Seconds for so many passwords and their hashes."""
    mint = Mint()
    started = time.perf_counter()
    mint.order(Recipe(Policy()), users)
    mint.gather(users)
    return time.perf_counter() - started


def claim(server: MariaDBServer, users: int) -> float:
    """Seconds until so many waiting users are ours, committed."""
    server.create_database(NAME, SCHEMA)
    url = server.url(NAME)
    site = Site(url)
    site.install()
    site.upload_users(users)
    with leading(url) as (context, poller):
        companies = Companies({0: Company(0, enabled=True)}, Company(0))
        config = context.observe().config
        started = time.perf_counter()
        poller.poll(config, companies, lambda _: "", lambda: None)
        spent = time.perf_counter() - started
    engine = create_engine(url)
    with engine.connect() as conn:
        claimed = conn.execute(
            text("SELECT COUNT(*) FROM mdl_manireports_cloud_recipients WHERE secret <> ''")
        ).scalar()
    engine.dispose()
    if claimed != users:
        sys.exit(f"{claimed} of {users} users were claimed")
    server.drop_database(NAME)
    return spent


@contextmanager
def leading(url: str) -> Iterator[tuple[Context, Poller]]:
    """The new-users poller of a site, without a daemon around it."""
    with tempfile.TemporaryDirectory() as folder:
        make_key(key_path(Path(folder)))
        settings = Settings(
            database_url=url,
            wwwroot="https://learn.example.test",
            dataroot=Path(folder),
            state_dir=Path(folder, "state"),
            min_age=0,
            flush_after=0,
            lease_seconds=3600,
        )
        context = Context(settings)
        site_uid = create_schema(context.database, context.fingerprint)
        if not context.lease.acquire():
            sys.exit("another sidecar leads this site")
        yield context, context.pollers(site_uid)["new_users"]
        context.close()
