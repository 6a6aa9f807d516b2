"""The AWS way from end to end: what SES received, and what the tables say of it."""

import json
from http import HTTPStatus

import boto3
import pytest

from sidecar.demo.ses_door import Refusal
from tests.e2e.aws import AwsWorld
from tests.support.wait import wait_for

NO_MAILBOX = Refusal(HTTPStatus.BAD_REQUEST, "MessageRejected", "no such mailbox", times=1)
THROTTLED = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequestsException", "Maximum sending rate exceeded", 1
)


def test_a_job_goes_through_queue_worker_ses_and_callback(aws: AwsWorld) -> None:
    people = aws.world.site.add_users(1, 250)
    aws.world.site.queue("user_create", 1, people)
    aws.cloud.door.refusals = {people[3].email: NO_MAILBOX, people[7].email: THROTTLED}
    with aws.worker(repeats=1):
        aws.world.drain()
    served = {person.email: 1 for person in people if person is not people[3]}
    assert aws.rcpts() == served
    (job,) = aws.world.jobs()
    assert job["status"] == "completed"
    assert (job["provider"], job["emails_sent"], job["emails_failed"]) == ("aws", 249, 1)
    shown = json.loads(aws.world.command("job", str(job["id"]), "--json"))
    (failed,) = shown["recipients"]
    assert (failed["email"], failed["status"]) == (people[3].email, "permanently_failed")
    assert "no such mailbox" in failed["error_message"]
    assert aws.ledger_difference() == 0
    assert aws.queued() == 0
    states = aws.world.sql("SELECT DISTINCT outcome FROM mdl_manireports_cloud_callbacks")
    assert {row[0] for row in states} <= {"applied", "nothing_new"}


