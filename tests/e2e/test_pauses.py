"""Pausing holds what is claimed and lets nothing more leave; resuming sends it, once."""

from datetime import UTC, datetime, timedelta

from tests.e2e.world import World
from tests.support.wait import wait_for


def received(world: World) -> int:
    return len(world.sink.messages)


def test_the_kill_switch_holds_everything_at_once_and_survives_a_restart(world: World) -> None:
    world.sink.latency = 0.2
    world.site.queue("user_create", 1, world.site.add_users(1, 200))
    with world.start() as sidecar:
        wait_for(lambda: received(world) >= 4, 30, "the first mails are out")
        assert "everything is paused" in world.command("pause", "all")
        at_pause = received(world)
        sidecar.wait_for_line("all mail is held")
        assert received(world) < 200
        world.site.queue("user_create", 1, world.site.add_users(1, 30))
        sidecar.wait_for_line("claimed 30 rows")  # taken over, and held
        assert sidecar.stop() == 0
    assert received(world) - at_pause < 60  # what was in flight, for about a second
    now_out = received(world)
    world.sink.latency = 0
    with world.start() as sidecar:
        sidecar.wait_for_line("all mail is held")
        assert received(world) == now_out
        shown = world.command("resume", "all")
        assert f"everything goes on: {230 - now_out} mails waited" in shown
        wait_for(lambda: received(world) == 230, 60, "the rest is out")
        wait_for(lambda: world.states() == {"sent": 230}, 30, "settled")
        assert sidecar.stop() == 0
    assert set(world.rcpts().values()) == {1}


def test_a_paused_company_is_claimed_for_and_held_and_once_does_not_wait(world: World) -> None:
    world.command("pause", "company", "1")
    world.site.queue("user_create", 1, world.site.add_users(1, 20))
    world.drain()
    assert received(world) == 0
    assert world.states() == {"pending": 20}
    assert world.unsent() == 0
    (job,) = world.jobs()
    assert "paused" in world.command("job", str(job["id"]))
    world.command("resume", "company", "1")
    world.drain()
    assert world.states() == {"sent": 20}


def test_a_paused_job_waits_and_the_next_one_goes_on(world: World) -> None:
    world.command("pause", "all")
    world.site.queue("user_create", 1, world.site.add_users(1, 20))
    world.drain()
    (job,) = world.jobs()
    world.command("pause", "job", str(job["id"]))
    world.command("resume", "all")
    world.site.queue("license_allocated", 1, world.site.add_users(1, 15))
    world.drain()
    assert world.states() == {"pending": 20, "sent": 15}
    world.command("resume", "job", str(job["id"]))
    world.drain()
    assert world.states() == {"sent": 35}


def test_disabled_means_that_moodles_cron_sends(world: World) -> None:
    world.command("disable", "1")
    world.site.queue("user_create", 1, world.site.add_users(1, 20))
    world.drain()
    assert world.unsent() == 20
    world.command("enable", "1")
    world.drain()
    assert world.states() == {"sent": 20}


def test_outside_its_hours_a_companys_mail_waits_and_goes_on_by_itself(world: World) -> None:
    soon = datetime.now(UTC) + timedelta(hours=2)
    later = soon + timedelta(hours=1)
    world.command("company", "set", "1", "--send-window", f"{soon:%H:%M}-{later:%H:%M} UTC")
    world.site.queue("user_create", 1, world.site.add_users(1, 20))
    with world.start() as sidecar:
        sidecar.wait_for_line("claimed 20 rows")
        sidecar.wait_for_line("outside its send window until")
        assert received(world) == 0
        world.command("company", "set", "1", "--send-window", "always")
        wait_for(lambda: received(world) == 20, 30, "sent")
        assert sidecar.stop() == 0
    refused = world.command("company", "set", "1", "--send-window", "8-18", ok=False)
    assert refused == ""
