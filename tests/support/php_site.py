"""The plugin's pages, run by PHP with the little of Moodle that they need (tests/plugin/site)."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from sqlalchemy import make_url

from sidecar.demo.callback import PATH
from tests.support.mariadb import free_port
from tests.support.wait import wait_for

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "moodle_plugin"
STAND_IN = ROOT / "tests" / "plugin" / "site"

WORKERS = 4


class PhpSite:
    """What looks like a Moodle with the plugin linked into it, served on a port of its own.

    url: the callback page. Its database is a MariaDB; ``log`` holds what PHP said.
    """

    def __init__(self, folder: Path, database_url: str, dataroot: Path) -> None:
        self.folder = folder / "site"
        self.log = folder / "php.log"
        self.folder.mkdir(parents=True)
        for file in STAND_IN.iterdir():
            shutil.copy(file, self.folder)
        (self.folder / "local").mkdir()
        (self.folder / "local" / "manireports").symlink_to(PLUGIN, target_is_directory=True)
        self.environment = _environment(database_url, dataroot)
        self._start()
        self.url = f"http://127.0.0.1:{self.port}{PATH}"

    def _start(self) -> None:
        self.port = free_port()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["php", "-S", f"127.0.0.1:{self.port}", "-t", str(self.folder)],
                stdout=log,
                stderr=log,
                env=self.environment | {"PHP_CLI_SERVER_WORKERS": str(WORKERS)},
                start_new_session=True,
            )
        wait_for(self._answers, 20, "php serves the site")

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(self.log.read_text("utf-8", errors="replace"))
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/nothing").close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def run(self, script: Path, *arguments: str) -> str:
        """What a PHP script prints; it gets the site's folder first, then ``arguments``."""
        done = subprocess.run(
            ["php", "-d", "display_errors=stderr", str(script), str(self.folder), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def close(self) -> None:
        """Stop serving."""
        os.killpg(self._process.pid, 15)
        self._process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _environment(database_url: str, dataroot: Path) -> dict[str, str]:
    url = make_url(database_url)
    where: Mapping[str, object] = {"host": url.host, "port": url.port, "name": url.database}
    return {**os.environ, "MR_DATABASE": json.dumps(where), "MR_DATAROOT": str(dataroot)}
