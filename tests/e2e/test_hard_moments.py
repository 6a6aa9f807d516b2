"""Moments at which a mail could be lost, sent twice, or everything could stand still."""

import json
import time
from pathlib import Path

import pytest

from sidecar.demo.sink import Rule, Sink
from tests.e2e.world import World
from tests.support.processes import Sidecar, run_sidecar
from tests.support.wait import wait_for

NOWHERE = "127.0.0.1:9"


def served(world: World) -> int:
    return len(world.sink.messages)


def test_what_was_in_flight_at_a_crash_is_never_handed_back(world: World) -> None:
    world.config = world.write_config(world.url, lease_seconds=1)
    world.sink.rules.append(Rule("dot", delay=5.0, keep=True))
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    with world.start() as sidecar:
        wait_for(lambda: served(world) == 4, 20, "one mail a connection is out, unanswered")
        sidecar.kill9()
    out = set(world.rcpts())
    world.site.set_config("smtphosts", NOWHERE)
    with world.start() as sidecar:
        sidecar.wait_for_line("waits")
        (job,) = world.jobs()
        assert "8 mails handed back" in world.command("release", str(job["id"]))
        assert sidecar.stop() == 0
    back = world.sql(
        "SELECT u.email FROM mdl_email e JOIN mdl_user u ON u.id = e.userid WHERE e.sent IS NULL"
    )
    assert len(back) == 8
    assert not out & {row[0] for row in back}


def test_a_lease_that_is_away_for_a_moment_sends_nothing_twice(world: World) -> None:
    world.config = world.write_config(world.url, lease_seconds=3)
    world.sink.rules.append(Rule("dot", delay=6.0, keep=True, times=4))
    people = world.site.add_users(1, 12)
    world.site.queue("user_create", 1, people)
    with world.start() as sidecar:
        wait_for(lambda: served(world) == 4, 20, "one mail a connection is out, unanswered")
        world.sql(
            "UPDATE mdl_manireports_cloud_sidecar SET lease_token = 'another',"
            " lease_expires = UNIX_TIMESTAMP() + 1"
        )
        wait_for(lambda: world.states().get("sent") == 12, 60, "all mails, settled")
        assert sidecar.stop() == 0
    assert world.rcpts() == {person.email: 1 for person in people}


@pytest.mark.parametrize(
    ("name", "value"), [("noemailever", "1"), ("divertallemailsto", "staging@example.test")]
)
def test_a_safety_switch_reaches_mails_that_were_already_rendered(
    world: World, name: str, value: str
) -> None:
    world.command("company", "set", "1", "--max-send-rate", "10")
    people = world.site.add_users(1, 60)
    world.site.queue("user_create", 1, people)
    with world.start() as sidecar:
        wait_for(lambda: served(world) > 5, 30, "the first mails")
        world.site.set_config(name, value)
        if name == "noemailever":
            sidecar.wait_for_line("noemailever is set")
            world.site.set_config(name, "0")
        wait_for(lambda: world.states().get("sent") == 60, 60, "all mails in the end")
        assert sidecar.stop() == 0
    real = {person.email for person in people}
    reached = [m.recipients[0] for m in world.sink.messages if m.recipients[0] in real]
    assert len(reached) == len(set(reached))
    if name == "divertallemailsto":
        assert len(reached) < 30
        assert world.rcpts()["staging@example.test"] == 60 - len(reached)


def test_a_row_that_cannot_be_stored_does_not_stop_the_others(world: World) -> None:
    boss = world.site.add_manager(1)
    twin = world.site.add_manager(1)
    world.sql(
        "UPDATE mdl_user SET email = CONCAT('boss', :s, '@acme.example.test') WHERE id = :id",
        s="",
        id=boss.id,
    )
    world.sql(
        "UPDATE mdl_user SET email = CONCAT('boss', :s, '@acme.example.test') WHERE id = :id",
        s="\u200b",
        id=twin.id,
    )
    world.site.add_company(2, "Globex & Søn")
    world.command("company", "set", "2", "--enable")
    one, two = world.site.add_users(1, 12), world.site.add_users(2, 12)
    world.site.queue("user_create", 1, one)
    world.site.queue("user_create", 2, two)
    world.drain()
    counts = world.rcpts()
    assert all(counts[person.email] == 1 for person in (*one, *two))


@pytest.mark.parametrize("params", ["null", "not json", '{"job": "x"}', "[]"])
def test_a_malformed_request_is_answered_and_nothing_stops(world: World, params: str) -> None:
    world.sql(
        "INSERT INTO mdl_manireports_cloud_requests (action, params, status, created_by,"
        " created_at) VALUES ('cancel', :p, 'new', 'page', 0)",
        p=params,
    )
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    world.drain()
    assert served(world) == 12
    assert world.one("SELECT status FROM mdl_manireports_cloud_requests") == "failed"


def test_sigterm_ends_in_time_although_outcomes_cannot_be_written(world: World) -> None:
    world.config = world.write_config(world.url, lease_seconds=3, smtp_max_connections=4)
    people = world.site.add_users(1, 300)
    world.sink.latency = 0.05
    world.site.queue("user_create", 1, people)
    with world.start() as sidecar:
        wait_for(lambda: served(world) > 20, 30, "the first mails")
        world.sql("RENAME TABLE mdl_manireports_cloud_recipients TO hidden")
        sidecar.wait_for_line("outcomes wait for the database")
        assert sidecar.stop(30) == 0
    world.sql("RENAME TABLE hidden TO mdl_manireports_cloud_recipients")
    world.sink.latency = 0.0
    world.drain()
    counts = world.rcpts()
    assert set(counts) == {person.email for person in people}
    assert sum(number - 1 for number in counts.values()) <= 4


