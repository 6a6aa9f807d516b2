"""Every off switch of the admin and of Moodle stops us, visibly, and resumes by itself."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.world import World
from tests.support.processes import run_sidecar
from tests.support.wait import wait_for

TASK = "\\local_email\\task\\cron_task"

Switch = tuple[str, Callable[[World], object], Callable[[World], object]]


def setting(
    name: str, on: str, off: str
) -> tuple[Callable[[World], None], Callable[[World], None]]:
    return (
        lambda world: world.site.set_config(name, on),
        lambda world: world.site.set_config(name, off),
    )


def task(disabled: int) -> Callable[[World], object]:
    return lambda world: world.sql(
        "UPDATE mdl_task_scheduled SET disabled = :d WHERE classname = :c", d=disabled, c=TASK
    )


def climaintenance(world: World) -> Path:
    return world.tmp / "moodledata" / "climaintenance.html"


SWITCHES: list[Switch] = [
    ("cron is disabled", *setting("cron_enabled", "0", "1")),
    ("is disabled", task(1), task(0)),
    ("upgrade", *setting("upgraderunning", "99999999999", "0")),
    ("maintenance mode", *setting("maintenance_enabled", "1", "0")),
    (
        "CLI maintenance",
        lambda world: climaintenance(world).write_text("x"),
        lambda world: climaintenance(world).unlink(),
    ),
    ("noemailever", *setting("noemailever", "1", "0")),
]


@pytest.mark.parametrize(("says", "on", "off"), SWITCHES, ids=[s[0] for s in SWITCHES])
def test_a_switch_stops_us_and_its_end_resumes(
    world: World,
    says: str,
    on: Callable[[World], object],
    off: Callable[[World], object],
) -> None:
    on(world)
    people = world.site.add_users(1, 12)
    world.site.queue("user_create", 1, people)
    assert says in world.command("check", ok=False)
    with world.start() as sidecar:
        sidecar.wait_for_line(says)
        assert world.unsent() == 12
        off(world)
        wait_for(lambda: len(world.sink.messages) == 12, 30, "it resumes by itself")
        assert sidecar.stop() == 0


def test_a_running_job_stops_too(world: World) -> None:
    world.site.set_config("smtphosts", "127.0.0.1:9")
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    with world.start() as sidecar:
        sidecar.wait_for_line("waits")
        world.site.set_config("cron_enabled", "0")
        sidecar.wait_for_line("cron is disabled")
        assert sidecar.stop() == 0
    world.site.set_config("smtphosts", f"127.0.0.1:{world.sink.port}")
    done = run_sidecar(world.config, "run", "--until-idle")
    assert done.returncode == 1
    assert "cron is disabled" in done.stderr
    assert not world.sink.messages


def test_only_sidecar_sends_does_without_moodles_task(world: World) -> None:
    task(1)(world)
    world.config = world.write_config(world.url, only_sidecar_sends=True)
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    world.drain()
    assert len(world.sink.messages) == 12


def moodle_folder(world: World, folder: Path, extra: str) -> Path:
    """A folder with a config.php for the world's database."""
    moodle = folder / "moodle"
    moodle.mkdir(exist_ok=True)
    url = world.engine.url
    (moodle / "version.php").write_text("<?php $version = 2023100909.00;")
    (moodle / "config.php").write_text(
        "<?php unset($CFG); global $CFG; $CFG = new stdClass();\n"
        f"$CFG->dbtype = 'mariadb'; $CFG->dbhost = '127.0.0.1'; $CFG->dbname = '{url.database}';\n"
        "$CFG->dbuser = 'root'; $CFG->dbpass = ''; $CFG->prefix = 'mdl_';\n"
        f"$CFG->dboptions = ['dbport' => {url.port}];\n"
        "$CFG->wwwroot = 'https://learn.example.test';\n"
        f"$CFG->dataroot = '{folder}/moodledata';\n"
        f"{extra}"
        "require_once(__DIR__ . '/lib/setup.php');\n"
    )
    return moodle


def test_config_php_overrides_the_database(world: World, tmp_path: Path) -> None:
    moodle = moodle_folder(world, tmp_path, "$CFG->noemailever = true;\n")
    world.config = world.write_config(None, wwwroot=None, dataroot=None, moodle_dir=str(moodle))
    assert "noemailever" in world.command("check", ok=False)


def test_a_changed_config_php_counts_at_once(world: World, tmp_path: Path) -> None:
    moodle = moodle_folder(world, tmp_path, "")
    world.config = world.write_config(None, wwwroot=None, dataroot=None, moodle_dir=str(moodle))
    world.command("adopt", "--moved")
    with world.start() as sidecar:
        sidecar.wait_for_line("leading this site")
        moodle_folder(world, tmp_path, "$CFG->noemailever = true;\n")
        sidecar.wait_for_line("config.php has changed")
        sidecar.wait_for_line("noemailever is set")
        world.site.queue("user_create", 1, world.site.add_users(1, 12))
        assert sidecar.stop() == 0
    assert world.unsent() == 12
    assert not world.sink.messages
