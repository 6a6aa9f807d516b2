"""Everything goes wrong at once, and still every mail is at SES once and the tables say so."""

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Self

import boto3
import pytest
from sqlalchemy.exc import OperationalError

from sidecar.message import RESULT, SigningKey, parse_result, seal
from sidecar.store.inbox import Delivery
from tests.e2e.aws import AwsWorld, Stormy
from tests.e2e.test_identity import copied
from tests.support.aws_door import Break, Storm
from tests.support.mariadb import MariaDBServer
from tests.support.processes import run_sidecar
from tests.support.wait import wait_for

MAILS = int(os.environ.get("AWS_TEST_MAILS", "100"))
"""The proof of record is made with 5,000."""
FAILURES, UNCERTAIN = 0.3, 0.01
"""Of SES's sends: how many fail, and of how many of these nobody knows whether they did."""
LIFE = 4.0, 9.0
"""Seconds that a daemon leads."""
KILLS, WORKER_KILLS = MAILS // 30, min(4, MAILS // 50)
DEADLINE = 300 + MAILS
FUNCTIONS, WINDOW = 2, 30

MINUTES_PASS = (
    "UPDATE mdl_manireports_cloud_import_batches SET next_attempt_at = 0"
    " WHERE status IN ('queued', 'processing') AND id IN (SELECT batch_id FROM"
    " mdl_manireports_cloud_recipients WHERE status = 'retry_pending')"
)
"""As if it were time for each mail that is asked for again by itself."""


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
def test_a_job_survives_everything_at_once(stormy: Stormy) -> None:
    """10 % of the queue's messages come twice and 10 % late, 30 % of the sends fail, the page is
    down half of the time, the daemon is killed every few seconds, the worker now and then."""
    aws, world, chance = stormy, stormy.world, random.Random(20261124)
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
    aws.door.plan = storm = Storm(FAILURES, UNCERTAIN, 20261126)
    sqs = boto3.client("sqs")
    began, kills = time.monotonic(), 0

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
        time.sleep(0.1)
        with suppress(OperationalError):  # a deadlock with the daemon: next time
            world.sql(MINUTES_PASS)
        states = world.states()
        return sum(states.get(state, 0) for state in ("sent", "unknown", "failed")) == MAILS

    with aws.page(half) as page, Worker(aws, page.url) as worker:
        while not ended():
            assert time.monotonic() - began < DEADLINE, f"{world.states()}"
            with world.start() as daemon:
                daemon.wait_for_line("leading this site", 60)
                life = chance.uniform(*LIFE) if kills < KILLS else DEADLINE
                until = time.monotonic() + life
                wait_for(lambda at=until: ended() or time.monotonic() > at, DEADLINE, "a moment")  # type: ignore[misc]
                if kills < WORKER_KILLS:
                    worker.kill()
                daemon.kill9()
                kills += 1
        # What came late may still say more of what is unknown.
        world.drain()
    served = aws.rcpts()
    assert max(served.values()) == 1
    by_state: dict[str, set[str]] = {"sent": set(), "unknown": set()}
    for email, state in world.sql("SELECT email, status FROM mdl_manireports_cloud_recipients"):
        by_state[state].add(email)  # no other state is left
    sent, unknown = by_state["sent"], by_state["unknown"]
    assert sent <= set(served)
    assert set(served) - sent <= unknown
    assert sent | unknown == {person.email for person in people}
    uncertain = sum(storm.met[str(each)] for each in (Break.DROP, Break.LOSE))
    assert len(unknown) <= WORKER_KILLS * FUNCTIONS * WINDOW + uncertain
    assert aws.ledger_difference() == 0
    (job,) = world.jobs()
    assert (job["emails_sent"], job["emails_failed"]) == (len(sent), len(unknown))
    asked = world.one("SELECT SUM(attempt) FROM mdl_manireports_cloud_import_batches")
    print(
        f"{MAILS:,} mails in {time.monotonic() - began:.0f} s: {len(sent):,} sent,"
        f" {len(unknown)} unknown ({len(unknown & set(served))} of them at SES), none twice;"
        f" {storm.met.total():,} of {aws.door.calls['ses:SendEmail']:,} sends failed"
        f" ({uncertain} without an answer), {kills} daemons and"
        f" {min(kills, WORKER_KILLS)} workers killed, batches asked for {asked} times"
    )


def test_a_copy_of_the_site_collects_nothing(aws: AwsWorld, mariadb: MariaDBServer) -> None:
    world = aws.world
    people = world.site.add_users(1, 20)
    world.site.queue("user_create", 1, people)
    with world.start() as daemon:
        wait_for(lambda: world.accepted() == 1, 30, "all mails are queued")
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
