"""The real IOMAD's cron task on a queue of its own, as a way of sending.

The site is installed once from a source folder (tests/iomad), its database as durable as the
sidecar's.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.way import Way
from tests.iomad.cron import BY_HAND, run_once
from tests.iomad.filling import FEWEST, Filling, order
from tests.iomad.install import Site, copied, opened, prepared

ANSWERS = 8
"""For each mail a connection: FACTS §9."""

MOST = 200
"""At twenty mails a second: ten seconds."""


@contextmanager
def iomad_way(source: Path) -> Iterator[Way]:
    """IOMAD's own cron task, from a source folder of IOMAD."""
    work = Path(tempfile.gettempdir(), "manireports-benchmark-iomad")
    work.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        run = Path(folder)
        run.chmod(0o755)  # the database server runs as another user
        base = prepared(source.resolve(), work, fresh=False)
        with copied(base, run) as server:
            site = opened(base, run, server)
            _keep_one_row(site)
            yield Way(partial(send, site), ANSWERS, MOST)


def send(site: Site, port: int, rows: int) -> float:
    """Seconds of the task, PHP's start among them, for so many queued mails."""
    site.configure(smtphosts=f"127.0.0.1:{port}", noreplyaddress="noreply@iomad.example.test")
    db = site.db()
    db.run("DELETE FROM mdl_email")
    db.run(f"INSERT INTO mdl_email SELECT NULL, e.* FROM one_email e, seq_1_to_{rows}")
    started = time.perf_counter()
    said = run_once(site, db, BY_HAND)
    spent = time.perf_counter() - started
    left = int(db.value("SELECT COUNT(*) FROM mdl_email WHERE sent IS NULL"))
    db.close()
    if said != "ran" or left:
        raise SystemExit(f"IOMAD's cron task: {said}, {left} of {rows} rows are left")
    return spent


def _keep_one_row(site: Site) -> None:
    """A row of IOMAD's own making, of which a queue is made; nobody gets copies."""
    db = site.db()
    Filling(site, order(site, "bench", FEWEST, random.Random(1), 2), db).done()
    db.run(
        "CREATE TABLE one_email SELECT * FROM mdl_email WHERE templatename = 'user_create'"
        " ORDER BY id LIMIT 1"
    )
    db.run("UPDATE one_email SET due = due - 60")
    db.run("UPDATE mdl_company_users SET managertype = 0")
    db.run("DELETE FROM mdl_user_info_data")
    db.run("ALTER TABLE one_email DROP COLUMN id")
    db.close()
