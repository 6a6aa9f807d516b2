"""What the plugin's pages ask by rows of manireports_cloud_requests, answered by the daemon."""

import json
from typing import Any

from sidecar.demo.sink import Rule
from tests.e2e.world import World
from tests.support.wait import wait_for


def ask(world: World, action: str, **params: object) -> int:
    """A request as a page leaves it; its id."""
    world.sql(
        "INSERT INTO mdl_manireports_cloud_requests"
        " (action, params, status, created_by, created_at)"
        " VALUES (:action, :params, 'new', 'user:2', UNIX_TIMESTAMP())",
        action=action,
        params=json.dumps(params),
    )
    return int(world.one("SELECT MAX(id) FROM mdl_manireports_cloud_requests"))


def answered(world: World, request: int, seconds: float = 10) -> tuple[str, dict[str, Any]]:
    """Its status and answer."""
    row = "FROM mdl_manireports_cloud_requests WHERE id = :id"
    wait_for(
        lambda: world.one(f"SELECT status {row}", id=request) != "new", seconds, "it is answered"
    )
    status, answer = world.sql(f"SELECT status, answer {row}", id=request)[0]
    return status, json.loads(answer)


def test_a_test_mail_goes_the_whole_way_though_the_company_is_disabled(world: World) -> None:
    world.command("disable", "1")
    user = world.site.add_user(1)
    with world.start() as sidecar:
        first = answered(world, ask(world, "test_mail", company=1, user=user.id))
        second = answered(world, ask(world, "test_mail", company=1, user=user.id))
        assert first[0] == second[0] == "done"
        assert first[1]["job"] != second[1]["job"]
        wait_for(lambda: world.rcpts()[user.email] == 2, 20, "both have arrived")
        wait_for(lambda: world.states() == {"sent": 2}, 20, "and are settled")
        status, answer = answered(world, ask(world, "test_mail", company=1, user=987654))
        assert (status, answer) == ("failed", {"error": "there is no active user 987654"})
        assert sidecar.stop() == 0
    assert {job["type"] for job in world.jobs()} == {"test"}
    assert b"This is a test mail from" in world.sink.messages[0].data


def test_a_connection_is_tried_from_the_settings_to_the_provider(world: World) -> None:
    with world.start() as sidecar:
        status, answer = answered(world, ask(world, "test_connection", company=1))
        assert (status, answer["ok"]) == ("done", True)
        assert [step["name"] for step in answer["steps"]][:2] == ["settings", "provider"]
        world.command("company", "set", "1", "--provider", "aws")
        status, answer = answered(world, ask(world, "test_connection", company=1))
        assert (status, answer["ok"]) == ("done", False)
        assert "no jobs queue is set" in answer["steps"][-1]["detail"]
        assert sidecar.stop() == 0


def test_what_would_be_claimed_is_shown_for_one_company_alone(world: World) -> None:
    world.command("disable", "1")
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    world.site.add_company(2, "Globex")
    world.site.queue("user_create", 2, world.site.add_users(2, 15))
    with world.start() as sidecar:
        status, answer = answered(world, ask(world, "observe", company=1))
        assert status == "done"
        (group,) = answer["groups"]
        assert (group["company_id"], group["waiting"]) == (1, 12)
        assert group["left"] == {"company_not_enabled": 12}
        assert sidecar.stop() == 0


def test_bounced_addresses_are_removed_and_one_mail_is_sent_again(world: World) -> None:
    users = world.site.add_users(1, 12)
    addresses = [user.email for user in users]
    world.sink.rules += [
        Rule("rcpt", "550 5.1.1 no such user", match=addresses[0]),
        Rule("rcpt", "554 5.7.1 looks like spam", match=addresses[1]),
    ]
    world.site.queue("user_create", 1, users)
    with world.start() as sidecar:
        wait_for(lambda: world.states() == {"sent": 10, "permanently_failed": 2}, 60, "settled")
        job = world.jobs()[0]["id"]
        status, answer = answered(world, ask(world, "suppress_failed", job=job))
        assert (status, answer) == ("done", {"addresses": 1, "suppressed": 1})
        suppressed = world.sql(
            "SELECT email, company_id, reason, job_id FROM mdl_manireports_cloud_suppressions"
        )
        assert [tuple(row) for row in suppressed] == [(addresses[0], 1, "bounce", job)]
        again = answered(world, ask(world, "suppress_failed", job=job))
        assert again[1] == {"addresses": 1, "suppressed": 0}
        world.sink.rules.clear()
        mail = world.one(
            "SELECT id FROM mdl_manireports_cloud_recipients WHERE email = :email",
            email=addresses[1],
        )
        status, answer = answered(world, ask(world, "resend", recipient=mail))
        assert (status, answer["mails"]) == ("done", 1)
        wait_for(lambda: world.rcpts()[addresses[1]] == 1, 30, "it was sent again")
        status, _ = answered(world, ask(world, "resend", recipient=mail))
        assert status == "failed"
        assert sidecar.stop() == 0


def test_the_command_line_tries_a_company_too(world: World) -> None:
    user = world.site.add_user(1)
    shown = world.command("company", "test", "1", "--mail-to", user.username)
    assert "no daemon is running" in shown
    with world.start() as sidecar:
        wait_for(lambda: world.states() == {"sent": 1}, 20, "the daemon sends it")
        shown = world.command("company", "test", "1", "--mail-to", str(user.id))
        assert [line.split()[:2] for line in shown.splitlines()] == [
            ["ok", "settings"],
            ["ok", "provider"],
            ["ok", "mail"],
        ]
        world.command("pause", "--all")
        assert "everything" in world.command("resume", "--all")
        assert sidecar.stop() == 0
    assert world.rcpts()[user.email] == 2
    world.command("company", "set", "1", "--provider", "aws")
    assert "FAIL  settings" in world.command("company", "test", "1", ok=False)
