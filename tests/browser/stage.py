"""A running site with the plugin: real Moodle, MariaDB, PHP's web server, a sink for its mail."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.iomad.facts import free_port, must, wait_for
from tests.iomad.install import Site, copied, opened, php, prepared
from tests.iomad.server import Db

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "moodle_plugin"
PASSWORD = "Rig-pass-1"
"""Of everybody: the admin and the managers."""

TOML = """\
moodle_dir = "{code}"
state_dir = "{state}"
poll_interval = 0.5
min_age = 1
quiet_period = 3
flush_after = 0.3
metrics_port = 0
lease_seconds = 10
aws_endpoint_url = "{aws}"
"""


@dataclass(frozen=True)
class Stage:
    """url: of the site, without a slash at the end. log: what PHP said, notices among it."""

    site: Site
    url: str
    db: Db
    log: Path
    toml: Path

    def php(self, script: str, *arguments: str) -> str:
        """Run one of our PHP scripts on this site; what it prints."""
        return php(str(Path(__file__).parent / "php" / script), str(self.site.code), *arguments)

    def notices(self) -> list[str]:
        """Everything that PHP or Moodle complained about so far."""
        said = self.log.read_text(errors="replace").splitlines()
        return [line for line in said if re.search(r"PHP |Debugging:|Notice:|Exception", line)]

    def sidecar(self, *arguments: str) -> str:
        """Run a command of the sidecar; what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "sidecar", "--config", str(self.toml), *arguments],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        must(done.returncode == 0, f"sidecar {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def daemon(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """The daemon at work."""
        with (self.site.folder / "sidecar.log").open("ab") as log:
            running = subprocess.Popen(
                [sys.executable, "-m", "sidecar", "--config", str(self.toml), "run"],
                cwd=ROOT, stdout=log, stderr=log, env={**os.environ, **environment},
            )  # fmt: skip
        try:
            yield running
        finally:
            running.terminate()
            running.wait(60)


@contextlib.contextmanager
def stage(source: Path, work: Path, run: Path, smtp_port: int, aws: str) -> Iterator[Stage]:
    """Install once, copy, add the plugin, serve. aws: the endpoint that plays AWS."""
    base = prepared(source.resolve(), work, fresh=False)
    with copied(base, run) as server:
        site = opened(base, run, server)
        code, port = run / "code", free_port()
        subprocess.run(["cp", "-al", str(base / "code"), str(code)], check=True)
        url = f"http://127.0.0.1:{port}"
        config = (base / "code" / "config.php").read_text()
        config = re.sub(r"wwwroot\s*=\s*'[^']*'", f"wwwroot = '{url}'", config)
        debugging = "$CFG->debug = E_ALL;\n$CFG->debugdisplay = 0;\nrequire_once("
        (code / "config.php").unlink()
        (code / "config.php").write_text(config.replace("require_once(", debugging))
        shutil.copytree(PLUGIN, code / "local" / "manireports")
        site = Site(code, run, server, site.companies)
        _prepare(site, smtp_port)
        toml = run / "sidecar.toml"
        (run / "state").mkdir()
        toml.write_text(TOML.format(code=code, state=run / "state", aws=aws))
        with _served(code, port, run / "web.log"), contextlib.closing(site.db()) as db:
            yield Stage(site, url, db, run / "web.log", toml)


def _prepare(site: Site, smtp_port: int) -> None:
    php(str(site.code / "admin/cli/upgrade.php"), "--non-interactive")
    site.configure(
        smtphosts=f"127.0.0.1:{smtp_port}",
        noreplyaddress="noreply@learn.example.test",
        supportname="Learning Team",
        supportemail="support@learn.example.test",
        cron_enabled=1,
    )
    php(str(site.code / "admin/cli/generate_key.php"))
    php(str(Path(__file__).parent / "php" / "people.php"), str(site.code), PASSWORD)
    php(str(site.code / "admin/cli/purge_caches.php"))


@contextlib.contextmanager
def _served(code: Path, port: int, log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        web = subprocess.Popen(
            ["php", "-d", "max_input_vars=5000", "-d", "log_errors=1", "-d", "opcache.enable_cli=1",
             "-S", f"127.0.0.1:{port}", "-t", str(code)],
            cwd=code, stdout=output, stderr=output,
            env={**os.environ, "PHP_CLI_SERVER_WORKERS": "4"}, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for("the site answers", lambda: _answers(port), 60)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(web.pid, 15)
        web.wait(20)


def _answers(port: int) -> bool:
    done = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/login/index.php"], check=False
    )
    return done.returncode == 0
