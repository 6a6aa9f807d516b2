"""A site and its configuration, and what tests ask of them."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from sidecar.demo.sink import Sink
from sidecar.demo.site import Site
from tests.support.processes import Sidecar, call_sidecar, run_sidecar

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
        """Run a command of the sidecar; its standard output. Daemons are processes of their own."""
        if arguments[0] in {"run", "once", "drain"}:
            done = run_sidecar(self.config, *arguments, timeout=timeout)
        else:
            done = call_sidecar(self.config, *arguments)
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

    def accepted(self) -> int:
        """Batches that a provider has accepted and not yet told of."""
        table = "mdl_manireports_cloud_import_batches"
        return int(self.one(f"SELECT COUNT(*) FROM {table} WHERE status = 'queued'"))

    def unsent(self) -> int:
        """Rows that wait in Moodle's queue."""
        return int(self.one("SELECT COUNT(*) FROM mdl_email WHERE sent IS NULL"))
