"""A site that was down for half a day: results came meanwhile, by the queue alone."""

import random
import time
from http import HTTPStatus

import boto3

from sidecar.demo.ses_door import Refusal
from sidecar.message import RESULT, SigningKey, parse_envelope, seal
from tests.e2e.aws import AwsWorld
from tests.e2e.world import World
from tests.support.wait import wait_for

MAILS, BATCH = 100, 4
DOWN = 12 * 3600
NO_MAILBOX = Refusal(HTTPStatus.BAD_REQUEST, "MessageRejected", "no such mailbox", times=1)
THROTTLED = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequestsException", "Maximum sending rate exceeded", 1
)


def taken_out(aws: AwsWorld) -> list[str]:
    """All that is in the results queue, which is empty then."""
    sqs, url, found = boto3.client("sqs"), aws.cloud.results_queue_url, []
    while got := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in got:
            found.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def batches(world: World) -> int:
    """How many there are, once all mails are claimed."""
    claimed = sum(world.states().values()) == MAILS
    return claimed and int(world.one("SELECT COUNT(*) FROM mdl_manireports_cloud_import_batches"))


def test_a_site_that_was_down_for_twelve_hours_catches_up(aws: AwsWorld) -> None:
    world, chance = aws.world, random.Random(20261126)
    world.config = world.write_config(
        world.url, aws_endpoint_url=aws.cloud.endpoint, batch_size=BATCH
    )
    people = world.site.add_users(1, MAILS)
    world.site.queue("user_create", 1, people)
    with world.start() as daemon:
        wait_for(lambda: world.accepted() == batches(world) >= MAILS / BATCH, 90, "all at AWS")
        assert daemon.stop() == 0
    aws.cloud.door.refusals = {people[3].email: NO_MAILBOX, people[7].email: THROTTLED}
    with aws.worker(refuse=lambda _: HTTPStatus.SERVICE_UNAVAILABLE):
        wait_for(lambda: aws.told() >= MAILS / BATCH, 90, "every batch is told of")
        wait_for(lambda: aws.queued() == 0, 90, "the worker is done")
        # As if it had been so 12 hours ago: every batch is overdue as well.
        for column in ("queued_at", "first_issued_at", "next_attempt_at"):
            table = "mdl_manireports_cloud_import_batches"
            world.sql(f"UPDATE {table} SET {column} = {column} - {DOWN}")
        bodies = []
        for body in taken_out(aws):
            told = parse_envelope(body)
            key = SigningKey(told.key, aws.keys[told.key])
            bodies += [seal(RESULT, told.payload, key, told.timestamp - DOWN)] * 2
        assert len(bodies) >= 2 * MAILS / BATCH
        chance.shuffle(bodies)
        for body in bodies:
            boto3.client("sqs").send_message(QueueUrl=aws.cloud.results_queue_url, MessageBody=body)
        began = time.monotonic()
        world.drain()
    assert time.monotonic() - began < 60
    assert aws.rcpts() == {person.email: 1 for person in people if person is not people[3]}
    assert world.states() == {"sent": MAILS - 1, "permanently_failed": 1}
    (job,) = world.jobs()
    assert (job["status"], job["emails_sent"], job["emails_failed"]) == ("completed", MAILS - 1, 1)
    assert aws.ledger_difference() == 0
    outcomes = dict(
        world.sql(
            "SELECT outcome, COUNT(*) FROM mdl_manireports_cloud_callbacks GROUP BY outcome"
        ).__iter__()
    )
    assert outcomes.keys() <= {"applied", "nothing_new"}
    assert outcomes["applied"] >= MAILS / BATCH
