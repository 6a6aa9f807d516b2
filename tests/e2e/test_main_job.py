"""Bulk goes out once, what is not bulk stays, and the tables tell the truth."""

import json
import math

import pytest

from sidecar.demo.sink import Rule, Sink
from tests.conftest import on_every_database
from tests.e2e.mails import said
from tests.e2e.world import World
from tests.support.processes import run_sidecar
from tests.support.wait import wait_for


@on_every_database
def test_a_bulk_operation_is_one_job_and_reaches_everybody(world: World) -> None:
    users = world.site.add_users(1, 120)
    manager = world.site.add_manager(1)
    world.site.queue("user_create", 1, users)
    world.drain()
    assert world.rcpts() == {user.email: 1 for user in users} | {manager.email: 120}
    (job,) = world.jobs()
    assert (job["type"], job["status"]) == ("csv_import", "completed")
    assert (job["email_count"], job["copy_count"], job["emails_sent"]) == (240, 120, 240)
    assert world.unsent() == 0
    rows = world.sql("SELECT sent, modifiedtime FROM mdl_email")
    assert all(row.sent == row.modifiedtime for row in rows)


def test_few_mails_stay_with_moodle(world: World) -> None:
    world.site.queue("user_create", 1, world.site.add_users(1, 9))
    world.drain()
    assert not world.sink.messages
    assert world.unsent() == 9
    assert world.jobs() == []


def test_a_company_that_is_not_enabled_is_only_observed(world: World) -> None:
    world.site.add_company(2, "Globex & Søn")
    world.site.queue("user_create", 2, world.site.add_users(2, 30))
    world.drain()
    assert not world.sink.messages
    assert world.unsent() == 30
    found = json.loads(world.command("once", "--dry-run", "--json"))
    (group,) = found["groups"]
    assert group["waiting"] == 30
    assert group["left"] == {"company_not_enabled": 30}


def test_observing_needs_no_tables_and_writes_none(world: World) -> None:
    tables = [row[0] for row in world.sql("SHOW TABLES LIKE 'mdl_manireports%'")]
    for table in tables:
        world.sql(f"DROP TABLE {table}")
    world.site.queue("user_create", 1, world.site.add_users(1, 12), due=0)
    found = json.loads(world.command("once", "--dry-run", "--json"))
    assert found["groups"][0]["waiting"] == 12
    assert found["groups"][0]["mails"] == 12
    assert not world.sql("SHOW TABLES LIKE 'mdl_manireports%'")
    done = run_sidecar(world.config, "run", "--until-idle")
    assert done.returncode == 1
    assert "schema --create" in done.stderr


def test_mail_of_the_future_waits(world: World) -> None:
    users = world.site.add_users(1, 12)
    later = int(world.one("SELECT UNIX_TIMESTAMP()")) + 3600
    world.site.queue("user_create", 1, users, due=later)
    world.drain()
    assert not world.sink.messages


def test_old_backlog_is_sent_only_when_the_admin_says_so(world: World) -> None:
    users = world.site.add_users(1, 15)
    world.site.queue("license_allocated", 1, users, due=0, modified=1_700_000_000)
    world.drain()
    assert not world.sink.messages
    said_so = world.command("backlog", "take", "--company", "1", "--yes")
    assert "15 old mails" in said_so
    world.drain()
    assert len(world.sink.messages) == 15


def test_refused_for_a_while_then_sent_and_refused_for_good(world: World) -> None:
    users = world.site.add_users(1, 20)
    busy, wrong = users[0].email, users[1].email
    world.sink.rules += [
        Rule("rcpt", "450 4.2.1 mailbox busy", match=busy, times=1),
        Rule("rcpt", "550 5.1.1 no such user", match=wrong),
    ]
    world.site.queue("user_create", 1, users)
    world.drain()
    assert world.rcpts() == {user.email: 1 for user in users if user.email != wrong}
    (job,) = world.jobs()
    assert (job["status"], job["emails_sent"], job["emails_failed"]) == ("completed", 19, 1)
    detail = json.loads(world.command("job", str(job["id"]), "--json"))
    (failed,) = detail["recipients"]
    assert failed["email"] == wrong
    assert failed["status"] == "permanently_failed"
    assert "no such user" in failed["error_message"]


