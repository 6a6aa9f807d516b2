"""A copy of the site beside the original; an older dump restored, so that ids recur."""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus

from sidecar.demo.sink import Received
from tests.e2e.test_identity import copied
from tests.e2e.world import World
from tests.faults.case import Case, Finding
from tests.faults.ledger import judge
from tests.faults.stage import GROUP, Stage, finish, queue, quiet
from tests.support.wait import wait_for

MOVING = ("email", "manireports_cloud_recipients", "manireports_cloud_callbacks")


def clone_smtp(stage: Stage, dose: int) -> Finding:
    """Both run; every mail comes from the original."""
    with stage.world() as world:
        finding = Finding()
        for number in range(dose):
            queue(world, GROUP)
            _beside(stage, world, number, finding)
        finding.add(finish(world))
        return finding


def clone_aws(stage: Stage, dose: int) -> Finding:
    """Results wait in the queue that both know: the copy takes none."""
    with stage.aws() as aws, aws.worker(refuse=_busy):
        finding, world = Finding(), aws.world
        for number in range(dose):
            queue(world, GROUP)
            _beside(stage, world, number, finding, aws.cloud.endpoint)
        finding.add(finish(world, aws.cloud.received))
        return finding


def _busy(_: object) -> HTTPStatus:
    return HTTPStatus.SERVICE_UNAVAILABLE


def _beside(stage: Stage, world: World, number: int, finding: Finding, endpoint: str = "") -> None:
    """In every second round the whole state directory was copied too."""
    name = f"{world.engine.url.database}copy{number}"
    copy = copied(world, stage.server, name, state=bool(number % 2))
    copy.config = world.write_config(
        copy.url, name="copy", aws_endpoint_url=endpoint, lease_seconds=2, min_age=0.1
    )
    before = _checksums(stage, name)
    with copy.start() as stranger:
        stranger.wait_for_line("standing still")
        with world.start() as original:
            original.wait_for_line("leading this site")
            wait_for(partial(quiet, world), 60, "the original has sent all")
            finding.must(original.stop() == 0, "the original did not end well")
        finding.must(stranger.stop() == 0, "the copy did not end well")
    finding.must(_checksums(stage, name) == before, f"the copy wrote something in round {number}")
    finding.dose += 1
    stage.server.drop_database(name)
    shutil.rmtree(world.tmp / "copy-state", ignore_errors=True)


def _checksums(stage: Stage, name: str) -> list[tuple[object, ...]]:
    tables = ", ".join(f"mdl_{table}" for table in MOVING)
    return stage.server.execute(f"CHECKSUM TABLE {tables}", database=name)


def dump_smtp(stage: Stage, dose: int) -> Finding:
    """After the restore the same ids are given again, to other mails."""
    with stage.world() as world:
        return _restore(stage, world, dose, lambda: world.sink.messages)


def dump_aws(stage: Stage, dose: int) -> Finding:
    """The same where a ledger at the provider remembers what was sent."""
    with stage.aws() as aws, aws.worker():
        return _restore(stage, aws.world, dose, aws.cloud.received)


def _restore(
    stage: Stage, world: World, dose: int, received: Callable[[], Sequence[Received]]
) -> Finding:
    finding, name = Finding(), world.engine.url.database or ""
    dump = f"{name}dump"
    stage.server.clone_database(name, dump)
    ids: set[tuple[int, ...]] = set()
    for _ in range(dose + 1):
        already = len(received())
        queue(world, GROUP)
        finish(world, received)
        finding.add(judge(world, received()[already:]))
        rows = world.sql("SELECT id FROM mdl_manireports_cloud_recipients ORDER BY id")
        ids.add(tuple(row.id for row in rows))
        world.engine.dispose()
        world.site.engine.dispose()
        stage.server.drop_database(name)
        stage.server.clone_database(dump, name)
    finding.must(len(ids) == 1, f"the ids do not recur: {ids}")
    finding.dose = dose
    stage.server.drop_database(dump)
    return finding


CASES = [
    Case("clone beside the original, SMTP", 10, clone_smtp, covered="tests/e2e/test_identity.py"),
    Case("clone beside the original, AWS", 10, clone_aws, covered="tests/e2e/test_aws_faults.py"),
    Case("older dump restored, SMTP", 10, dump_smtp, covered="tests/e2e/test_aws_faults.py"),
    Case("older dump restored, AWS", 10, dump_aws, covered="tests/e2e/test_aws_faults.py"),
]
