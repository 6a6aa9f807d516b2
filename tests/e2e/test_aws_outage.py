"""AWS fails in the middle of a job: what moves was never sent by it, and nothing is lost."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.aws import Stormy
from tests.support.aws_door import Outage
from tests.support.processes import Sidecar
from tests.support.wait import wait_for

MAILS = int(os.environ.get("AWS_TEST_MAILS", "200"))
"""The proof of record is made with 5,000."""


def ended(aws: Stormy, *states: str) -> bool:
    found = aws.world.states()
    return sum(found.get(state, 0) for state in states) == MAILS


@contextmanager
def outage_in_the_middle(aws: Stormy, fallback: str) -> Iterator[tuple[Outage, Sidecar]]:
    """A job that AWS has partly sent when SQS goes out, and the function with it."""
    aws.world.command("company", "set", "1", "--fallback", fallback, "--max-send-rate", "1")
    aws.write_config(give_up_after=1, result_timeout=20)
    aws.world.site.queue("user_create", 1, aws.world.site.add_users(1, MAILS))
    outage = Outage("sqs")
    aws.door.plan = outage
    with aws.world.start() as daemon:
        daemon.wait_for_line("leading this site", 90)
        with aws.worker():
            wait_for(lambda: len(aws.rcpts()) >= MAILS // 6, 240, "a part is sent")
        outage.on = True
        # What waits for the worker is in the queue; the rest of the job has not left.
        aws.world.command("company", "set", "1", "--max-send-rate", "0")
        try:
            yield outage, daemon
        except AssertionError as error:
            raise AssertionError(f"{aws.world.states()}\n{daemon.output()}") from error
        assert daemon.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("fallback", ["moodle", "smtp", "hold"])
def test_an_outage_in_the_middle_of_a_job(stormy: Stormy, fallback: str) -> None:
    aws, world = stormy, stormy.world
    with outage_in_the_middle(aws, fallback) as (outage, daemon):
        before = set(aws.rcpts())
        if fallback == "moodle":
            wait_for(lambda: ended(aws, "sent", "returned"), 240, "the rest is Moodle's")
        elif fallback == "smtp":
            wait_for(lambda: ended(aws, "sent"), 240, "the rest went by SMTP")
        else:
            daemon.wait_for_line("job 1 batch", 120)
            assert not world.rcpts()
        outage.on = False
        with aws.worker():
            if fallback == "hold":
                wait_for(lambda: ended(aws, "sent"), 400, "AWS is back: all is sent")
            else:
                # The worker looks at what was in the queue all the time: it was taken back.
                wait_for(lambda: aws.queued() == 0, 240, "the queue is empty")
    by_aws, by_smtp = aws.rcpts(), world.rcpts()
    assert before <= set(by_aws)
    assert max(by_aws.values()) == 1
    assert max(by_smtp.values(), default=1) == 1
    assert not by_aws.keys() & by_smtp.keys()
    assert world.unsent() == MAILS - len(by_aws) - len(by_smtp)
    if fallback != "moodle":
        assert world.unsent() == 0
    else:
        assert world.states() == {"sent": len(by_aws), "returned": world.unsent()}
    assert aws.ledger_difference() == 0
