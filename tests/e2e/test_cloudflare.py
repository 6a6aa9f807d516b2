"""The Cloudflare way from end to end: what the e-mail service took, and what the tables say."""

import json
import time
from http import HTTPStatus
from typing import Any

import pytest

from sidecar.store.inbox import Delivery
from tests.e2e.cloudflare import CloudflareWorld
from tests.support.wait import wait_for

MAILS = 2000
WINDOW = 6


def test_a_job_goes_through_queue_worker_and_callback(cf: CloudflareWorld) -> None:
    world = cf.world
    people = world.site.add_users(1, 250)
    world.site.queue("user_create", 1, people, body=lambda p: f"<p>Größe 😀 {p.email}</p>")
    with cf.worker(repeat=True):
        cf.rig.refuse(
            [
                refusal(people[3].email, "E_RECIPIENT_SUPPRESSED", "bounced before"),
                refusal(people[7].email, "E_RATE_LIMIT_EXCEEDED", "too fast", times=1),
            ]
        )
        world.drain()
        served = {person.email: 1 for person in people if person is not people[3]}
        assert cf.rcpts() == served
        assert {mail["to"] for mail in cf.rig.mails() if f"😀 {mail['to']}" in mail["html"]} == set(
            served
        )
        told = world.command("check", ok=False)
    (job,) = world.jobs()
    assert job["status"] == "completed"
    assert (job["provider"], job["emails_sent"], job["emails_failed"]) == ("cloudflare", 249, 1)
    (failed,) = json.loads(world.command("job", str(job["id"]), "--json"))["recipients"]
    assert (failed["email"], failed["status"]) == (people[3].email, "permanently_failed")
    assert "bounced before" in failed["error_message"]
    states = world.sql("SELECT DISTINCT outcome FROM mdl_manireports_cloud_callbacks")
    assert {row[0] for row in states} <= {"applied", "nothing_new"}
    assert "worker: sends by binding" in told


def test_results_come_by_queue_while_the_page_is_down_and_each_counts_once(
    cf: CloudflareWorld,
) -> None:
    """The page refuses the first report for as long as it is tried, and takes the other two."""
    people = cf.world.site.add_users(1, 250)
    cf.world.site.queue("user_create", 1, people)
    answers = iter([HTTPStatus.SERVICE_UNAVAILABLE] * 3)
    by_page: list[str] = []

    def refuse(delivery: Delivery) -> HTTPStatus | None:
        if (answer := next(answers, None)) is None:
            by_page.append(delivery.delivery_id)
        return answer

    with cf.worker(refuse=refuse):
        cf.world.drain()
        assert cf.rcpts() == {person.email: 1 for person in people}
        status = cf.world.command("cloudflare", "status", "--company", "1", "--json")
        assert json.loads(status)["results queue"] == 0
    assert cf.world.states() == {"sent": 250}
    stored = cf.world.sql("SELECT delivery_id, outcome FROM mdl_manireports_cloud_callbacks")
    assert len(stored) == 3
    assert {outcome for _, outcome in stored} == {"applied"}
    assert len({name for name, _ in stored} - set(by_page)) == 1
    (job,) = cf.world.jobs()
    assert (job["status"], job["emails_sent"], job["emails_failed"]) == ("completed", 250, 0)


def test_a_mail_too_large_for_the_workers_sender_stays_with_moodle(cf: CloudflareWorld) -> None:
    """It would fit into the queue: it is the e-mail service that takes no more than 5 MiB."""
    world = cf.world
    people = world.site.add_users(1, 12)
    words = {people[4]: 600_000, people[5]: 500_000}  # counted twice: there is a text part, too
    world.site.queue("user_create", 1, people, body=lambda p: "word " * words.get(p, 1))
    with cf.worker():
        world.drain()
        assert cf.rcpts() == {p.email: 1 for p in people if p is not people[4]}
    assert world.states() == {"returned": 1, "sent": 11}
    assert world.unsent() == 1
    assert "too large for cloudflare: Moodle sends it" in world.command("job", "1")


@pytest.mark.slow
def test_a_job_survives_a_queue_that_forgets_and_doubles(cf: CloudflareWorld) -> None:
    """The rig's queue is in memory: what waits there when it is killed is gone."""
    world = cf.world
    world.config = world.write_config(
        world.url, cloudflare_api_url=cf.rig.api_url, result_timeout=8, lease_seconds=2
    )
    people = world.site.add_users(1, MAILS)
    world.site.queue("user_create", 1, people)

    def ended() -> bool:
        states = world.states()
        return states.get("sent", 0) + states.get("unknown", 0) == MAILS

    with cf.worker(repeat=True, LEASE_SECONDS="20"), world.start() as daemon:
        wait_for(lambda: world.states().get("sent", 0) > 100, 60, "it is sending")
        cf.rig.kill()
        time.sleep(0.5)
        cf.rig.restart()
        wait_for(ended, 120, "every mail has ended")
        assert daemon.stop() == 0
        counts = cf.rcpts()
    assert max(counts.values()) == 1
    rows = world.sql("SELECT email, status FROM mdl_manireports_cloud_recipients")
    sent = {email for email, status in rows if status == "sent"}
    unknown = {email for email, status in rows if status == "unknown"}
    assert sent <= set(counts)
    assert set(counts) | unknown == {person.email for person in people}
    assert len(unknown) <= WINDOW
    (job,) = world.jobs()
    assert (job["emails_sent"], job["emails_failed"]) == (MAILS - len(unknown), len(unknown))


def test_cancelled_mails_are_taken_back_through_the_worker(cf: CloudflareWorld) -> None:
    """Their batch is in the queue, where it waits 5 s, then 30 s, for a busy e-mail service."""
    world = cf.world
    people = world.site.add_users(1, 12)
    world.site.queue("user_create", 1, people)
    with cf.worker():
        cf.rig.refuse(refusal(p.email, "E_RATE_LIMIT_EXCEEDED", "too fast") for p in people)
        reports = "SELECT COUNT(*) FROM mdl_manireports_cloud_callbacks"
        with world.start() as daemon:
            wait_for(lambda: world.one(reports) >= 1, 60, "the first try is reported")
            assert world.states() == {"processing": 12}
            assert "12 mails cancelled" in world.command("cancel", "1")
            cf.rig.refuse([])
            revoked = f"{reports} WHERE payload LIKE '%\"revoked\"%'"
            wait_for(lambda: world.one(revoked) >= 1, 90, "the queue has brought it again")
            assert daemon.stop() == 0
        assert not cf.rcpts()
    assert world.states() == {"cancelled": 12}
    assert world.jobs()[0]["status"] == "cancelled"


def refusal(address: str, code: str, message: str, times: int = 0) -> dict[str, Any]:
    return {"match": address, "code": code, "message": message, "times": times}
