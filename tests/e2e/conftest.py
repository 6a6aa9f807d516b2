"""A site with one enabled company, a recording SMTP sink, and the real daemon in front of both."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from sidecar.demo.sink import Sink
from sidecar.demo.site import Site
from tests.conftest import ConfigFile
from tests.support.processes import Sidecar, run_sidecar

COMPANY = 1


@dataclass
class World:
    """One site, its sink and its configuration."""

    url: str
    site: Site
    sink: Sink
    config: Path
    engine: Engine
    write_config: Callable[..., Path]
    tmp: Path

    def command(self, *arguments: str, ok: bool = True, timeout: float = 60) -> str:
        """Run a command of the sidecar; its standard output."""
        done = run_sidecar(self.config, *arguments, timeout=timeout)
        if ok:
            assert done.returncode == 0, f"{arguments}: {done.stderr}{done.stdout}"
        return done.stdout

    def drain(self, timeout: float = 120) -> None:
        """Run the daemon until it is idle."""
        self.command("run", "--until-idle", timeout=timeout)

    def start(self, *arguments: str) -> Sidecar:
        """The daemon in the background."""
        return Sidecar(self.config, *(arguments or ("run",)))

    def sql(self, statement: str, **values: object) -> list[Any]:
        """Rows of a query; a change is committed."""
        with self.engine.begin() as conn:
            result = conn.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    def one(self, statement: str, **values: object) -> Any:
        """The single value of a query."""
        return self.sql(statement, **values)[0][0]

    def rcpts(self) -> Counter[str]:
        """How often each address was really served."""
        return Counter(message.recipients[0] for message in self.sink.messages)

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs, newest first."""
        found: list[dict[str, Any]] = json.loads(self.command("jobs", "--json"))
        return found

    def states(self) -> dict[str, int]:
        """Recipients by state."""
        rows = self.sql(
            "SELECT status, COUNT(*) FROM mdl_manireports_cloud_recipients GROUP BY status"
        )
        return {row[0]: row[1] for row in rows}

    def unsent(self) -> int:
        """Rows that wait in Moodle's queue."""
        return int(self.one("SELECT COUNT(*) FROM mdl_email WHERE sent IS NULL"))


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A recording SMTP server."""
    with Sink() as running:
        yield running


@pytest.fixture
def world(iomad_db: str, sink: Sink, config_file: ConfigFile, tmp_path: Path) -> Iterator[World]:
    """A site whose company 1 is enabled for smtp; its manager copies are off."""
    site = Site(iomad_db)
    site.set_config("smtphosts", f"127.0.0.1:{sink.port}")
    site.add_company(COMPANY, "Acme Training Ltd")
    engine = create_engine(iomad_db)
    made = World(iomad_db, site, sink, config_file(iomad_db), engine, config_file, tmp_path)
    made.command("schema", "--create")
    made.command("company", "set", str(COMPANY), "--provider", "smtp", "--enable")
    yield made
    engine.dispose()
    site.engine.dispose()
