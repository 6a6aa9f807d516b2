"""Campaigns from the outbox to the recipient, and back out of it."""

import json
import re

from sidecar.demo.population import Person
from sidecar.demo.sink import Received
from tests.e2e.mails import parsed, said, text_of
from tests.e2e.world import World
from tests.support.processes import run_sidecar
from tests.support.wait import wait_for

DAY = 86_400


def queue(
    world: World,
    people: list[Person],
    *,
    subject: str = "Dear {firstname}",
    body: str = '<p>{fullname}, see <a href="{courseurl}">{coursename}</a> {lastaccess}</p>',
    company: int = 1,
    course: int | None = None,
    data: dict[str, str] | None = None,
    send_in: int | None = None,
    status: str = "queued",
) -> int:
    """A campaign as a plugin queues it; its id."""
    world.sql(
        "INSERT INTO mdl_manireports_cloud_campaigns"
        " (type, company_id, subject, body, created_by, send_at, status, created_at) VALUES"
        " ('reengagement', :company, :subject, :body, 2, UNIX_TIMESTAMP() + :wait, 'draft',"
        " UNIX_TIMESTAMP())",
        company=company,
        subject=subject,
        body=body,
        wait=send_in,
    )
    campaign = int(world.one("SELECT MAX(id) FROM mdl_manireports_cloud_campaigns"))
    for person in people:
        world.sql(
            "INSERT INTO mdl_manireports_cloud_outbox"
            " (campaign_id, userid, course_id, email, data, status, created_at)"
            " VALUES (:campaign, :user, :course, '', :data, 'waiting', UNIX_TIMESTAMP())",
            campaign=campaign,
            user=person.id,
            course=course,
            data=json.dumps(data) if data else None,
        )
    world.sql(
        "UPDATE mdl_manireports_cloud_campaigns SET status = :s WHERE id = :id",
        s=status,
        id=campaign,
    )
    return campaign


def campaign_row(world: World, campaign: int) -> tuple[str, int | None, str | None]:
    (row,) = world.sql(
        "SELECT status, job_id, error_message FROM mdl_manireports_cloud_campaigns WHERE id = :id",
        id=campaign,
    )
    return row[0], row[1], row[2]


def outbox(world: World) -> dict[str, int]:
    rows = world.sql("SELECT status, COUNT(*) FROM mdl_manireports_cloud_outbox GROUP BY status")
    return {row[0]: row[1] for row in rows}


def first_to(world: World, person: Person) -> Received:
    return next(m for m in world.sink.messages if m.recipients[0] == person.email)


def token(message: Received) -> str:
    link = str(parsed(message)["List-Unsubscribe"])
    found = re.fullmatch(r"<https://\S+\?token=(\S+)>", link)
    assert found
    return found[1]


def ask_to_leave(world: World, value: str) -> None:
    """What the page behind the link stores."""
    world.sql(
        "INSERT INTO mdl_manireports_cloud_requests (action, params, status, created_by,"
        " created_at) VALUES ('unsubscribe', :p, 'new', 'page', UNIX_TIMESTAMP())",
        p=json.dumps({"token": value}),
    )


