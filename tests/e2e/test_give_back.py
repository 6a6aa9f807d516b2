"""Handing back to Moodle: never what is out, never claimed again."""

import json

import pytest

from sidecar.demo.sink import Rule
from tests.conftest import on_every_database
from tests.e2e.world import World
from tests.support.processes import Sidecar
from tests.support.wait import wait_for


def held(world: World, sidecar: Sidecar) -> None:
    """Wait until a job waits for its provider."""
    sidecar.wait_for_line("waits")


@on_every_database
def test_release_hands_back_what_never_left(world: World) -> None:
    world.site.set_config("smtphosts", "127.0.0.1:9")
    world.site.queue("user_create", 1, world.site.add_users(1, 40))
    before = world.sql("SELECT id, modifiedtime FROM mdl_email ORDER BY id")
    with world.start() as sidecar:
        held(world, sidecar)
        assert world.unsent() == 0
        (job,) = world.jobs()
        assert "40 mails handed back" in world.command("release", str(job["id"]))
        assert world.sql("SELECT id, modifiedtime FROM mdl_email ORDER BY id") == before
        assert world.unsent() == 40
        world.site.set_config("smtphosts", f"127.0.0.1:{world.sink.port}")
        world.site.queue("user_create", 1, world.site.add_users(1, 12))
        sidecar.wait_for_line("claimed 12 rows")
        assert sidecar.stop() == 0
    assert world.jobs()[-1]["status"] == "returned"
    world.drain()
    assert len(world.sink.messages) == 12
    assert world.unsent() == 40


def test_a_row_of_which_one_copy_is_out_is_never_handed_back(world: World) -> None:
    people = world.site.add_users(1, 15)
    manager = world.site.add_manager(1)
    world.sink.rules.append(Rule("rcpt", "450 4.2.1 busy", match=manager.email))
    world.site.queue("user_create", 1, people)
    with world.start() as sidecar:
        sidecar.wait_for_line("claimed 15 rows")
        deadline_states = {"sent": 15, "pending": 15}
        wait_for(lambda: world.states() == deadline_states, 30, "users served, copies refused")
        (job,) = world.jobs()
        shown = world.command("release", str(job["id"]))
        assert shown.startswith(f"job {job['id']}: 0 mails handed back")
        assert "15 mails stay" in shown
        assert world.unsent() == 0
        assert sidecar.stop() == 0


def test_cancel_sends_nothing_more(world: World) -> None:
    world.site.set_config("smtphosts", "127.0.0.1:9")
    world.site.queue("user_create", 1, world.site.add_users(1, 40))
    with world.start() as sidecar:
        held(world, sidecar)
        (job,) = world.jobs()
        assert "40 mails cancelled" in world.command("cancel", str(job["id"]))
        assert sidecar.stop() == 0
    (job,) = world.jobs()
    assert job["status"] == "cancelled"
    world.site.set_config("smtphosts", f"127.0.0.1:{world.sink.port}")
    world.drain()
    assert not world.sink.messages
    assert world.unsent() == 0


def test_iomads_resend_is_a_new_mail(world: World) -> None:
    people = world.site.add_users(1, 12)
    world.site.queue("user_create", 1, people)
    world.drain()
    world.sql("UPDATE mdl_email SET sent = NULL")
    world.drain()
    assert world.rcpts() == {person.email: 2 for person in people}
    assert len(world.jobs()) == 2


def test_a_resend_before_we_sent_takes_the_row_from_us_and_is_claimed_anew(world: World) -> None:
    world.site.set_config("smtphosts", "127.0.0.1:9")
    people = world.site.add_users(1, 12)
    world.site.queue("user_create", 1, people)
    with world.start() as sidecar:
        held(world, sidecar)
        assert sidecar.stop() == 0
    world.sql("UPDATE mdl_email SET sent = NULL WHERE userid = :id", id=people[0].id)
    world.site.set_config("smtphosts", f"127.0.0.1:{world.sink.port}")
    world.drain()
    assert world.states() == {"sent": 12, "returned": 1}
    assert world.rcpts() == {person.email: 1 for person in people}


@pytest.mark.parametrize("change", ["deleted = 1", "suspended = 1"])
def test_a_user_who_is_gone_gets_nothing(world: World, change: str) -> None:
    world.site.set_config("smtphosts", "127.0.0.1:9")
    people = world.site.add_users(1, 12)
    world.site.queue("user_create", 1, people)
    with world.start() as sidecar:
        held(world, sidecar)
        assert sidecar.stop() == 0
    world.sql(f"UPDATE mdl_user SET {change} WHERE id = :id", id=people[0].id)
    world.site.set_config("smtphosts", f"127.0.0.1:{world.sink.port}")
    world.drain()
    assert world.states() == {"sent": 11, "cancelled": 1}


def test_the_fallback_moodle_hands_back_by_itself(world: World) -> None:
    world.config = world.write_config(world.url, give_up_after=1)
    world.command("company", "set", "1", "--fallback", "moodle")
    world.site.set_config("smtphosts", "127.0.0.1:9")
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    with world.start() as sidecar:
        sidecar.wait_for_line("12 mails handed back to Moodle")
        assert sidecar.stop() == 0
    assert world.unsent() == 12


def test_drain_leaves_nothing_with_the_sidecar(world: World) -> None:
    world.site.set_config("smtphosts", "127.0.0.1:9")
    world.site.queue("user_create", 1, world.site.add_users(1, 40))
    with world.start() as sidecar:
        held(world, sidecar)
        world.command("drain")
        world.site.queue("user_create", 1, world.site.add_users(1, 40))
        assert sidecar.stop() == 0
    assert world.unsent() == 80
    found = json.loads(world.command("jobs", "--json"))
    assert {job["status"] for job in found} == {"returned"}


@on_every_database
def test_retention_forgets_what_was_sent_and_knows_what_moodle_still_has(world: World) -> None:
    world.site.set_config("smtphosts", "127.0.0.1:9")
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    with world.start() as sidecar:
        held(world, sidecar)
        (job,) = world.jobs()
        world.command("release", str(job["id"]))
        assert sidecar.stop() == 0
    world.site.set_config("smtphosts", f"127.0.0.1:{world.sink.port}")
    world.site.queue("license_allocated", 1, world.site.add_users(1, 12))
    world.drain()
    assert len(world.sink.messages) == 12
    world.sql("UPDATE mdl_manireports_cloud_jobs SET completed_at = completed_at - 200 * 86400")
    with world.start() as sidecar:
        wait_for(lambda: len(world.jobs()) == 1, 30, "the job that was sent is forgotten")
        assert world.jobs()[0]["id"] == job["id"]
        assert world.unsent() == 12
        world.sql("UPDATE mdl_email SET sent = 1 WHERE sent IS NULL")  # cron has sent them
        assert sidecar.stop() == 0
    with world.start() as sidecar:
        wait_for(lambda: not world.jobs(), 30, "all is forgotten")
        assert sidecar.stop() == 0
    state = json.loads(world.one("SELECT state FROM mdl_manireports_cloud_sidecar"))
    assert state["purged"] == {"jobs": 2, "sent": 12, "returned": 12}
    assert len(world.sink.messages) == 12
