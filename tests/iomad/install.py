"""A throw-away IOMAD made from a source folder: installed once, copied for every run."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .facts import ProofError, must
from .server import Db, MariaDb

PHP = ("php", "-d", "max_input_vars=5000", "-d", "display_errors=stderr", "-d", "error_reporting=5")
OURS = Path(__file__).parent / "php"
DATABASE = "iomad"
DB_USER = "moodle"
# local_edwiserreports queries IOMAD's tables before they exist, so a fresh install with it dies.
LEFT_OUT = {"": {".git", "config.php"}, "local": {"edwiserreports"}}

CONFIG = """<?php
unset($CFG);
global $CFG;
$CFG = new stdClass();
$CFG->dbtype    = 'mariadb';
$CFG->dblibrary = 'native';
$CFG->dbhost    = '127.0.0.1';
$CFG->dbname    = '{database}';
$CFG->dbuser    = '{user}';
$CFG->dbpass    = '{password}';
$CFG->prefix    = 'mdl_';
$CFG->dboptions = array(
  'dbpersist' => 0,
  'dbport' => {port},
  'dbsocket' => '',
  'dbcollation' => 'utf8mb4_unicode_ci',
);
$CFG->wwwroot   = 'http://iomad.example.test';
$CFG->dataroot  = '{dataroot}';
$CFG->admin     = 'admin';
$CFG->directorypermissions = 02777;
require_once(__DIR__ . '/lib/setup.php');
"""


def php(*arguments: str, text: str | None = None, timeout: float = 600) -> str:
    """Runs PHP; its output, or ProofError with all it said."""
    done = subprocess.run(
        [*PHP, *arguments], input=text, capture_output=True, text=True, timeout=timeout, check=False
    )
    must(done.returncode == 0, f"php {arguments[0]} failed:\n{done.stdout[-3000:]}{done.stderr}")
    return done.stdout


@dataclass(frozen=True)
class Site:
    """A copy of the installed site, ready to run on `server`."""

    code: Path
    folder: Path
    server: MariaDb
    companies: list[dict[str, Any]]

    def db(self) -> Db:
        return Db(self.server.socket, DATABASE)

    def configure(self, **settings: object) -> None:
        for name, value in settings.items():
            script = str(self.code / "admin/cli/cfg.php")
            php(script, f"--name={name}", f"--set={value}")


def is_iomad(source: Path) -> bool:
    """Whether the folder holds an IOMAD, not a Moodle without it."""
    return (source / "local" / "email").is_dir()


def _key(source: Path) -> str:
    """Changes when its version or our own set-up does."""
    parts = [Path(__file__).read_bytes(), (OURS / "setup.php").read_bytes()]
    names = ["version.php", *(["local/email/version.php"] if is_iomad(source) else [])]
    for name in names:
        try:
            parts.append((source / name).read_bytes())
        except OSError as error:
            raise ProofError(f"{source} is no Moodle source folder: {error}") from error
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _copy_code(source: Path, target: Path) -> None:
    def leave_out(folder: str, names: list[str]) -> set[str]:
        inside = str(Path(folder).relative_to(source)) if Path(folder) != source else ""
        return LEFT_OUT.get(inside, set()) & set(names)

    shutil.copytree(source, target, symlinks=True, ignore=leave_out)


def _write_config(code: Path, dataroot: Path, port: int, password: str) -> None:
    text = CONFIG
    values = {"database": DATABASE, "user": DB_USER, "password": password, "port": port}
    for name, value in {**values, "dataroot": dataroot}.items():
        text = text.replace("{" + name + "}", str(value))
    (code / "config.php").write_text(text)


def _install(source: Path, base: Path) -> None:
    code, data, password = base / "code", base / "data", secrets.token_hex(12)
    _copy_code(source, code)
    data.mkdir()
    with MariaDb(base / "db", fast=True) as server:
        owner = Db(server.socket)
        owner.run(f"CREATE DATABASE {DATABASE} COLLATE utf8mb4_unicode_ci")
        owner.run(f"CREATE USER {DB_USER}@'127.0.0.1' IDENTIFIED BY %s", password)
        owner.run(f"GRANT ALL ON {DATABASE}.* TO {DB_USER}@'127.0.0.1'")
        owner.close()
        _write_config(code, data, server.port, password)
        php(
            str(code / "admin/cli/install_database.php"), "--lang=en", "--agree-license",
            f"--adminpass=A-{secrets.token_hex(8)}", "--adminemail=admin@example.test",
            "--fullname=IOMAD rig", "--shortname=rig",
        )  # fmt: skip
        companies: dict[str, Any] = {"companies": []}
        if is_iomad(source):
            companies = json.loads(php(str(OURS / "setup.php"), str(code)).splitlines()[-1])
    made = {"password": password, **companies}
    (base / "ready.json").write_text(json.dumps(made))


def prepared(source: Path, work: Path, *, fresh: bool) -> Path:
    """The installed site in the work folder, made now if it is missing."""
    base = work / f"base-{_key(source)}"
    if fresh or not (base / "ready.json").exists():
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir(parents=True)
        print(f"installing {release(source)} from {source}, once", flush=True)
        _install(source, base)
    return base


def release(source: Path) -> str:
    text = (source / "version.php").read_text()
    found = re.search(r"^\$release\s*=\s*'([^']*)'", text, re.MULTILINE)
    return found[1] if found else "of unknown version"


def copied(base: Path, run: Path) -> MariaDb:
    """Copies database and data of `base` into `run`; of the shared code only config.php changes."""
    for name in ("data", "db"):
        subprocess.run(
            ["cp", "-a", "--reflink=auto", str(base / name), str(run / name)], check=True
        )
    return MariaDb(run / "db")


def opened(base: Path, run: Path, server: MariaDb) -> Site:
    """The site on the running copy of the database."""
    made = json.loads((base / "ready.json").read_text())
    _write_config(base / "code", run / "data", server.port, made["password"])
    return Site(base / "code", run, server, made["companies"])
