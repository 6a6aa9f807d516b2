"""Everything goes wrong at once, and still every mail is at SES once and the tables say so."""

import os
import random
import subprocess
import sys
import time
from http import HTTPStatus
from typing import Self

import boto3
import pytest

from sidecar.message import RESULT, SigningKey, parse_result, seal
from sidecar.store.inbox import Delivery
from tests.e2e.aws import AwsWorld
from tests.e2e.test_identity import copied
from tests.support.mariadb import MariaDBServer
from tests.support.processes import run_sidecar
from tests.support.wait import wait_for

MAILS, KILLS = 2000, 5
FUNCTIONS, WINDOW = 2, 10


class Worker:
    """The worker as a process, started anew after each kill."""

    def __init__(self, aws: AwsWorld, url: str) -> None:
        environment = aws.cloud.worker_environment(aws.site_uid, aws.pairs, url)
        self._environment = os.environ | environment
        self._queue_url = aws.cloud.queue_url
        self._log = (aws.world.tmp / "worker.log").open("ab")
        self._starts = 0
        self._process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def kill(self) -> None:
        """SIGKILL, in whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self._starts += 1
        command = [sys.executable, "-m", "tests.e2e.lambda_process"]
        return subprocess.Popen(
            [*command, self._queue_url, str(self._starts)],
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )


@pytest.mark.slow
def test_a_job_survives_kills_doubles_delays_and_a_page_that_is_down_half_the_time(
    aws: AwsWorld,
) -> None:
    world, chance = aws.world, random.Random(20261124)
    # A daemon that is killed before the queue has a batch asks for it again after this time.
    world.config = world.write_config(
        world.url,
        aws_endpoint_url=aws.cloud.endpoint,
        lease_seconds=1,
        batch_size=50,
        result_timeout=20,
    )
    people = world.site.add_users(1, MAILS)
    world.site.queue("user_create", 1, people)
    sqs = boto3.client("sqs")

    def half(delivery: Delivery) -> HTTPStatus | None:
        """Down half of the time; what is taken comes once more, later, by the queue."""
        if chance.random() < 0.5:
            return HTTPStatus.SERVICE_UNAVAILABLE
        key = SigningKey(delivery.callback_key, aws.keys[delivery.callback_key])
        body = seal(RESULT, delivery.payload, key, delivery.signed_at)
        sqs.send_message(
            QueueUrl=aws.cloud.results_queue_url,
            MessageBody=body,
            DelaySeconds=chance.randint(0, 3),
        )
        return None

    def ended() -> bool:
        states = world.states()
        return sum(states.get(state, 0) for state in ("sent", "unknown")) == MAILS

    with aws.page(half) as page, Worker(aws, page.url) as worker:
        for _ in range(KILLS):
            with world.start() as daemon:
                daemon.wait_for_line("leading this site", 60)
                until = time.monotonic() + chance.uniform(1, 3)
                wait_for(lambda at=until: ended() or time.monotonic() > at, 60, "a moment")  # type: ignore[misc]
                worker.kill()
                daemon.kill9()
        with world.start() as daemon:
            wait_for(ended, 180, "every mail has ended")
            assert daemon.stop() == 0
        world.drain()
    counts = aws.rcpts()
    assert max(counts.values()) == 1
    states = dict(
        world.sql("SELECT email, status FROM mdl_manireports_cloud_recipients").__iter__()
    )
    assert {email for email, state in states.items() if state == "sent"} <= set(counts)
    unknown = {email for email, state in states.items() if state == "unknown"}
    assert set(counts) | unknown == {person.email for person in people}
    assert len(unknown) <= KILLS * FUNCTIONS * WINDOW
    assert aws.ledger_difference() == 0
    (job,) = world.jobs()
    assert (job["emails_sent"], job["emails_failed"]) == (MAILS - len(unknown), len(unknown))


def test_a_copy_of_the_site_collects_nothing(aws: AwsWorld, mariadb: MariaDBServer) -> None:
    world = aws.world
    people = world.site.add_users(1, 20)
    world.site.queue("user_create", 1, people)
    queued = "SELECT COUNT(*) FROM mdl_manireports_cloud_import_batches WHERE status = 'queued'"
    with world.start() as daemon:
        wait_for(lambda: world.one(queued) == 1, 30, "all mails are queued")
        assert daemon.stop() == 0
    with aws.worker(refuse=lambda _delivery: HTTPStatus.SERVICE_UNAVAILABLE):
        wait_for(lambda: aws.queued() == 0, 30, "the worker is done")
    copy = copied(world, mariadb, "aws_copy", state=False)
    copy.config = world.write_config(copy.url, name="copy", aws_endpoint_url=aws.cloud.endpoint)
    assert run_sidecar(copy.config, "run", "--until-idle").returncode == 1
    copy.command("adopt", "--copy")
    copy.drain()
    assert world.states() == {"processing": 20}
    world.drain()
    assert world.states() == {"sent": 20}
    assert aws.rcpts() == {person.email: 1 for person in people}
    mariadb.drop_database("aws_copy")


def test_an_older_dump_whose_ids_recur_loses_no_mail(aws: AwsWorld, mariadb: MariaDBServer) -> None:
    world, name = aws.world, aws.world.engine.url.database or ""
    mariadb.clone_database(name, "aws_dump")
    first = world.site.add_users(1, 20)
    world.site.queue("user_create", 1, first)
    reports: list[Delivery] = []
    with aws.worker(refuse=reports.append):
        world.drain()
    ids = world.sql("SELECT id FROM mdl_manireports_cloud_recipients ORDER BY id")
    world.engine.dispose()
    world.site.engine.dispose()
    mariadb.drop_database(name)
    mariadb.clone_database("aws_dump", name)
    second = world.site.add_users(1, 20)
    world.site.queue("user_create", 1, second)
    with aws.page() as page, aws.cloud.worker(aws.site_uid, aws.pairs, page.url):
        headers = {
            "x-manireports-key": reports[0].callback_key,
            "x-manireports-timestamp": str(reports[0].signed_at),
            "x-manireports-signature": reports[0].signature,
        }
        path = page.url.partition(":")[2].partition("/local")
        late = page.take(f"/local{path[2]}", headers, reports[0].payload.encode())
        assert late is HTTPStatus.ACCEPTED
        world.drain()
    assert ids == world.sql("SELECT id FROM mdl_manireports_cloud_recipients ORDER BY id")
    assert world.states() == {"sent": 20}
    assert aws.rcpts().keys() >= {person.email for person in second}
    outcomes = dict(
        world.sql("SELECT delivery_id, outcome FROM mdl_manireports_cloud_callbacks").__iter__()
    )
    assert outcomes[parse_result(reports[0].payload).delivery_id] == "unknown_batch"
    mariadb.drop_database("aws_dump")
