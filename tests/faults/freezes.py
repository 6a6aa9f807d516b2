"""SIGSTOP for longer than the lease, a second instance takes over, SIGCONT."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from tests.e2e.world import World
from tests.faults.case import Case, Finding
from tests.faults.ledger import judge
from tests.faults.stage import CONNECTIONS, Stage, queue, quiet
from tests.support.processes import Sidecar
from tests.support.wait import wait_for

MAILS = 100
LEASE = 2

STATES = """
SELECT r.id, r.status, r.tries, r.timemodified, r.message_id, b.status AS batch, b.attempt
FROM mdl_manireports_cloud_recipients r
JOIN mdl_manireports_cloud_import_batches b ON b.id = r.batch_id ORDER BY r.id
"""


def smtp(stage: Stage, dose: int) -> Finding:
    """At most one more copy for each open connection and freeze."""
    with stage.world(lease_seconds=LEASE) as world:
        world.sink.latency = 0.01
        finding = _play(world, dose, lambda: len(world.sink.messages))
        finding.add(judge(world, world.sink.messages), doubles=dose * CONNECTIONS)
        return finding


def aws(stage: Stage, dose: int) -> Finding:
    """No second copy at all."""
    with stage.aws(lease_seconds=LEASE, result_timeout=5, batch_size=10) as site, site.worker():
        world = site.world
        moved = partial(
            world.one,
            "SELECT COUNT(*) FROM mdl_manireports_cloud_recipients WHERE status <> 'pending'",
        )
        finding = _play(world, dose, moved)
        finding.add(judge(world, site.cloud.received()))
        return finding


def _play(world: World, dose: int, moved: Callable[[], int]) -> Finding:
    """The two take turns: who leads is frozen in the middle of its work."""
    finding = Finding()
    with _two(world) as daemons:
        leader, other = daemons
        leader.wait_for_line("leading this site")
        for number in range(dose):
            before = moved()
            queue(world, MAILS)
            goal = before + 1 + number * MAILS // (2 * dose)
            wait_for(partial(_reached, moved, goal), 60, "the first mails")
            leader.freeze()
            wait_for(partial(quiet, world), 90, "the other has done the rest")
            finding.must(_led(other) > 0, "the other never led")
            told = world.sql(STATES)
            leader.thaw()
            wait_for(partial(_says_so, leader), 30, "the frozen one sees that it leads no more")
            finding.must(world.sql(STATES) == told, f"a late write in round {number}")
            finding.dose += 1
            leader, other = other, leader
        for daemon in daemons:
            finding.must(daemon.stop() == 0, "a daemon did not end well")
    return finding


@contextmanager
def _two(world: World) -> Iterator[tuple[Sidecar, Sidecar]]:
    with ExitStack() as stack:
        first = stack.enter_context(Sidecar(world.config, log=world.tmp / "first.log"))
        first.wait_for_line("leading this site")
        second = stack.enter_context(Sidecar(world.config, log=world.tmp / "second.log"))
        second.wait_for_line("started")
        yield first, second


def _reached(moved: Callable[[], int], goal: int) -> bool:
    return moved() >= goal


def _led(daemon: Sidecar) -> int:
    return daemon.output().count("leading this site")


def _says_so(daemon: Sidecar) -> bool:
    """After its last turn as the leader it has said that it leads no more."""
    last = daemon.output().rpartition("leading this site")[2]
    return "another sidecar leads" in last or "lease" in last


CASES = [
    Case("SIGSTOP past the lease, SMTP", 30, smtp, covered="tests/e2e/test_leadership.py"),
    Case("SIGSTOP past the lease, AWS", 30, aws, covered="tests/e2e/test_aws_faults.py"),
]