def test_sigterm_lets_healthy_connections_finish_beside_a_hanging_one(world: World) -> None:
    world.site.add_company(2, "Globex & Søn")
    world.command("company", "set", "2", "--enable")
    world.sink.latency = 0.05
    with Sink(rules=[Rule("dot", delay=1e9)]) as hanging:
        world.site.set_config("smtphosts2", f"127.0.0.1:{hanging.port}")
        world.site.queue("user_create", 2, world.site.add_users(2, 12))
        world.site.queue("user_create", 1, world.site.add_users(1, 300))
        with world.start() as sidecar:
            wait_for(lambda: served(world) > 20, 30, "the first mails")
            at_stop = served(world)
            assert sidecar.stop(30) == 0
    assert served(world) - at_stop <= 40
    unknown = world.one(
        "SELECT COUNT(*) FROM mdl_manireports_cloud_recipients r JOIN"
        " mdl_manireports_cloud_jobs j ON j.id = r.job_id"
        " WHERE j.company_id = 1 AND r.status = 'unknown'"
    )
    assert unknown == 0


def test_counters_that_a_crash_left_behind_are_brought_up_to_date(world: World) -> None:
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    world.drain()
    world.sql(
        "UPDATE mdl_manireports_cloud_jobs SET status = 'processing', emails_sent = 0,"
        " completed_at = NULL"
    )
    with world.start() as sidecar:
        wait_for(lambda: world.jobs()[0]["status"] == "completed", 20, "the truth")
        assert world.jobs()[0]["emails_sent"] == 12
        assert sidecar.stop() == 0


def test_until_idle_does_not_wait_for_what_it_cannot_do(world: World) -> None:
    state = str(world.tmp / "sidecar-state")
    world.config = world.write_config(world.url, lease_seconds=1)
    with world.start() as leader:
        leader.wait_for_line("leading this site")
        beside = world.write_config(world.url, name="beside", state_dir=state, lease_seconds=1)
        done = run_sidecar(beside, "once", timeout=40)
        assert done.returncode == 1
        assert "leads this site" in done.stderr
        assert leader.stop() == 0
    a_file = world.tmp / "file"
    a_file.write_text("x")
    wrong = world.write_config(world.url, name="wrong", state_dir=str(a_file / "x"))
    done = run_sidecar(wrong, "run", "--until-idle", timeout=40)
    assert done.returncode == 2
    assert "state_dir" in done.stderr


def test_commands_after_a_crash_take_over_when_the_lease_has_run_out(world: World) -> None:
    world.config = world.write_config(world.url, lease_seconds=3)
    world.site.set_config("smtphosts", NOWHERE)
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    with world.start() as sidecar:
        sidecar.wait_for_line("waits")
        sidecar.kill9()
    started = time.monotonic()
    assert "12 mails handed back" in world.command("drain", timeout=50)
    assert time.monotonic() - started < 40
    assert world.unsent() == 12


def test_a_dry_run_counts_what_would_go_and_writes_nothing(world: World) -> None:
    world.site.add_manager(1)
    world.command("company", "set", "1", "--manager-copies", "none")
    world.site.queue("user_create", 1, world.site.add_users(1, 12), due=0)
    world.config = world.write_config(world.url, name="fresh")
    (group,) = json.loads(world.command("once", "--dry-run", "--json"))["groups"]
    assert (group["claimable"], group["mails"]) == (12, 12)
    assert not (world.tmp / "fresh-state").exists()


def test_tables_of_another_version_stop_everything(world: World) -> None:
    world.sql("UPDATE mdl_manireports_cloud_sidecar SET state = '{\"schema\": 99}'")
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    done = run_sidecar(world.config, "run", "--until-idle")
    assert done.returncode == 1
    assert "version 99" in done.stderr
    assert not world.sink.messages


def test_moodles_code_of_another_version_stops_everything(world: World) -> None:
    moodle = world.tmp / "moodle"
    moodle.mkdir()
    (moodle / "config.php").write_text("<?php $CFG = new stdClass(); $CFG->prefix = 'mdl_';\n")
    (moodle / "version.php").write_text("<?php $version = 2024042200.00;")
    world.config = world.write_config(world.url, moodle_dir=str(moodle))
    assert "run Moodle's upgrade" in world.command("check", ok=False)


def test_the_daemon_claims_under_the_record_factory(world: World) -> None:
    task = "cron_\\local_email\\task\\cron_task"
    text = 'moodle_config = { lock_factory = "\\\\core\\\\lock\\\\db_record_lock_factory" }\n'
    Path(world.config).write_text(text + Path(world.config).read_text())
    people = world.site.add_users(1, 12)
    world.site.queue("user_create", 1, people)
    world.sql(
        "INSERT INTO mdl_lock_db (resourcekey, owner, expires) VALUES (:k, 'cron',"
        " UNIX_TIMESTAMP() + 600)",
        k=task,
    )
    with Sidecar(world.config) as sidecar:
        sidecar.wait_for_line("nothing more is claimed now")
        assert world.unsent() == 12
        world.sql("UPDATE mdl_lock_db SET owner = NULL, expires = NULL")
        wait_for(lambda: served(world) == 12, 30, "claimed after cron")
        assert sidecar.stop() == 0
    assert world.sql("SELECT owner FROM mdl_lock_db")[0].owner is None
