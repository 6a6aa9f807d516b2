"""The sidecar as a real process that can be frozen and killed, and what its tables say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from .facts import must, wait_for
from .install import Site
from .server import Db

RECIPIENTS = "mdl_manireports_cloud_recipients"
CONNECTIONS = 4
LEASE = 3
THRESHOLD = 10
OPEN = ("pending", "processing", "failed", "retry_pending")

TOML = """\
moodle_dir = "{moodle}"
state_dir = "{state}"
poll_interval = 0.3
min_age = 1
quiet_period = 3
flush_after = 0.5
batch_size = 20
smtp_max_connections = {connections}
metrics_port = 0
lease_seconds = {lease}
"""


class Sidecar:
    def __init__(self, site: Site, package_parent: Path) -> None:
        self._home = package_parent  # `python -m sidecar` runs what lies there
        self._config = site.folder / "sidecar.toml"
        self._log = site.folder / "sidecar.log"
        self._process: subprocess.Popen[bytes] | None = None
        state = site.folder / "state"
        state.mkdir(exist_ok=True)
        self._config.write_text(
            TOML.format(moodle=site.code, state=state, connections=CONNECTIONS, lease=LEASE)
        )
        self.command("schema", "--create")
        for company in [0, *(each["id"] for each in site.companies)]:
            self.command(
                "company", "set", str(company), "--provider", "smtp", "--enable",
                "--bulk-threshold", str(THRESHOLD),
            )  # fmt: skip

    def _argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "sidecar", "--config", str(self._config), *arguments]

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            self._argv(*arguments),
            cwd=self._home, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        must(done.returncode == 0, f"sidecar {arguments[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._began = log.tell()
            self._process = subprocess.Popen(
                self._argv("run"), cwd=self._home, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def must_live(self) -> None:
        ended = None if self._process is None else self._process.poll()
        must(ended is None, f"the sidecar ended by itself ({ended}), see {self._log}")

    def freeze(self) -> None:
        """Stops every thread of it, and returns only once the kernel says so."""
        os.kill(self.pid, signal.SIGSTOP)
        state = Path(f"/proc/{self.pid}/stat")
        wait_for("frozen", lambda: state.read_text().rpartition(")")[2].split()[0] == "T", 5, 0.001)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        assert self._process is not None
        self.must_live()
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> None:
        """SIGTERM: it finishes what is in flight and ends within 30 s."""
        assert self._process is not None
        self.must_live()
        wait_for("started", lambda: b"started" in self._log.read_bytes()[self._began :], 20)
        self._process.terminate()
        must(self._process.wait(40) == 0, f"the sidecar ended badly, see {self._log}")

    def end(self) -> None:
        """Whatever happened before, no process is left."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def claimed(db: Db, since: int) -> set[int]:
    """The rows after `since` that became the sidecar's (given back ones are not)."""
    sql = f"SELECT DISTINCT source_id FROM {RECIPIENTS} WHERE source_id > %s AND status <> %s"
    return {int(row) for (row,) in db.rows(sql, since, "returned")}


def unfinished(db: Db) -> int:
    """Recipients that the sidecar has still to send."""
    return int(db.value(f"SELECT COUNT(*) FROM {RECIPIENTS} WHERE status IN %s", OPEN))


def states(db: Db, since: int) -> str:
    found = db.rows(
        f"SELECT status, COUNT(*) FROM {RECIPIENTS} WHERE source_id > %s GROUP BY status", since
    )
    return " ".join(f"{status}={count}" for status, count in found) or "no recipients"
