"""Moodle's cron for the e-mail task, one run after another, as a busy site would have it."""

from __future__ import annotations

import random
import subprocess
import threading
from collections import Counter

from .facts import ProofError, must
from .install import PHP, Site
from .server import Db

TASK = r"\local_email\task\cron_task"
CRON = ("admin/cli/cron.php", "--keep-alive=0")
# "Run now": waits 10 s for the lock, then gives up and marks the task as failed.
BY_HAND = ("admin/cli/scheduled_task.php", f"--execute={TASK}")


def lock_name(db: Db) -> str:
    """The name under which MySQL knows the task's lock (FACTS §6)."""
    resource = f":mdl__cron_{TASK}"
    return str(db.value("SELECT SHA1(CONCAT(DATABASE(), %s))", resource))


def holder(db: Db, lock: str) -> int:
    """The connection that holds the task's lock now; 0 if it is free."""
    return int(db.value("SELECT COALESCE(IS_USED_LOCK(%s), 0)", lock))


def run_once(site: Site, db: Db, script: tuple[str, ...] = CRON, task: str = TASK) -> str:
    """Makes the task due and runs cron once: `ran`, `skipped` or `busy` (no lock after 10 s)."""
    # Cron never runs a task twice in one second, so a run of this second counts as one before it.
    db.run(
        "UPDATE mdl_task_scheduled SET nextruntime = 0,"
        " lastruntime = LEAST(lastruntime, UNIX_TIMESTAMP() - 1) WHERE classname = %s",
        task,
    )
    command = [*PHP, str(site.code / script[0]), *script[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    said = done.stdout + done.stderr
    if done.returncode == 130 and "Cannot obtain task lock" in said:
        return "busy"
    must(done.returncode == 0, f"{script[0]} ended with {done.returncode}:\n{said[-3000:]}")
    must("Scheduled task failed" not in said, f"the task failed:\n{said[-3000:]}")
    return "ran" if "Scheduled task complete" in said else "skipped"


class Cron:
    """Runs cron again and again in a thread until the block ends; counts how the runs ended."""

    def __init__(self, site: Site, seed: int) -> None:
        self._site = site
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="cron", daemon=True)
        self._fault: Exception | None = None
        self.runs: Counter[str] = Counter()

    def start(self) -> None:
        self._thread.start()

    def _loop(self) -> None:
        try:
            db = self._site.db()
            while not self._stop.is_set():
                script = self._chance.choice((CRON, CRON, CRON, BY_HAND))
                self.runs[run_once(self._site, db, script)] += 1
                self._stop.wait(self._chance.uniform(0.0, 2.5))
            db.close()
        except Exception as error:
            self._fault = error

    def stop(self) -> None:
        """Ends after the run that is under way; what went wrong in the thread is raised here."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(360)
        if self._fault is not None:
            raise ProofError(f"cron: {self._fault}") from self._fault
