"""Moodle changes its mind between claim and send; cron drains the same queue."""

import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from sqlalchemy import inspect

from sidecar.lifecycle import Recipient
from sidecar.versions import COMPONENT
from tests.e2e.world import COMPANY, World
from tests.faults.case import Case, Finding
from tests.faults.ledger import judge
from tests.faults.stage import Stage, finish, hold, queue
from tests.support.wait import wait_for

MOODLE_DIR = "MOODLE_DIR"
"""Names the source folder of an IOMAD, which is only read (tests/iomad)."""
ROOT = Path(__file__).parents[2]
ROWS_A_ROUND = 120
UPGRADED_AFTER = 20
"""Mails that are queued for each upgrade."""
NEWER = 2_030_010_100
"""A version of the plugin that is still to come."""

ENDINGS = {
    "user deleted": "UPDATE mdl_user SET deleted = 1 WHERE id IN :ids",
    "user suspended": "UPDATE mdl_user SET suspended = 1 WHERE id IN :ids",
}
SUSPEND_COMPANY = "UPDATE mdl_company SET suspended = 1"


def gone(name: str, stage: Stage, dose: int) -> Finding:
    """Mail is held after it was claimed; every second user goes; then it is let go."""
    finding = Finding(dose=dose)
    with stage.world() as world:
        people = queue(world, dose)
        _claimed(world, dose)
        ids = ", ".join(str(person.id) for person in people[::2])
        world.sql(ENDINGS[name].replace(":ids", f"({ids})"))
        hold(world, held=False)
        balance = finish(world)
        finding.add(balance)
        away = {person.email for person in people[::2]}
        finding.must(not away & set(world.rcpts()), "mail to somebody who is gone")
        finding.must(balance.states[Recipient.CANCELLED] == len(away), f"{balance.states}")
        finding.must(len(world.sink.messages) == dose - len(away), "the others have theirs")
    return finding


def company_suspended(stage: Stage, dose: int) -> Finding:
    """IOMAD suspends a company: the company's row and all its users."""
    finding = Finding(dose=dose)
    with stage.world() as world:
        queue(world, dose)
        _claimed(world, dose)
        world.sql(SUSPEND_COMPANY)
        world.sql("UPDATE mdl_user SET suspended = 1 WHERE id > 2")
        hold(world, held=False)
        finding.add(finish(world))
        finding.must(not world.sink.messages, "mail of a suspended company")
    return finding


def licence_removed(stage: Stage, dose: int) -> Finding:
    """IOMAD has queued that the licence is gone: both mails arrive."""
    finding = Finding(dose=dose)
    with stage.world() as world:
        people = world.site.add_users(COMPANY, dose)
        world.site.queue("license_allocated", COMPANY, people, subject="given")
        _claimed(world, dose)
        world.site.queue("license_removed", COMPANY, people, subject="taken")
        hold(world, held=False)
        finding.add(finish(world))
        counts = world.rcpts()
        finding.must(all(counts[p.email] == 2 for p in people), "both mails, or neither")
    return finding


def plugin_upgraded(stage: Stage, dose: int) -> Finding:
    """Our plugin is upgraded, as Moodle does it, again and again while mails are on their way."""
    finding = Finding()
    with stage.world() as world:
        with world.start() as daemon:
            daemon.wait_for_line("leading this site")
            for sent in range(0, dose, UPGRADED_AFTER):
                queue(world, UPGRADED_AFTER)
                wait_for(partial(_arrived, world, sent + 1), 60, "mails leave")
                _upgrade(world, finding.dose)
                finding.dose += 1
                wait_for(partial(_arrived, world, sent + UPGRADED_AFTER), 60, "the others leave")
            finding.must(daemon.stop() == 0, "the daemon has ended well")
        finding.add(finish(world))
    return finding


def _arrived(world: World, mails: int) -> bool:
    return len(world.sink.messages) >= mails


def _upgrade(world: World, number: int) -> None:
    """What admin/cli/upgrade.php does to the database: its flag, DDL on our tables, the version."""
    world.site.set_config("upgraderunning", str(int(time.time()) + 300))
    for table in inspect(world.engine).get_table_names():
        if "manireports_cloud_" in table:
            world.sql(f"ALTER TABLE {table} ADD COLUMN upgraded BIGINT NULL")
            world.sql(f"ALTER TABLE {table} DROP COLUMN upgraded")
    world.site.set_config("version", str(NEWER + number), COMPONENT)
    world.site.set_config("upgraderunning", "0")


def _claimed(world: World, mails: int) -> None:
    """All is claimed, nothing has left."""
    hold(world, held=True)
    with world.start() as daemon:
        daemon.wait_for_line("leading this site")
        wait_for(lambda: world.states().get("pending") == mails, 60, "all is claimed and held")
        assert daemon.stop() == 0
    assert not world.sink.messages
    assert judge(world, []).mails == mails


def with_cron(_stage: Stage, dose: int) -> Finding:
    """PHP cron of a real IOMAD and the sidecar drain one queue; at least ``dose`` mails."""
    folder = os.environ.get(MOODLE_DIR, "")
    assert folder, f"{MOODLE_DIR} names no IOMAD"
    rounds = max(1, -(-dose // ROWS_A_ROUND))
    done = subprocess.run(
        [sys.executable, "-m", "tests.iomad", folder, "--rounds", str(rounds), "--kills", "0"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = (done.stdout.strip().splitlines() or [""])[-1]
    finding = Finding(note=last)
    finding.must(done.returncode == 0, f"{last} {done.stderr[-500:]}")
    figures = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", last)}
    finding.dose = rounds * ROWS_A_ROUND
    finding.mails = figures.get("mails", 0)
    finding.lost, finding.doubled = figures.get("lost", 0), figures.get("twice", 0)
    return finding


CHANGES = "tests/e2e/test_give_back.py"
CASES = [
    Case("cron and sidecar drain one queue (IOMAD)", 500, with_cron, covered="tests/iomad"),
    Case("plugin upgraded under load", 500, plugin_upgraded, small=100),
    Case("user deleted after the claim", 500, partial(gone, "user deleted"), small=12),
    Case("user suspended after the claim", 500, partial(gone, "user suspended"), covered=CHANGES),
    Case("company suspended after the claim", 500, company_suspended, covered=CHANGES),
    Case("licence removed after the claim", 500, licence_removed, small=12),
]
