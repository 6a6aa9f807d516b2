"""SIGKILL: at each named step, and at random moments with a restart at once."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from sidecar.demo.sink import Received
from tests.e2e.world import World
from tests.faults.case import Case, Finding
from tests.faults.points import POINTS, program
from tests.faults.stage import CONNECTIONS, GROUP, Stage, finish, hold, queue
from tests.support.processes import Sidecar
from tests.support.wait import wait_for

AT_A_PROVIDER = {
    "submitted before record", "callback stored", "half settled", "settled before counters",
}  # fmt: skip
"""Steps that only a mail of a provider passes; they are played on AWS."""

DOUBLING = "after 250 before commit"
"""The one step after which a mail may arrive twice."""

ONCE = {"locked", "claimed before commit", "claimed after commit", *AT_A_PROVIDER}
"""Steps that new mail passes once; the others are passed a random number of times."""

ALONE = {"SMTP before DATA": {"smtp_connections": 1, "smtp_max_connections": 1}}
"""Beside this step another connection could be after its 250."""

HELD = {"peeked", "locked", "claimed before commit", "claimed after commit"}
"""Steps that are played with the company's mail on hold, so that nothing is under way meanwhile."""

MAILS_A_KILL = 100
LIFE_SECONDS = 4.0
"""The longest life, from when the daemon leads."""

MOST_PASSES = 3
DEATH_SECONDS = 120.0
SIGKILLED = -9


def at_step(name: str) -> Callable[[Stage, int], Finding]:
    """The play that kills at a step, each time with new mail in the queue."""

    def play(stage: Stage, dose: int) -> Finding:
        with _site(stage, name) as (world, received):
            if name in HELD:
                hold(world, held=True)
            finding = _kill(world, name, dose)
            if name in HELD:
                finding.must(not received(), "a mail left although it was on hold")
                hold(world, held=False)
            allowed = dose * CONNECTIONS if name == DOUBLING else 0
            finding.add(finish(world, received, 300), doubles=allowed)
            return finding

    return play


@contextmanager
def _site(stage: Stage, name: str) -> Iterator[tuple[World, Callable[[], Sequence[Received]]]]:
    if name in AT_A_PROVIDER:
        with stage.aws(result_timeout=20) as aws, aws.worker():
            yield aws.world, aws.cloud.received
    else:
        with stage.world(**ALONE.get(name, {})) as world:
            yield world, lambda: world.sink.messages


def _kill(world: World, name: str, dose: int) -> Finding:
    chance, finding = random.Random(name), Finding()
    for number in range(dose):
        queue(world, GROUP)
        passes = 0 if name in ONCE else chance.randrange(MOST_PASSES)
        log = world.tmp / f"kill{number}.log"
        with Sidecar(world.config, program=program(name, passes), log=log) as daemon:
            assert daemon.wait(DEATH_SECONDS) == SIGKILLED, daemon.output()[-2000:]
        finding.dose += 1
    return finding


def mid_sending_smtp(stage: Stage, dose: int) -> Finding:
    """A hundred mails a kill; each kill comes while connections are sending as fast as they can."""
    mails = MAILS_A_KILL * dose
    with stage.world() as world:
        queue(world, mails)
        finding = Finding()
        for _ in _lives(world, dose, lambda: len(world.sink.messages), mails):
            finding.dose += 1
        finding.add(finish(world, deadline=600), doubles=dose * CONNECTIONS)
        return _with_rate(finding)


def mid_sending_aws(stage: Stage, dose: int) -> Finding:
    """The same with the real worker on moto's SQS, DynamoDB and SES."""
    mails = MAILS_A_KILL * dose
    with stage.aws(result_timeout=20, batch_size=50) as aws, aws.worker():
        queue(aws.world, mails)
        finding = Finding()
        submitted = partial(
            aws.world.one,
            "SELECT COUNT(*) FROM mdl_manireports_cloud_recipients WHERE status <> 'pending'",
        )
        for _ in _lives(aws.world, dose, submitted, mails):
            finding.dose += 1
        balance = finish(aws.world, aws.cloud.received, 900)
        finding.add(balance, unknown=balance.mails)  # they are listed
        return _with_rate(finding)


def any_moment_smtp(stage: Stage, dose: int) -> Finding:
    """A hundred mails a kill, queued at a random moment of a life that ends at a random moment."""
    finding, chance = Finding(), random.Random(dose)
    with stage.world() as world:
        for number in range(dose):
            with Sidecar(world.config, log=world.tmp / f"life{number % 5}.log") as daemon:
                daemon.wait_for_line("leading this site", 120)
                life = chance.uniform(0, LIFE_SECONDS)
                fill = chance.uniform(0, life)
                time.sleep(fill)
                queue(world, MAILS_A_KILL)
                time.sleep(max(0.0, life - fill))
            finding.dose += 1
        finding.add(finish(world, deadline=600), doubles=dose // 2)
        return _with_rate(finding)


def _with_rate(finding: Finding) -> Finding:
    finding.note = f"{finding.doubled / max(1, finding.dose):.2f} duplicates a kill"
    return finding


def _lives(world: World, dose: int, done: Callable[[], int], mails: int) -> Iterator[Sidecar]:
    """A daemon after the other, each killed when it has done its random part of the mails."""
    chance = random.Random(dose)
    for number in range(dose):
        log = world.tmp / f"life{number % 5}.log"
        left = mails - done()
        part = chance.randint(0, 2 * max(1, left // (dose - number)))
        with Sidecar(world.config, log=log) as daemon:
            goal = min(mails, done() + part)
            wait_for(partial(_reached, daemon, done, goal), 120, f"{goal} of {mails} mails")
            time.sleep(chance.uniform(0, 0.05))
            yield daemon


def _reached(daemon: Sidecar, done: Callable[[], int], goal: int) -> bool:
    assert daemon.alive(), daemon.output()[-2000:]
    return done() >= goal


LEADERSHIP = "tests/e2e/test_leadership.py"
AWS_FAULTS = "tests/e2e/test_aws_faults.py"
SMALL = {"claimed after commit": 1}
COVERED = {
    name: "" if name in SMALL else AWS_FAULTS if name in AT_A_PROVIDER else LEADERSHIP
    for name in POINTS
}

CASES = [
    *(
        Case(f"SIGKILL: {name}", 50, at_step(name), SMALL.get(name, 0), covered)
        for name, covered in COVERED.items()
    ),
    Case("SIGKILL at random, SMTP", 200, any_moment_smtp, covered=LEADERSHIP),
    Case("SIGKILL while sending, SMTP", 200, mid_sending_smtp, covered=LEADERSHIP),
    Case("SIGKILL while sending, AWS", 200, mid_sending_aws, covered=AWS_FAULTS),
]
