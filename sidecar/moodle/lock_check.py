"""Proof that Moodle's cron and we share one lock; whatever cannot be proved stops claiming."""

import socket
import time
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from sidecar.errors import LockBusyError
from sidecar.moodle.locks import TaskLock
from sidecar.moodle.tables import MoodleTables

FRESH = 3600
"""Seconds for which a running task's ``timestarted`` is believed."""


def lock_doubts(
    conn: Connection, tables: MoodleTables, lock: TaskLock, task_name: str
) -> list[str]:
    """Reasons why the lock of a scheduled task may not be shared, in the admin's words.

    Empty when it is proved. A lock that is merely busy raises no doubt: cron holding it is the
    proof itself.
    """
    doubts = [] if conn.dialect.name == "sqlite" else _server_doubts(conn)
    task = tables.task_scheduled
    running = select(task.c.timestarted, task.c.hostname, task.c.pid).where(
        task.c.classname == task_name
    )
    try:
        with lock.session(conn), conn.begin(), lock.transaction(conn):
            row = conn.execute(running).first()
    except LockBusyError:
        return doubts
    fresh = row and row.timestarted and 0 <= time.time() - row.timestarted < FRESH
    if row and fresh and (row.hostname != socket.gethostname() or _alive(row.pid)):
        doubts.append(
            "we got the cron lock while Moodle says that the task is running: cron uses"
            " another lock, or its run was killed (then this clears by itself)"
        )
    return doubts


def _alive(pid: int | None) -> bool:
    return bool(pid) and Path(f"/proc/{pid}").exists()


def _server_doubts(conn: Connection) -> list[str]:
    doubts = []
    version = str(conn.execute(select(func.version())).scalar_one())
    number = tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".")[:2])
    minimum = (10, 6) if "mariadb" in version.lower() else (8, 0)
    if number < minimum:
        doubts.append(f"database {version} is too old: MariaDB 10.6 or MySQL 8.0 is needed")
    if conn.execute(select(text("@@read_only"))).scalar():
        doubts.append("this database server is read-only (a replica?): use the primary")
    if str(conn.execute(select(text("@@binlog_format"))).scalar()).upper() == "STATEMENT":
        doubts.append("binlog_format is STATEMENT: READ COMMITTED needs ROW or MIXED")
    if int(_status(conn, "wsrep_cluster_size") or 0) > 1:
        doubts.append("Galera cluster: GET_LOCK is not shared between its nodes")
    conn.commit()
    ids = set()
    for _ in range(3):
        ids.add(conn.execute(select(func.connection_id())).scalar())
        conn.commit()
    if len(ids) > 1:
        doubts.append("a proxy spreads one connection over several servers: connect directly")
    return doubts


def _status(conn: Connection, name: str) -> str:
    row = conn.execute(text("SHOW GLOBAL STATUS LIKE :name"), {"name": name}).first()
    return str(row[1]) if row else ""
