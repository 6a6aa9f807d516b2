"""A private MariaDB server: own data directory, own port and socket, never run as root."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import MySQLdb

from tests.support.wait import wait_for

INSTALL_HINT = "MariaDB is missing: run scripts/test.sh, it installs what the tests need"

_FAST = (
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
)
_DURABLE = ("--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1")


def _program(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        raise FileNotFoundError(f"{name}: {INSTALL_HINT}")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MariaDBServer:
    """A server of one's own, for as long as the ``with`` block lasts.

    Root without a password may connect from this machine. Every commit survives ``kill()``;
    ``durable`` makes it survive a power cut too, at the price of an fsync for each (for
    benchmarks). ``options`` are further arguments of mariadbd, and win.
    """

    def __init__(self, *options: str, durable: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self.port = free_port()
        self.socket = self.folder / "socket"
        self.log = self.folder / "server.log"
        self._options = (*(_DURABLE if durable else _FAST), *options)
        self._process: subprocess.Popen[bytes] | None = None

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
        command = [
            _program("mariadb-install-db"),
            "--no-defaults",
            *self._user(),
            f"--datadir={self.folder / 'data'}",
            f"--tmpdir={self.folder}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--force",
        ]
        if os.geteuid() == 0:
            shutil.chown(self.folder, "mysql", "mysql")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")

    @staticmethod
    def _user() -> tuple[str, ...]:
        return ("--user=mysql",) if os.geteuid() == 0 else ()

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
        command = [
            _program("mariadbd"),
            "--no-defaults",
            *self._user(),
            f"--datadir={self.folder / 'data'}",
            f"--tmpdir={self.folder}",
            f"--socket={self.socket}",
            f"--port={self.port}",
            f"--pid-file={self.folder / 'pid'}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_unicode_ci",
            "--innodb-buffer-pool-size=256M",
            "--innodb-log-file-size=96M",
            "--max-allowed-packet=64M",
            *self._options,
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(self._answers, 60, f"MariaDB answers on port {self.port}")

    def _answers(self) -> bool:
        if not self.alive():
            raise AssertionError(f"MariaDB did not start:\n{self.log.read_text(errors='replace')}")
        try:
            self.execute("SELECT 1")
        except MySQLdb.OperationalError:
            return False
        return True

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL; ``start()`` brings the server back with everything that was committed."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Shut down as a system administrator would."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """``stop()`` and ``start()``."""
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"mariadb+mysqldb://root@127.0.0.1:{self.port}/{database}?charset=utf8mb4"

    def execute(self, sql: str, *values: object, database: str = "") -> list[tuple[Any, ...]]:
        """Run one statement (``%s`` for values) on a connection of its own; the rows it gives."""
        connection = MySQLdb.connect(
            unix_socket=str(self.socket),
            user="root",
            database=database,
            charset="utf8mb4",
            autocommit=True,
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, values or None)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def load(self, database: str, dump: Path) -> None:
        """Run a file of SQL (packed if its name ends in .gz) in a database."""
        command = [
            _program("mariadb"),
            "--no-defaults",
            f"--socket={self.socket}",
            "--user=root",
            "--default-character-set=utf8mb4",
            database,
        ]
        unpack = ["gzip", "-dc", str(dump)] if dump.suffix == ".gz" else ["cat", str(dump)]
        with subprocess.Popen(unpack, stdout=subprocess.PIPE) as reader:
            done = subprocess.run(
                command, stdin=reader.stdout, capture_output=True, text=True, check=False
            )
        if done.returncode or reader.returncode:
            raise AssertionError(f"{dump} does not load:\n{done.stderr}")

    def create_database(self, name: str, dump: Path | None = None) -> None:
        """A new database as Moodle wants it, empty or loaded from a file of SQL."""
        self.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
        if dump is not None:
            self.load(name, dump)

    def clone_database(self, template: str, name: str) -> None:
        """A new database with the tables and rows of another."""
        self.create_database(name)
        for (table,) in self.execute("SHOW TABLES", database=template):
            source, target = f"`{template}`.`{table}`", f"`{name}`.`{table}`"
            self.execute(f"CREATE TABLE {target} LIKE {source}")
            self.execute(f"INSERT INTO {target} SELECT * FROM {source}")

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        query = "SELECT id FROM information_schema.processlist WHERE db = %s"
        for (connection,) in self.execute(query, name):
            with suppress(MySQLdb.OperationalError):  # it may have left meanwhile
                self.execute(f"KILL {connection}")
        self.execute(f"DROP DATABASE IF EXISTS `{name}`")
