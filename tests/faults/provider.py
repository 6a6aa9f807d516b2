"""AWS is ill: 30 % of all calls fail in every way, for minutes; keys are wrong, then rotated."""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

from sqlalchemy.exc import OperationalError

from sidecar.demo.cloud import changed_environment, cloud
from sidecar.demo.lambda_loop import Handler, LambdaLoop, load_handler
from sidecar.store.database import Database
from tests.e2e.aws import Stormy
from tests.faults.case import Case, Finding
from tests.faults.ledger import judge
from tests.faults.stage import Stage, queue, quiet
from tests.support.aws_door import OUT, THROTTLED, AwsDoor, Break, Call, Refuse, Trouble
from tests.support.wait import wait_for

SHARE, UNCERTAIN, HANGS = 0.3, 0.02, 0.005
HANG_SECONDS = 2.0
MAILS, EVERY_SECONDS = 30, 5.0
SERVICES = {"sqs", "dynamodb", "ses"}
WRONG = Refuse(403, "InvalidClientTokenId", "The security token included in the request is invalid")

DUE = """
UPDATE mdl_manireports_cloud_import_batches SET next_attempt_at = 0
WHERE status IN ('queued', 'processing') AND id IN
  (SELECT batch_id FROM mdl_manireports_cloud_recipients WHERE status = 'retry_pending')
"""
"""As if the minutes had passed after which a provider is asked again."""


class Hasty(Stormy):
    """Its worker puts back for seconds what the real one puts back for minutes."""

    @contextmanager
    def hasty_worker(self, *, repeats: int) -> Iterator[None]:
        """The worker and the callback page at work."""

        def hasty() -> Handler:
            made = load_handler()
            made.__globals__["DELAYS"] = (1, 1, 2)
            return made

        with self.page() as page:
            environment = self.cloud.worker_environment(self.site_uid, self.pairs, page.url)
            with changed_environment(environment):
                loop = LambdaLoop(self.cloud.queue_url, hasty, functions=2, repeats=repeats)
                with closing(loop):
                    yield


class Illness:
    """A plan: 30 % of the calls of every service meet trouble while ``on``."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.on = True
        self.met: Counter[str] = Counter()
        self.uncertain = 0

    def __call__(self, call: Call) -> Trouble:
        """``aws_door.Plan``."""
        if not self.on or call.service not in SERVICES or self._chance.random() > SHARE:
            return None
        trouble = self._trouble(call)
        self.met[str(trouble)] += 1
        return trouble

    def _trouble(self, call: Call) -> Trouble:
        if self._chance.random() < HANGS / SHARE:
            time.sleep(HANG_SECONDS)  # and every other call waits behind it
        if call.action == "SendMessageBatch":
            ways: list[Trouble] = [OUT, THROTTLED, Break.HALF, Break.DROP]
            return self._chance.choice(ways)
        if call.action == "SendEmail" and self._chance.random() < UNCERTAIN / SHARE:
            self.uncertain += 1
            return self._chance.choice([Break.DROP, Break.LOSE])
        return self._chance.choice([OUT, THROTTLED])


@contextmanager
def _site(stage: Stage) -> Iterator[Hasty]:
    with (
        stage.world() as world,
        cloud("learn.example.test") as running,
        closing(AwsDoor(running.endpoint)) as door,
        closing(Database(world.url, "mdl_")) as database,
    ):
        made = Hasty(world, running, database)
        made.door = door
        made.write_config()
        made.enable()
        made.write_config(lease_seconds=2, min_age=0.1, result_timeout=20)
        through = {"AWS_ENDPOINT_URL": door.url, "AWS_ENDPOINT_URL_SESV2": door.url}
        with changed_environment(through):
            yield made


def ill(stage: Stage, dose: int) -> Finding:
    """For ``dose`` minutes; then AWS is well again, and all ends."""
    finding, illness = Finding(dose=dose), Illness(dose)
    with _site(stage) as aws:
        world = aws.world
        aws.door.plan = illness
        with aws.hasty_worker(repeats=2), world.start() as daemon:
            until = time.monotonic() + 60 * dose
            while time.monotonic() < until:
                queue(world, MAILS)
                time.sleep(EVERY_SECONDS)
            illness.on = False

            def ended() -> bool:
                with contextlib.suppress(OperationalError):  # a deadlock with the daemon
                    world.sql(DUE)
                return quiet(world)

            wait_for(ended, 900, "all mails end when AWS is well")
            finding.must(daemon.stop() == 0, "the daemon did not end well")
        # An uncertain send takes with it what of its window the worker had claimed.
        finding.add(judge(world, aws.cloud.received()), unknown=10 * illness.uncertain)
        finding.must(aws.ledger_difference() == 0, "the ledger equation does not hold")
        finding.note = f"{illness.met.total()} calls failed, {illness.uncertain} of them uncertain"
    return finding


def keys(stage: Stage, dose: int) -> Finding:
    """Each time AWS refuses our key until the admin gives another one."""
    finding = Finding()
    with _site(stage) as aws:
        world = aws.world
        illness = {"on": False}
        aws.door.plan = lambda call: WRONG if illness["on"] and call.service == "sqs" else None
        with world.start() as daemon:
            daemon.wait_for_line("leading this site", 60)
            for number in range(dose):
                illness["on"] = True
                queue(world, MAILS)
                said = daemon.output().count("waits")
                wait_for(lambda said=said: daemon.output().count("waits") > said, 60, "refused")  # type: ignore[misc]
                illness["on"] = False
                aws.enable()  # the same command gives a new key, which the worker gets too
                with aws.hasty_worker(repeats=0):
                    wait_for(lambda: quiet(world), 60, f"all mails of round {number}")
                finding.dose += 1
            finding.must(daemon.stop() == 0, "the daemon did not end well")
        finding.add(judge(world, aws.cloud.received()))
    return finding


CASES = [
    Case("AWS: 30 % of all calls fail, minutes", 10, ill, covered="tests/e2e/test_aws_outage.py"),
    Case("AWS: wrong keys, then rotated", 10, keys, covered="tests/connectors/test_aws_faults.py"),
]
