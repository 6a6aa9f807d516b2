"""A private MariaDB: own data directory, own socket, own port, never as root."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import MySQLdb

from .facts import ProofError, free_port, wait_for

Row = tuple[Any, ...]


class Db:
    """One autocommit connection of the database's owner, through the socket."""

    def __init__(self, socket: Path, database: str = "") -> None:
        self._connection = MySQLdb.connect(
            unix_socket=str(socket),
            user=getpass.getuser(),
            database=database,
            charset="utf8mb4",
            autocommit=True,
        )

    def rows(self, sql: str, *values: object) -> list[Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())

    def value(self, sql: str, *values: object) -> Any:
        found = self.rows(sql, *values)
        return found[0][0] if found else None

    def run(self, sql: str, *values: object) -> int:
        with self._connection.cursor() as cursor:
            return int(cursor.execute(sql, values or None))

    def close(self) -> None:
        self._connection.close()


class MariaDb:
    """`with MariaDb(folder) as server:` makes the data directory if there is none."""

    def __init__(self, folder: Path, *, fast: bool = False) -> None:
        self.folder = folder
        self.socket = folder / "s.sock"
        self.port = free_port()
        self._fast = fast
        self._process: subprocess.Popen[bytes] | None = None
        if len(str(self.socket)) > 100:
            raise ProofError(f"too long for a socket, use a shorter --work-dir: {self.socket}")

    def _as_user(self) -> list[str]:
        return ["--user=mysql"] if os.geteuid() == 0 else []

    def __enter__(self) -> Self:
        if not (self.folder / "mysql").exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                shutil.chown(self.folder, "mysql", "mysql")
            self._install()
        command = [
            "mariadbd", "--no-defaults", *self._as_user(),
            f"--datadir={self.folder}", f"--socket={self.socket}",
            f"--port={self.port}", "--bind-address=127.0.0.1",
            f"--pid-file={self.folder / 'pid'}", "--skip-name-resolve",
            "--character-set-server=utf8mb4", "--collation-server=utf8mb4_unicode_ci",
            "--innodb-buffer-pool-size=128M", "--innodb-log-file-size=48M",
            f"--innodb-flush-log-at-trx-commit={0 if self._fast else 1}",
        ]  # fmt: skip
        with (self.folder.parent / "mariadb.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_for("MariaDB answers", self._answers, 60)
        except ProofError:
            self.stop()
            raise
        return self

    def _install(self) -> None:
        command = [
            "mariadb-install-db", "--no-defaults", *self._as_user(), f"--datadir={self.folder}",
            "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={getpass.getuser()}", "--skip-test-db",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProofError(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise ProofError(f"MariaDB ended, see {self.folder.parent / 'mariadb.log'}")
        try:
            Db(self.socket).close()
        except MySQLdb.OperationalError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __exit__(self, *_: object) -> None:
        self.stop()
