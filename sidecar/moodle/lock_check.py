"""Proof that Moodle's cron and we share one lock; whatever cannot be proved stops claiming."""

import socket
import time
from pathlib import Path

from sqlalchemy import Connection, select

from sidecar.errors import LockBusyError, LockUnusableError
from sidecar.moodle.locks import TaskLock
from sidecar.moodle.server_check import server_doubts
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
    doubts = server_doubts(conn)
    task = tables.task_scheduled
    running = select(task.c.timestarted, task.c.hostname, task.c.pid).where(
        task.c.classname == task_name
    )
    try:
        with lock.session(conn), conn.begin(), lock.transaction(conn):
            row = conn.execute(running).first()
    except LockBusyError:
        return doubts
    except LockUnusableError as error:
        return [*doubts, str(error)]
    fresh = row and row.timestarted and 0 <= time.time() - row.timestarted < FRESH
    if row and fresh and (row.hostname != socket.gethostname() or _alive(row.pid)):
        doubts.append(
            "we got the cron lock while Moodle says that the task is running: cron uses"
            " another lock, or its run was killed (then this clears by itself)"
        )
    return doubts


def _alive(pid: int | None) -> bool:
    return bool(pid) and Path(f"/proc/{pid}").exists()
