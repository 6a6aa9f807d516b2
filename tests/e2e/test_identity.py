"""A copy of the site never sends; the admin says what it is."""

import resource
import shutil
from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.identity import StateDir
from tests.e2e.world import World
from tests.support.mariadb import MariaDBServer
from tests.support.processes import run_sidecar


def copied(world: World, mariadb: MariaDBServer, name: str, state: bool) -> World:
    """The same database under another name; state: the whole host was copied."""
    mariadb.clone_database(world.engine.url.database or "", name)
    url = mariadb.url(name)
    copy = World(
        url,
        world.site,
        world.sink,
        world.write_config(url, name="copy"),
        world.engine,
        world.write_config,
        world.tmp,
    )
    if state:
        shutil.copytree(world.tmp / "sidecar-state", world.tmp / "copy-state")
    return copy


def test_a_copied_database_beside_its_original_sends_nothing(
    world: World, mariadb: MariaDBServer
) -> None:
    people = world.site.add_users(1, 30)
    world.site.queue("user_create", 1, people)
    copy = copied(world, mariadb, "copied1", state=False)
    done = run_sidecar(copy.config, "run", "--until-idle")
    assert done.returncode == 1
    assert "adopt --moved" in done.stderr
    assert not world.sink.messages
    with copy.start() as beside:
        beside.wait_for_line("standing still")
        world.drain()
        assert beside.stop() == 0
    assert world.rcpts() == {person.email: 1 for person in people}
    mariadb.drop_database("copied1")


def test_adopt_copy_makes_a_site_of_its_own_that_sends_nothing(
    world: World, mariadb: MariaDBServer
) -> None:
    world.sink.rules.clear()
    world.site.queue("user_create", 1, world.site.add_users(1, 30))
    world.site.set_config("smtphosts", "127.0.0.1:9")
    with world.start() as daemon:
        daemon.wait_for_line("waits")
        assert daemon.stop() == 0
    copy = copied(world, mariadb, "copied2", state=True)
    assert "of its own" in copy.command("adopt", "--copy")
    assert '"enabled": true' not in copy.command("company", "list", "--json")
    assert copy.jobs()[0]["status"] == "cancelled"
    copy.drain()
    world.site.set_config("smtphosts", f"127.0.0.1:{world.sink.port}")
    world.drain()
    assert len(world.sink.messages) == 30
    mariadb.drop_database("copied2")


def test_adopt_moved_goes_on(world: World, mariadb: MariaDBServer) -> None:
    people = world.site.add_users(1, 30)
    world.site.queue("user_create", 1, people)
    moved = copied(world, mariadb, "moved", state=True)
    moved.command("adopt", "--moved")
    moved.drain()
    assert world.rcpts() == {person.email: 1 for person in people}
    mariadb.drop_database("moved")


def test_a_lost_state_directory_is_taken_over_again(world: World) -> None:
    shutil.rmtree(world.tmp / "sidecar-state")
    people = world.site.add_users(1, 12)
    world.site.queue("user_create", 1, people)
    world.drain()
    assert world.rcpts() == {person.email: 1 for person in people}


def test_another_sites_state_directory_is_refused(world: World) -> None:
    (world.tmp / "sidecar-state" / "site.json").write_text('{"site_uid": "another"}')
    done = run_sidecar(world.config, "run", "--until-idle")
    assert done.returncode == 1
    assert "remembers another site" in done.stderr


def test_a_full_disk_matters_only_where_the_site_is_not_known_yet(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.remember("one")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # no byte can be written
    try:
        state.remember("one")
        with pytest.raises(ConfigError, match="not writable"):
            state.remember("two")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [file.name for file in tmp_path.iterdir()] == ["site.json"]
