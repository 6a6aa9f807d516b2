"""Where cases play: a private MariaDB, and a fresh site with a sink for each case."""

import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from sidecar.demo.cloud import cloud
from sidecar.demo.population import Person
from sidecar.demo.sink import Received, Sink
from sidecar.demo.site import Site
from sidecar.store.database import Database
from tests.e2e.aws import AwsWorld
from tests.e2e.world import COMPANY, World
from tests.faults.ledger import Balance, judge
from tests.support.config import write_config
from tests.support.mariadb import MariaDBServer
from tests.support.processes import call_sidecar
from tests.support.wait import wait_for

FIXTURES = Path(__file__).parents[1] / "fixtures"
TEMPLATE = "template_faults"
CONNECTIONS = 4
GROUP = 12
"""Mails that are a bulk operation."""

QUICK: Mapping[str, Any] = {
    "lease_seconds": 2, "min_age": 0.1, "poll_interval": 0.1,
    "smtp_connections": CONNECTIONS, "smtp_max_connections": CONNECTIONS,
}  # fmt: skip

MOVING = """
SELECT COUNT(*) FROM mdl_manireports_cloud_recipients
WHERE status IN ('pending', 'processing', 'retry_pending')
"""

_numbers = itertools.count(1)


class Stage:
    """One server and one folder; every world on it is a site of its own."""

    def __init__(self, server: MariaDBServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        if not server.execute("SHOW DATABASES LIKE %s", TEMPLATE):
            server.create_database(TEMPLATE, FIXTURES / "iomad_schema.sql")
            Site(server.url(TEMPLATE)).install()

    @contextmanager
    def world(self, **settings: Any) -> Iterator[World]:
        """A site whose company 1 is enabled for smtp; ``settings`` over QUICK."""
        number = next(_numbers)
        name, folder = f"faults{number}", self.folder / f"world{number}"
        folder.mkdir(parents=True)
        self.server.clone_database(TEMPLATE, name)
        url = self.server.url(name)
        with Sink() as sink:
            site = Site(url)
            site.set_config("smtphosts", f"127.0.0.1:{sink.port}")
            site.add_company(COMPANY, "Acme Training Ltd")
            engine = create_engine(url)
            write = partial(write_config, folder)
            made = World(url, site, sink, write(url), engine, write, folder)
            made.command("schema", "--create")
            made.command("company", "set", str(COMPANY), "--provider", "smtp", "--enable")
            made.config = write(url, **{**QUICK, **settings})
            try:
                yield made
            finally:
                engine.dispose()
                site.engine.dispose()
        self.server.drop_database(name)
        shutil.rmtree(folder)

    @contextmanager
    def aws(self, **settings: Any) -> Iterator[AwsWorld]:
        """The same with an AWS beside it, by which company 1 sends."""
        with self.world() as world, cloud("learn.example.test") as running, ExitStack() as stack:
            endpoint = {"aws_endpoint_url": running.endpoint}
            world.config = world.write_config(world.url, **endpoint)
            database = Database(world.url, "mdl_")
            stack.callback(database.close)
            made = AwsWorld(world, running, database)
            made.enable()
            world.config = world.write_config(world.url, **{**QUICK, **endpoint, **settings})
            yield made


def hold(world: World, *, held: bool) -> None:
    """Hold the company's mail, or let it go."""
    state = str(world.tmp / "sidecar-state")
    patient = world.write_config(world.url, "patient", state_dir=state)
    how = "--pause" if held else "--resume"
    done = call_sidecar(patient, "company", "set", str(COMPANY), how)
    assert done.returncode == 0, done.stderr


def queue(world: World, mails: int, **options: object) -> list[Person]:
    """So many mails, each to a user of its own, with a subject of its own."""
    people = world.site.add_users(COMPANY, mails)
    subject = f"mail {next(_numbers)}"
    world.site.queue("user_create", COMPANY, people, subject=subject, **options)  # type: ignore[arg-type]
    return people


def finish(
    world: World,
    received: Callable[[], Sequence[Received]] | None = None,
    deadline: float = 120,
    alone: bool = True,
) -> Balance:
    """Let a healthy daemon do the rest, and judge. alone: start one; else one is at work."""
    come = received or (lambda: world.sink.messages)
    if alone:
        with world.start() as daemon:
            daemon.wait_for_line("leading this site")
            wait_for(partial(quiet, world), deadline, "nothing is left to do")
            assert daemon.stop() == 0, daemon.output()[-2000:]
    else:
        wait_for(partial(quiet, world), deadline, "nothing is left to do")
    return judge(world, come())


def quiet(world: World, left: int = 0) -> bool:
    """Whether so many mails wait in Moodle's queue and none of ours is on its way."""
    time.sleep(0.1)
    return world.unsent() == left and world.one(MOVING) == 0  # in this order: a mail moves from one
