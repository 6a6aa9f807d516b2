"""The process that renders: the same result as here, and it ends whenever ours does."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sidecar.config import load
from sidecar.context import Context
from sidecar.demo.site import Site
from sidecar.errors import SidecarError
from sidecar.render import ASKABLE, Task, render
from sidecar.render_process import RenderProcess
from sidecar.store import queue
from tests.conftest import ConfigFile
from tests.support.processes import Sidecar, run_sidecar
from tests.support.wait import wait_for


@pytest.fixture
def context(iomad_db: str, config_file: ConfigFile) -> Iterator[Context]:
    """A site with 30 claimed rows, whose mails wait."""
    site = Site(iomad_db)
    site.set_config("smtphosts", "127.0.0.1:9")
    site.add_company(1, "Acme")
    site.queue("user_create", 1, site.add_users(1, 30), due=0)
    site.engine.dispose()
    config = config_file(iomad_db, min_age=0)
    for arguments in (["schema", "--create"], ["company", "set", "1", "--enable"]):
        assert run_sidecar(config, *arguments).returncode == 0
    with Sidecar(config) as daemon:
        daemon.wait_for_line("claimed 30 rows")
        daemon.kill9()
    made = Context(load(Path(config), {}))
    batches = made.database.tables.batches
    with made.database.write(None) as tx:
        tx.conn.execute(batches.update().values(status="pending", next_attempt_at=0))
    yield made
    made.close()


@pytest.fixture
def task(context: Context) -> Task:
    with context.database.read() as conn:
        batch, *_ = queue.due_batches(conn, context.database, exclude=[], exclude_ways=[], limit=1)
    return Task(batch, ASKABLE, context.companies().get(1), "0" * 32, 1_000_000, 100)


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]


def test_nothing_waits_while_it_starts(context: Context, task: Task) -> None:
    elsewhere = RenderProcess(context.settings, "site")
    try:
        elsewhere.start()
        elsewhere.start()
        assert not elsewhere.running
        wait_for(lambda: elsewhere.running, 30, "the process is ready")
        assert len(children()) == 1
        assert elsewhere.render(task).result(30).groups
    finally:
        elsewhere.close()


def test_it_renders_as_we_do_and_is_started_anew_when_it_dies(context: Context, task: Task) -> None:
    here = render(context.database, context.pollers("site"), task)
    elsewhere = RenderProcess(context.settings, "site")
    try:
        assert elsewhere.render(task).result(30) == here
        assert here.first is not None
        assert len(here.first.ids) >= 30
        (process,) = children()
        process.send_signal(signal.SIGKILL)
        with pytest.raises(SidecarError, match="started anew"):
            elsewhere.render(task).result(30)
        assert elsewhere.render(task).result(30) == here
        (process,) = children()
        process.send_signal(signal.SIGTERM)  # meant for the daemon, which finishes what it has
        assert elsewhere.render(task).result(30) == here
    finally:
        elsewhere.close()
    wait_for(lambda: not children(), 10, "the process has ended")
    with pytest.raises(SidecarError, match="stopping"):
        elsewhere.render(task).result(30)
