"""The daemon under steady work: memory, files and threads stay flat."""

import statistics
import time

import psutil

from tests.faults.case import Case, Finding
from tests.faults.ledger import judge
from tests.faults.stage import Stage, queue, quiet
from tests.support.wait import wait_for

MAILS, EVERY_SECONDS = 50, 2.0
WARM_SHARE = 4
"""The first quarter is for warming up."""
GROWTH = 1.10
"""Of memory between the second quarter and the last, in a soak that is long enough to tell."""
MORE = 5
"""Files, and threads, that may be open more: pools breathe."""
LONG_ENOUGH = 120


def play(stage: Stage, dose: int) -> Finding:
    """For ``dose`` seconds."""
    finding, seen = Finding(dose=dose), []
    with stage.world() as world, world.start() as daemon:
        daemon.wait_for_line("leading this site")
        process, until = psutil.Process(daemon.pid), time.monotonic() + dose
        while time.monotonic() < until:
            queue(world, MAILS)
            wait_for(lambda: quiet(world), 60, "all mails")
            time.sleep(EVERY_SECONDS)
            seen.append((process.memory_info().rss, process.num_fds(), process.num_threads()))
        finding.must(daemon.stop() == 0, "the daemon did not end well")
        finding.add(judge(world, world.sink.messages))
    quarter = max(1, len(seen) // WARM_SHARE)
    early, late = seen[quarter : 2 * quarter], seen[-quarter:]
    said = []
    for place, name in enumerate(("memory", "files", "threads")):
        before, after = (
            statistics.median(each[place] for each in part or seen) for part in (early, late)
        )
        allowed = before * GROWTH if name == "memory" else before + MORE
        judged = name != "memory" or dose >= LONG_ENOUGH
        finding.must(not judged or after <= allowed, f"{name} grew from {before} to {after}")
        said.append(f"{name} {before:.0f}→{after:.0f}")
    finding.note = ", ".join(said)
    return finding


CASES = [Case("soak, seconds", 1_800, play, small=5)]
