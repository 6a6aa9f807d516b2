"""The daemon under each kind of ``$CFG->lock_factory``: it claims only with cron's own lock."""

import fcntl
from pathlib import Path

from sidecar.moodle.locks import FileLock
from tests.e2e.world import World
from tests.support.wait import wait_for

TASK = "\\local_email\\task\\cron_task"


def moodle_says(world: World, **config: str) -> None:
    lines = [f"{name} = '{value}'\n" for name, value in config.items()]
    with world.config.open("a") as file:
        file.writelines(["[moodle_config]\n", *lines])


def test_an_unknown_factory_leaves_all_mail_with_moodle(world: World) -> None:
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    moodle_says(world, lock_factory=r"\local_redis\lock\redis_lock_factory")
    with world.start() as sidecar:
        line = sidecar.wait_for_line("nothing is claimed of")
        assert r"local_redis\lock\redis_lock_factory" in line
        assert sidecar.stop() == 0
    assert world.unsent() == 12
    shown = world.command("check", ok=False)
    assert "FAIL  cron lock" in shown


def test_the_file_factory_is_honoured(world: World, tmp_path: Path) -> None:
    lock = FileLock(tmp_path, TASK)
    lock.path.parent.mkdir()
    people = world.site.add_users(1, 12)
    world.site.queue("user_create", 1, people)
    moodle_says(world, lock_factory=r"\core\lock\file_lock_factory", file_lock_root=str(tmp_path))
    with lock.path.open("wb") as cron, world.start() as sidecar:
        fcntl.flock(cron, fcntl.LOCK_EX)
        sidecar.wait_for_line("nothing more is claimed now")
        assert world.unsent() == 12
        fcntl.flock(cron, fcntl.LOCK_UN)
        wait_for(lambda: len(world.sink.messages) == 12, 30, "claimed after cron")
        sidecar.kill9()
        fcntl.flock(cron, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert world.rcpts() == {person.email: 1 for person in people}
