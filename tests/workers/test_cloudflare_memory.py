"""The ledger of the Worker on Cloudflare forgets, on the real runtime and with its storage on disk.

A month is shortened to seconds (MEMORY_SECONDS); all else is as it is deployed.
"""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.demo.workerd import Workerd
from sidecar.mail import MailBatch
from tests.support.wait import wait_for
from tests.workers.cloudflare import push
from tests.workers.rig import KEY, SITE, CallbackPage, checked, make_batch

MEMORY = 20
SLACK = MEMORY / 30


@pytest.fixture
def page() -> Iterator[CallbackPage]:
    with CallbackPage() as running:
        yield running


@pytest.fixture
def rig(page: CallbackPage, tmp_path: Path) -> Iterator[Workerd]:
    with Workerd(tmp_path) as made:
        keys = f"{KEY.key}:{KEY.secret}"
        more = {"MEMORY_SECONDS": str(MEMORY)}
        yield made.start(SITE, keys, f"{page.url}/callback", more=more)


def report(rig: Workerd, page: CallbackPage, batch: MailBatch) -> tuple[str, list[str]]:
    """Have a batch worked on; its status and those of its mails."""
    page.reset()
    push(rig, batch)
    wait_for(lambda: page.stored, 30, "the report")
    said = checked(page.stored[0][0])
    return said.status, [mail.status.value for mail in said.recipients]


def stored(rig: Workerd) -> list[list[tuple[str, str]]]:
    """What each object of the ledger has on disk: mails and their states."""
    found = []
    for file in (rig.storage / "worker-Ledger").glob("*.sqlite"):
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as conn:
            tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master")}
            if "mails" in tables:
                found.append(conn.execute("SELECT k, s FROM mails ORDER BY k").fetchall())
    return found


def test_what_nobody_touches_is_forgotten_and_a_touch_renews(
    rig: Workerd, page: CallbackPage
) -> None:
    batch = make_batch(2)
    assert report(rig, page, batch) == ("sent", ["sent", "sent"])
    keys = sorted((mail.mail_key, "s") for mail in batch.mails)
    assert stored(rig) == [keys]
    first_alarm = time.monotonic() + MEMORY + SLACK
    time.sleep(MEMORY / 2)
    touched = time.monotonic()
    assert report(rig, page, batch) == ("sent", ["sent", "sent"])  # reported again, not sent
    time.sleep(max(0.0, first_alarm + 1 - time.monotonic()))
    still = stored(rig)
    if time.monotonic() < touched + MEMORY:  # unless this host is very busy
        assert still == [keys]
    wait_for(lambda: not stored(rig), 2 * MEMORY, "it is forgotten")
    assert time.monotonic() >= touched + MEMORY
    assert len(rig.mails()) == 2
    # What the ledger has forgotten is too old to be sent.
    assert report(rig, page, batch) == ("expired", ["failed", "failed"])
    assert len(rig.mails()) == 2


def test_a_ledger_whose_time_came_while_nothing_ran_forgets_afterwards(
    rig: Workerd, page: CallbackPage
) -> None:
    assert report(rig, page, make_batch(1)) == ("sent", ["sent"])
    rig.kill()
    time.sleep(MEMORY + SLACK)
    assert len(stored(rig)) == 1
    rig.restart()
    wait_for(lambda: not stored(rig), 30, "it is forgotten")