def test_a_campaign_is_one_job_and_can_be_left_with_one_click(world: World) -> None:
    course = world.site.add_course(7, "Fire & Safety <1>")
    people = world.site.add_users(1, 4, firstname="Søren <b>", lang="de", timezone="Asia/Tokyo")
    world.site.enrol(course, people)
    gone = world.site.add_users(1, 1)  # not enrolled any more
    world.sql(
        "INSERT INTO mdl_user_lastaccess (userid, courseid, timeaccess) VALUES (:u, 7, 1740873600)",
        u=people[0].id,
    )
    campaign = queue(world, [*people, *gone], course=course)
    world.drain()
    assert world.rcpts() == {person.email: 1 for person in people}
    (job,) = world.jobs()
    assert (job["type"], job["status"], job["email_count"]) == ("reengagement", "completed", 5)
    assert "Acme" in job["label"]
    assert "campaign 1" in job["label"]
    assert campaign_row(world, campaign)[:2] == ("done", job["id"])
    assert world.states() == {"sent": 4, "cancelled": 1}
    first = first_to(world, people[0])
    assert parsed(first)["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    mail = said(first)
    assert mail.subject == "Dear Søren <b>"
    assert (mail.from_email, mail.from_name) == ("noreply@learn.example.test", "Demo Support")
    assert "Søren &lt;b&gt;" in mail.html
    assert "Fire &amp; Safety &lt;1&gt;" in mail.html
    assert "2. März 2025" in mail.html  # the first of March where the server stands
    assert "Fire & Safety <1>" in text_of(first)

    ask_to_leave(world, token(first))
    ask_to_leave(world, token(first))
    ask_to_leave(world, token(first)[:-4] + "AAAA")
    world.site.queue("user_create", 1, world.site.add_users(1, 9) + people[:1])
    queue(world, people)
    world.drain()
    answered = world.sql("SELECT status FROM mdl_manireports_cloud_requests ORDER BY id")
    assert [row[0] for row in answered] == ["done", "done", "failed"]
    entries = world.sql(
        "SELECT email, company_id, scope, reason FROM mdl_manireports_cloud_suppressions"
    )
    assert [tuple(row) for row in entries] == [(people[0].email, 1, "campaigns", "unsubscribe")]
    assert world.rcpts()[people[0].email] == 2  # the first campaign and the account mail
    assert world.rcpts()[people[1].email] == 2  # both campaigns
    second = max(job["id"] for job in world.jobs() if job["source"] == "campaigns")
    shown = json.loads(world.command("job", str(second), "--json"))
    (spared,) = shown["recipients"]
    assert spared["status"] == "permanently_failed"
    assert spared["error_code"] == "suppressed"
    assert "unsubscribed since 20" in spared["error_message"]


def test_an_unknown_placeholder_stops_a_campaign_before_anything_is_sent(world: World) -> None:
    people = world.site.add_users(1, 5)
    campaign = queue(world, people, subject="Dear {firstname}, {bonus}", data={"bonus": "5"})
    world.sql("UPDATE mdl_manireports_cloud_outbox SET data = '{}' ORDER BY id DESC LIMIT 1")
    world.drain()
    assert not world.sink.messages
    assert outbox(world) == {"waiting": 5}
    status, job_id, error = campaign_row(world, campaign)
    assert status == "failed"
    assert error is not None
    assert "{bonus}" in error
    (job,) = world.jobs()
    assert (job["id"], job["status"]) == (job_id, "returned")
    assert "{bonus}" in world.command("job", str(job_id))
    assert "{bonus}" in world.one("SELECT error_log FROM mdl_manireports_cloud_jobs")
    world.sql("UPDATE mdl_manireports_cloud_outbox SET data = '{\"bonus\": 7}'")
    assert "5 mails are queued" in world.command("campaign", "queue", str(campaign))
    world.drain()
    assert world.rcpts() == {person.email: 1 for person in people}


def test_what_may_not_be_claimed_waits_visibly(world: World) -> None:
    world.site.add_company(2, "Globex & Søn")
    later = queue(world, world.site.add_users(1, 2), send_in=3600)
    foreign = queue(world, world.site.add_users(2, 2), company=2)
    old = queue(world, world.site.add_users(1, 2), send_in=-2 * DAY)
    draft = queue(world, world.site.add_users(1, 2), status="draft")
    world.drain()
    assert not world.sink.messages
    assert outbox(world) == {"waiting": 8}
    listed = {c["id"]: c for c in json.loads(world.command("campaign", "list", "--json"))}
    assert {i: c["status"] for i, c in listed.items()} == {
        later: "queued",
        foreign: "queued",
        old: "queued",
        draft: "draft",
    }
    assert "not enabled" in listed[foreign]["note"]
    world.command("campaign", "cancel", str(later))
    world.command("campaign", "queue", str(draft))
    world.drain()
    assert len(world.sink.messages) == 2
    assert outbox(world) == {"waiting": 4, "cancelled": 2, "claimed": 2}


def test_inactive_students_are_shown_then_reminded(world: World) -> None:
    world.site.add_course(7, "Fire safety")
    people = world.site.add_users(1, 5)
    world.site.enrol(7, people)
    world.site.make_students(7, people[:4])
    ask = ("campaign", "inactive", "--days", "30", "--company", "1")
    shown = world.command(*ask, "--subject", "Dear {firstname}", "--dry-run")
    assert "4 mails to students" in shown
    assert shown.count("Subject: Dear ") == 3
    assert "Your last visit: never" in shown
    refused = run_sidecar(world.config, *ask, "--subject", "{frstname}", "--yes")
    assert refused.returncode == 2
    assert "{frstname}" in refused.stderr
    assert outbox(world) == {}
    assert "4 mails are queued" in world.command(*ask, "--yes")
    world.drain()
    assert world.rcpts() == {person.email: 1 for person in people[:4]}
    assert said(world.sink.messages[0]).subject == "Fire safety is waiting for you"


def test_a_released_campaign_is_held_until_it_is_queued_again(world: World) -> None:
    people = world.site.add_users(1, 6)
    world.site.set_config("smtphosts", "127.0.0.1:9")
    campaign = queue(world, people)
    with world.start() as sidecar:
        sidecar.wait_for_line("waits")
        (job,) = world.jobs()
        assert "6 mails handed back" in world.command("release", str(job["id"]))
        assert campaign_row(world, campaign)[0] == "held"
        assert outbox(world) == {"waiting": 6}
        world.site.set_config("smtphosts", f"127.0.0.1:{world.sink.port}")
        world.command("campaign", "queue", str(campaign))
        wait_for(lambda: len(world.sink.messages) == 6, 60, "all of them")
        wait_for(lambda: campaign_row(world, campaign)[0] == "done", 30, "the campaign is done")
        assert sidecar.stop() == 0
    assert world.rcpts() == {person.email: 1 for person in people}


def test_a_kill_in_the_claim_neither_loses_nor_doubles(world: World) -> None:
    people = world.site.add_users(1, 40)
    queue(world, people)
    world.sql(
        "CREATE TRIGGER slow BEFORE INSERT ON mdl_manireports_cloud_recipients FOR EACH ROW"
        " SET NEW.tries = NEW.tries + SLEEP(0.05)"
    )
    with world.start() as sidecar:
        sidecar.wait_for_line("leading")
        wait_for(
            lambda: world.one(
                "SELECT COUNT(*) FROM information_schema.processlist"
                " WHERE state = 'User sleep' AND db = DATABASE()"
            ),
            20,
            "the claim is inside its transaction",
        )
        sidecar.kill9()
    wait_for(
        lambda: (
            not world.one(
                "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep'"
            )
        ),
        20,
        "the server gave the claim up",
    )
    assert outbox(world) == {"waiting": 40}
    assert world.states() == {}
    world.sql("DROP TRIGGER slow")
    world.sql("UPDATE mdl_manireports_cloud_sidecar SET lease_expires = 0")
    world.drain()
    assert world.rcpts() == {person.email: 1 for person in people}
