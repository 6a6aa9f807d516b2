"""The host's clock jumps; the database's clock, which decides, does not."""

import time
from pathlib import Path

import pytest

from tests.e2e.world import World
from tests.support.processes import Sidecar
from tests.support.wait import wait_for

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


@pytest.mark.parametrize("jump", ["+15m", "-15m", "-1h"])
def test_a_clock_jump_sends_nothing_early_nothing_twice_and_does_not_stall(
    world: World, jump: str
) -> None:
    assert LIBRARY, "libfaketime is missing: scripts/test.sh installs it"
    offset = world.tmp / "offset"
    offset.write_text("+0\n")
    environment = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    config = world.write_config(world.url, lease_seconds=3)
    early = world.site.add_users(1, 20)
    late = world.site.add_users(1, 20)
    world.site.queue("license_allocated", 1, late, due=int(time.time()) + 600)
    with Sidecar(config, env=environment) as sidecar:
        sidecar.wait_for_line("leading this site")
        offset.write_text(f"{jump}\n")
        sidecar.wait_for_line("the clock was set by")
        world.site.queue("user_create", 1, early)
        wait_for(lambda: len(world.sink.messages) >= 20, 30, "mail goes on")
        wait_for(lambda: world.states() == {"sent": 20}, 10, "all is recorded")
        assert sidecar.stop() == 0
    assert world.rcpts() == {person.email: 1 for person in early}
    assert world.unsent() == 20
