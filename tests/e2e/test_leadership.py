"""Several sidecars, frozen ones, killed ones: one leads, nothing is lost or sent by two."""

import random
import time

from tests.conftest import on_every_database
from tests.e2e.world import World
from tests.support.processes import Sidecar, run_sidecar
from tests.support.wait import wait_for

CONNECTIONS = 4


def second(world: World) -> Sidecar:
    config = world.write_config(
        world.url, name="second", lease_seconds=3, state_dir=str(world.tmp / "sidecar-state")
    )
    return Sidecar(config)


def test_two_sidecars_on_one_site_send_each_mail_once(world: World) -> None:
    people = world.site.add_users(1, 300)
    world.config = world.write_config(world.url, lease_seconds=3)
    with world.start() as first, second(world) as other:
        first_or_other = (first, other)
        wait_for(
            lambda: any("leading this site" in s.output() for s in first_or_other), 20, "a leader"
        )
        world.site.queue("user_create", 1, people)
        wait_for(lambda: len(world.sink.messages) == 300, 60, "all mails")
        assert sum("leading this site" in s.output() for s in first_or_other) == 1
        assert first.stop() == 0
        assert other.stop() == 0
    assert world.rcpts() == {person.email: 1 for person in people}


@on_every_database
def test_the_other_takes_over_from_a_killed_leader(world: World) -> None:
    world.config = world.write_config(world.url, lease_seconds=3)
    with world.start() as first:
        first.wait_for_line("leading this site")
        with second(world) as other:
            first.kill9()
            people = world.site.add_users(1, 20)
            world.site.queue("user_create", 1, people)
            other.wait_for_line("leading this site")
            wait_for(lambda: len(world.sink.messages) == 20, 30, "all mails")
            assert other.stop() == 0
    assert world.rcpts() == {person.email: 1 for person in people}


def test_a_frozen_leader_that_wakes_up_late_writes_nothing(world: World) -> None:
    people = world.site.add_users(1, 400)
    world.config = world.write_config(world.url, lease_seconds=3, smtp_max_connections=CONNECTIONS)
    world.sink.latency = 0.01
    with world.start() as first:
        first.wait_for_line("leading this site")
        world.site.queue("user_create", 1, people)
        wait_for(lambda: len(world.sink.messages) > 50, 30, "the first mails")
        first.freeze()
        with second(world) as other:
            other.wait_for_line("leading this site", 60)
            first.thaw()
            wait_for(lambda: world.states().get("sent") == 400, 60, "all mails")
            first.wait_for_line("interrupted")
            assert first.stop() == 0
            assert other.stop() == 0
    counts = world.rcpts()
    assert set(counts) == {person.email for person in people}
    assert sum(number - 1 for number in counts.values()) <= CONNECTIONS


def test_ten_kills_lose_nothing(world: World) -> None:
    people = world.site.add_users(1, 2000)
    world.config = world.write_config(
        world.url, lease_seconds=1, min_age=0.2, smtp_max_connections=CONNECTIONS
    )
    world.site.queue("user_create", 1, people)
    chance = random.Random(20261124)
    world.sink.latency = 0.002
    kills = 0
    while kills < 10:
        with world.start() as sidecar:
            seen = len(world.sink.messages)
            wait_for(
                lambda seen=seen: len(world.sink.messages) > seen or world.unsent() == 0,  # type: ignore[misc]
                30,
                "mails or an empty queue",
            )
            deadline = time.monotonic() + chance.uniform(0.0, 0.4)
            wait_for(lambda at=deadline: time.monotonic() > at, 5, "a random moment")  # type: ignore[misc]
            sidecar.kill9()
            kills += 1
    world.drain()
    counts = world.rcpts()
    assert set(counts) == {person.email for person in people}
    twice = sum(number - 1 for number in counts.values())
    assert twice <= CONNECTIONS * kills
    ids: dict[str, set[bytes]] = {}
    for message in world.sink.messages:
        head = message.data.split(b"\r\n\r\n", 1)[0]
        line = next(part for part in head.split(b"\r\n") if part.startswith(b"Message-ID"))
        ids.setdefault(message.recipients[0], set()).add(line)
    assert all(len(lines) == 1 for lines in ids.values())
    assert world.states() == {"sent": 2000}


def test_sigterm_finishes_what_is_in_flight(world: World) -> None:
    people = world.site.add_users(1, 500)
    world.sink.latency = 0.01
    world.site.queue("user_create", 1, people)
    with world.start() as sidecar:
        wait_for(lambda: len(world.sink.messages) > 20, 30, "the first mails")
        assert sidecar.stop(30) == 0
    sent = world.states()["sent"]
    assert sent == len(world.sink.messages)
    assert "processing" not in world.states()
    world.drain()
    assert world.rcpts() == {person.email: 1 for person in people}


def test_commands_work_with_and_without_a_leader(world: World) -> None:
    world.command("company", "set", "1", "--bulk-threshold", "5")
    with world.start() as sidecar:
        sidecar.wait_for_line("leading this site")
        world.command("company", "set", "1", "--bulk-threshold", "3")
        done = run_sidecar(world.config, "cancel", "99")
        assert done.returncode == 1
        assert "there is no job 99" in done.stderr
        world.site.queue("user_create", 1, world.site.add_users(1, 3))
        wait_for(lambda: len(world.sink.messages) == 3, 20, "three mails are bulk now")
        assert sidecar.stop() == 0
