"""The host's clock jumps, changes to summer time and back, or is not the database's."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.e2e.test_clock import LIBRARY
from tests.faults.case import Case, Finding
from tests.faults.ledger import judge
from tests.faults.stage import GROUP, Stage, queue
from tests.support.processes import Sidecar
from tests.support.wait import wait_for

JUMPS = ("+15m", "-15m", "-1h")
"""While the daemon runs."""

APART = {
    "database clock 20 min behind the host's": {"FAKETIME": "+20m"},
    "summer time begins": {"TZ": "Europe/Berlin", "FAKETIME": "@2026-03-29 01:59:52"},
    "summer time ends": {"TZ": "Europe/Berlin", "FAKETIME": "@2026-10-25 02:59:52"},
}
"""From its start; the last two are also months away from the database's clock."""


def play(stage: Stage, dose: int) -> Finding:
    """No early mail, none twice, no claim that is stuck."""
    finding = Finding()
    assert LIBRARY, "libfaketime is missing: scripts/test.sh installs it"
    for name in [*JUMPS, *APART][:dose]:
        _one(stage, finding, name, LIBRARY)
    return finding


def _one(stage: Stage, finding: Finding, name: str, library: Path) -> None:
    with stage.world(lease_seconds=3) as world:
        offset = world.tmp / "offset"
        offset.write_text("+0\n")
        jumps = {"FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
        common = {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        later = int(time.time()) + 600
        queue(world, GROUP, due=later)
        with Sidecar(world.config, env=common | APART.get(name, jumps)) as daemon:
            daemon.wait_for_line("leading this site")
            queue(world, GROUP)
            wait_for(partial(_sent, world.sink.messages, GROUP), 60, "the first mails")
            if name in JUMPS:
                offset.write_text(f"{name}\n")
                daemon.wait_for_line("the clock was set by")
            else:
                time.sleep(10)  # over the change
            queue(world, GROUP)
            wait_for(partial(_sent, world.sink.messages, 2 * GROUP), 60, "mails after it")
            wait_for(lambda: world.states().get("sent") == 2 * GROUP, 30, "all is recorded")
            finding.must(daemon.stop() == 0, f"{name}: the daemon did not end well")
        balance = judge(world, world.sink.messages)
        finding.must(balance.moodles == GROUP, f"{name}: {balance.moodles} early mails are left")
        finding.add(balance)
        finding.dose += 1


def _sent(messages: Sequence[object], number: int) -> bool:
    return len(messages) >= number


CASES = [Case("clocks jump, differ, change", 6, play, covered="tests/e2e/test_clock.py")]