def test_results_come_by_queue_when_the_page_does_not_answer(aws: AwsWorld) -> None:
    people = aws.world.site.add_users(1, 60)
    aws.world.site.queue("user_create", 1, people)
    with aws.worker(refuse=lambda _delivery: HTTPStatus.SERVICE_UNAVAILABLE):
        aws.world.drain()
    assert aws.rcpts() == {person.email: 1 for person in people}
    assert aws.world.states() == {"sent": 60}
    left = boto3.client("sqs").get_queue_attributes(
        QueueUrl=aws.cloud.results_queue_url, AttributeNames=["All"]
    )["Attributes"]
    assert left["ApproximateNumberOfMessages"] == "0"
    assert left["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_a_silent_provider_is_asked_three_times_then_nobody_knows(aws: AwsWorld) -> None:
    world = aws.world
    world.config = world.write_config(
        world.url, aws_endpoint_url=aws.cloud.endpoint, result_timeout=1
    )
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    sqs = boto3.client("sqs")
    swallowed = 0
    with world.start() as daemon:

        def swallow() -> bool:
            nonlocal swallowed
            answer = sqs.receive_message(QueueUrl=aws.cloud.queue_url, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                swallowed += 1
                sqs.delete_message(
                    QueueUrl=aws.cloud.queue_url, ReceiptHandle=message["ReceiptHandle"]
                )
            return world.states() == {"unknown": 12}

        wait_for(swallow, 60, "all mails are unknown")
        assert daemon.stop() == 0
    assert swallowed == 3
    (job,) = world.jobs()
    assert job["status"] == "failed"
    assert world.command("resolve", str(job["id"]), "--unknown", "sent")
    assert world.jobs()[0]["status"] == "completed"


def test_failed_mails_are_sent_again_as_a_job_of_their_own(aws: AwsWorld) -> None:
    people = aws.world.site.add_users(1, 20)
    aws.world.site.queue("user_create", 1, people)
    aws.cloud.door.refusals = {people[5].email: NO_MAILBOX}
    with aws.worker():
        aws.world.drain()
        (job,) = aws.world.jobs()
        assert (job["emails_sent"], job["emails_failed"]) == (19, 1)
        assert "as job 2" in aws.world.command("retry", str(job["id"]), "--permanent")
        assert aws.world.jobs()[1]["status"] == "manual_retry"
        aws.world.drain()
    assert aws.rcpts() == {person.email: 1 for person in people}
    child, parent = aws.world.jobs()
    assert (child["status"], child["emails_sent"]) == ("completed", 1)
    assert child["parent_job_id"] == parent["id"]
    assert (parent["status"], parent["emails_sent"], parent["emails_failed"]) == (
        "completed",
        20,
        0,
    )
    assert aws.ledger_difference() == 0


def test_cancelled_mails_are_taken_back_from_the_queue(aws: AwsWorld) -> None:
    people = aws.world.site.add_users(1, 30)
    aws.world.site.queue("user_create", 1, people)
    with aws.world.start() as daemon:
        wait_for(lambda: aws.world.states() == {"processing": 30}, 30, "all mails are queued")
        assert "30 mails cancelled" in aws.world.command("cancel", "1")
        assert daemon.stop() == 0
    with aws.worker():
        wait_for(lambda: aws.queued() == 0, 30, "the worker has looked at all")
        aws.world.drain()
    assert not aws.rcpts()
    assert aws.world.states() == {"cancelled": 30}
    assert aws.world.jobs()[0]["status"] == "cancelled"


def test_released_mails_are_moodles_again_and_the_worker_leaves_them(aws: AwsWorld) -> None:
    people = aws.world.site.add_users(1, 30)
    aws.world.site.queue("user_create", 1, people)
    with aws.world.start() as daemon:
        wait_for(lambda: aws.world.states() == {"processing": 30}, 30, "all mails are queued")
        assert "30 mails handed back" in aws.world.command("release", "1")
        assert daemon.stop() == 0
    with aws.worker():
        wait_for(lambda: aws.queued() == 0, 30, "the worker has looked at all")
        aws.world.drain()
    assert not aws.rcpts()
    assert aws.world.states() == {"returned": 30}
    assert aws.world.unsent() == 30


def test_a_mail_too_large_for_the_queue_stays_with_moodle(aws: AwsWorld) -> None:
    people = aws.world.site.add_users(1, 12)
    noise = "".join(chr(0x4E00 + (n * 7919) % 20000) for n in range(700_000))
    aws.world.site.queue(
        "user_create", 1, people, body=lambda p: noise if p is people[4] else f"<p>{p.email}</p>"
    )
    with aws.worker():
        aws.world.drain()
    assert aws.rcpts() == {p.email: 1 for p in people if p is not people[4]}
    assert aws.world.states() == {"returned": 1, "sent": 11}
    assert aws.world.unsent() == 1
    assert "too large for aws: Moodle sends it" in aws.world.command("job", "1")


def test_a_mail_too_large_goes_by_smtp_if_the_company_says_so(aws: AwsWorld) -> None:
    people = aws.world.site.add_users(1, 12)
    noise = "".join(chr(0x4E00 + (n * 7919) % 20000) for n in range(700_000))
    aws.world.site.queue(
        "user_create", 1, people, body=lambda p: noise if p is people[4] else f"<p>{p.email}</p>"
    )
    aws.world.command("company", "set", "1", "--fallback", "smtp")
    with aws.worker():
        aws.world.drain()
    assert aws.rcpts() == {p.email: 1 for p in people if p is not people[4]}
    assert aws.world.rcpts() == {people[4].email: 1}
    assert aws.world.states() == {"sent": 12}


def test_a_company_whose_queue_is_gone_waits_and_the_others_go_on(aws: AwsWorld) -> None:
    world = aws.world
    world.site.add_company(2, "Beta Learning")
    aws.enable(2, queue_url=f"{aws.cloud.endpoint}/123456789012/no-such-queue")
    ours, theirs = world.site.add_users(1, 20), world.site.add_users(2, 20)
    world.site.queue("user_create", 1, ours)
    world.site.queue("user_create", 2, theirs)
    with aws.worker(), world.start() as daemon:
        wait_for(lambda: world.states().get("sent") == 20, 60, "the others' mails")
        line = daemon.wait_for_line("waits")
        assert "queue" in line
        assert daemon.stop() == 0
    assert aws.rcpts() == {person.email: 1 for person in ours}
    assert world.states() == {"sent": 20, "pending": 20}
    told = world.command("check", ok=False)
    assert "company 2" in told
    assert "no-such-queue" in told or "there is no" in told
    waiting = next(job for job in world.jobs() if job["company_id"] == 2)
    assert "queue" in world.command("job", str(waiting["id"]))


@pytest.mark.parametrize("mend", ["another queue", "another provider"])
def test_what_was_refused_for_good_is_tried_as_soon_as_it_is_set_up_anew(
    aws: AwsWorld, mend: str
) -> None:
    """Without that it waits for five minutes."""
    world = aws.world
    aws.enable(1, queue_url=f"{aws.cloud.endpoint}/123456789012/no-such-queue")
    people = world.site.add_users(1, 12)
    world.site.queue("user_create", 1, people)
    with world.start() as daemon:
        daemon.wait_for_line("waits 300 s")
        if mend == "another queue":
            aws.enable(1)
        else:
            world.command("company", "set", "1", "--provider", "smtp")
        with aws.worker():
            wait_for(lambda: world.states() == {"sent": 12}, 60, "all are sent")
        assert daemon.stop() == 0
    there = aws.rcpts() if mend == "another queue" else world.rcpts()
    assert there == {person.email: 1 for person in people}


def test_a_pause_takes_back_what_waits_at_the_provider(aws: AwsWorld) -> None:
    people = aws.world.site.add_users(1, 12)
    aws.world.site.queue("user_create", 1, people)
    with aws.world.start() as daemon:
        wait_for(lambda: aws.world.accepted() == 1, 60, "the batch is queued")
        shown = aws.world.command("pause", "company", "1")
        assert "12 mails wait here" in shown
        assert "12 of them were taken back" in shown
        with aws.worker():
            wait_for(lambda: not aws.queued(), 60, "the worker has seen the batch")
            assert not aws.rcpts()
            aws.world.command("resume", "company", "1")
            wait_for(lambda: aws.world.states() == {"sent": 12}, 60, "all are sent")
        assert daemon.stop() == 0
    assert aws.rcpts() == {person.email: 1 for person in people}


def test_no_log_holds_a_password_or_a_key(aws: AwsWorld) -> None:
    people = aws.world.site.add_users(1, 15)
    aws.world.site.queue("user_create", 1, people, body="<p>Password: hunter2-very-secret</p>")
    with aws.worker(), aws.world.start() as daemon:
        wait_for(lambda: aws.world.states() == {"sent": 15}, 60, "all mails")
        assert daemon.stop() == 0
        log = daemon.log.read_text()
    secrets = [*aws.keys.values(), "demo-secret-key", "hunter2-very-secret"]
    assert not [secret for secret in secrets if secret in log]
    stored = aws.world.sql("SELECT * FROM mdl_manireports_cloud_company_settings")
    stored += aws.world.sql("SELECT * FROM mdl_manireports_cloud_callbacks")
    stored += aws.world.sql("SELECT * FROM mdl_manireports_cloud_recipients")
    assert not [secret for secret in secrets if secret in str(stored)]


def test_a_repeating_job_cannot_be_released_and_loses_nothing_by_trying(aws: AwsWorld) -> None:
    people = aws.world.site.add_users(1, 12)
    aws.world.site.queue("user_create", 1, people)
    aws.cloud.door.refusals = {people[5].email: NO_MAILBOX}
    with aws.worker():
        aws.world.drain()
    aws.world.command("retry", "1", "--permanent")
    with aws.world.start() as daemon:
        wait_for(lambda: aws.world.states().get("processing") == 1, 30, "it is queued again")
        assert not aws.world.command("release", "2", ok=False)
        held = aws.world.command("pause", "job", "2")
        assert "1 mails stay with the provider: repeated mails cannot" in held
        aws.world.command("resume", "job", "2")
        assert daemon.stop() == 0
    with aws.worker():
        aws.world.drain()
    assert aws.rcpts() == {person.email: 1 for person in people}