def test_a_lost_answer_is_unknown_until_the_admin_resolves_it(world: World) -> None:
    users = world.site.add_users(1, 12)
    world.sink.rules.append(Rule("dot", drop=True, keep=True, times=1))
    world.site.queue("user_create", 1, users)
    world.drain()
    assert world.states() == {"sent": 11, "unknown": 1}
    (job,) = world.jobs()
    assert job["status"] == "partial_failure"
    assert all(number == 1 for number in world.rcpts().values())
    world.command("resolve", str(job["id"]), "--unknown", "sent")
    (job,) = world.jobs()
    assert (job["status"], job["emails_sent"]) == ("completed", 12)


def test_divertallemailsto_and_its_exceptions(world: World) -> None:
    world.site.set_config("divertallemailsto", "staging@example.test")
    world.site.set_config("divertallemailsexcept", "vip@.*, ")
    users = [*world.site.add_users(1, 11), world.site.add_user(1, email="vip@acme.example.test")]
    world.site.queue("user_create", 1, users)
    world.drain()
    assert world.rcpts() == {"staging@example.test": 11, "vip@acme.example.test": 1}
    subjects = {said(m).subject for m in world.sink.messages if "staging" in m.recipients[0]}
    assert all(subject.startswith("[DIVERTED user") for subject in subjects)


def test_a_company_has_its_own_server_and_sender(world: World) -> None:
    world.site.add_company(2, "Globex & Søn")
    world.site.set_config("smtphosts2", f"127.0.0.1:{world.sink.port}")
    world.site.set_config("noreplyaddress2", "noreply@globex.example.test")
    world.command("company", "set", "2", "--enable")
    world.site.set_config("smtphosts", "127.0.0.1:9")
    world.site.queue("user_create", 2, world.site.add_users(2, 12))
    world.drain()
    assert {message.sender for message in world.sink.messages} == {"noreply@globex.example.test"}


@pytest.mark.parametrize(
    "rule",
    [
        Rule("connect", delay=math.inf),
        Rule("mail", delay=math.inf),
        Rule("connect", "421 4.3.2 shutting down"),
        Rule("data", drop=True),
    ],
    ids=["hangs at connect", "hangs at mail", "says 421", "drops at data"],
)
def test_one_companys_broken_server_does_not_hold_up_the_others(world: World, rule: Rule) -> None:
    world.site.add_company(2, "Globex & Søn")
    world.command("company", "set", "2", "--enable")
    users = world.site.add_users(1, 30)
    with Sink(rules=[rule]) as broken:
        world.site.set_config("smtphosts2", f"127.0.0.1:{broken.port}")
        world.site.queue("user_create", 2, world.site.add_users(2, 12))
        world.site.queue("user_create", 1, users)
        with world.start() as sidecar:
            wait_for(lambda: len(world.sink.messages) == 30, 30, "company 1 is served")
            wait_for(
                lambda: any(job["status"] == "completed" for job in world.jobs()), 15, "job 1 ends"
            )
            assert sidecar.stop(35) == 0
        assert not broken.messages
    assert world.rcpts() == {user.email: 1 for user in users}
    states = {job["company_id"]: job["status"] for job in world.jobs()}
    assert states[1] == "completed"
    assert states[2] in {"queued", "processing", "pending"}


def test_manager_copies_can_be_turned_off(world: World) -> None:
    users = world.site.add_users(1, 12)
    world.site.add_manager(1)
    world.command("company", "set", "1", "--manager-copies", "none")
    world.site.queue("user_create", 1, users)
    world.drain()
    assert world.rcpts() == {user.email: 1 for user in users}


def test_a_job_takes_no_more_than_max_job_size_rows(world: World) -> None:
    world.config = world.write_config(world.url, max_job_size=20)
    users = world.site.add_users(1, 45)
    world.site.queue("user_create", 1, users)
    world.drain()
    sizes = sorted(job["email_count"] for job in world.jobs())
    assert all(size <= 20 for size in sizes)
    assert sum(sizes) == len(world.sink.messages)
    assert world.unsent() == 45 - sum(sizes) < 10
