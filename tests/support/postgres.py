"""A private PostgreSQL server: own data directory, own port and socket, never run as root."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import psycopg

from tests.support.mariadb import free_port
from tests.support.wait import wait_for

INSTALL_HINT = "PostgreSQL is missing: run scripts/test.sh, it installs what the tests need"

_SETTINGS = (
    "listen_addresses=127.0.0.1",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=64MB",
    "max_connections=60",
    "jit=off",
)


def _program(name: str) -> str:
    """The newest one: Debian keeps the server's programs out of PATH, a folder for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=_version)
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"{name}: {INSTALL_HINT}")
    return path


def _version(program: Path) -> float:
    return float(program.parent.parent.name)


class PostgresServer:
    """A server of one's own, for as long as the ``with`` block lasts.

    The superuser ``moodle`` may connect from this machine without a password. Every commit
    survives ``kill()``.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.port = free_port()
        self.log = self.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root; Debian's package brings a user for it.
        self._user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}

    def __enter__(self) -> Self:
        try:
            self._install()
            self._start_on_a_free_port()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def _install(self) -> None:
        if self._user:
            shutil.chown(self.folder, **self._user)
        command = [
            _program("initdb"),
            f"--pgdata={self.folder / 'data'}",
            "--username=moodle",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.folder, **self._as()
        )
        if done.returncode:
            raise AssertionError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _as(self) -> dict[str, Any]:
        return {**self._user, "extra_groups": []} if self._user else {}

    def _start_on_a_free_port(self, tries: int = 3) -> None:
        """Another process may take the port between our look and the server's start."""
        for left in reversed(range(tries)):
            try:
                self.start()
            except AssertionError:
                if not left:
                    raise
                self.port = free_port()
            else:
                return

    def start(self) -> None:
        """Start the server and wait until it answers; always on the same port."""
        command = [_program("postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        for setting in (*_SETTINGS, f"unix_socket_directories={self.folder}"):
            command += ["-c", setting]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
                **self._as(),
            )
        wait_for(self._answers, 60, f"PostgreSQL answers on port {self.port}")

    def _answers(self) -> bool:
        if not self.alive():
            said = self.log.read_text(errors="replace")
            raise AssertionError(f"PostgreSQL did not start:\n{said}")
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGQUIT: every backend ends at once, and no one writes anything more.

        A SIGKILL would leave backends alive that hold the data directory.
        """
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(60)
            self._process = None

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://moodle@127.0.0.1:{self.port}/{database}"

    def execute(self, sql: str, *values: object, database: str = "postgres") -> list[Any]:
        """Run one statement (``%s`` for values) on a connection of its own; the rows it gives."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="moodle", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str, template: str = "template1") -> None:
        """A new database, empty or with the tables and rows of another."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')

    def load_mariadb_schema(self, database: str, dump: Path) -> None:
        """The tables of a file for MariaDB, as Moodle's XMLDB makes them on PostgreSQL."""
        self.execute("; ".join(as_postgres(dump.read_text("utf-8"))), database=database)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


_TYPES = (
    (r"bigint\(\d+\) NOT NULL AUTO_INCREMENT", "BIGSERIAL"),
    (r"\bbigint\(\d+\)", "BIGINT"),
    (r"\bmediumint\(\d+\)", "INTEGER"),
    (r"\b(tiny|small)int\(\d+\)", "SMALLINT"),
    (r"\blongtext\b", "TEXT"),
    (r"\bdouble\b", "DOUBLE PRECISION"),
    (r"\bdecimal\b", "NUMERIC"),
)
"""lib/ddl/postgres_sql_generator.php, getTypeSQL: by XMLDB's length, which MariaDB shows too."""

_KEY = re.compile(r",\s*(UNIQUE )?KEY (\w+) (\([\w,]+\))")


def as_postgres(schema: str) -> Iterator[str]:
    """The statements for PostgreSQL of CREATE TABLE statements for MariaDB."""
    for name, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\) ENGINE[^;]*;", schema, re.DOTALL):
        keys = _KEY.findall(body)
        columns = _KEY.sub("", body)
        for pattern, made in _TYPES:
            columns = re.sub(pattern, made, columns)
        yield f"CREATE TABLE {name} ({columns})"
        for unique, key, over in keys:
            yield f"CREATE {unique}INDEX {key} ON {name} {over}"
