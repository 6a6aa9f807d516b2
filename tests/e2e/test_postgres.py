"""The main job on PostgreSQL: the lock, the limits and the rights of that server."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from sidecar.moodle.locks import PostgresLock
from tests.e2e.world import World
from tests.support.postgres import PostgresServer
from tests.support.wait import wait_for

pytestmark = pytest.mark.parametrize("iomad_db", ["postgresql"], indirect=True)

TASK = "\\local_email\\task\\cron_task"
INSTALL = Path(__file__).parents[2] / "docs" / "install.md"


def keys(world: World) -> tuple[int, int]:
    lock = PostgresLock(world.engine.url.database or "", "mdl_", TASK)
    return lock.site, lock.resource


def cron_takes(world: World, cron: Connection) -> bool:
    """As postgres_lock_factory.php does, for its session."""
    taken = cron.exec_driver_sql("SELECT pg_try_advisory_lock(%s, %s)", keys(world)).scalar()
    cron.commit()
    return bool(taken)


def test_while_cron_holds_the_lock_nothing_is_claimed(world: World) -> None:
    world.site.queue("user_create", 1, world.site.add_users(1, 40))
    with world.engine.connect() as cron:
        assert cron_takes(world, cron)
        with world.start() as sidecar:
            sidecar.wait_for_line("nothing more is claimed now")
            assert world.unsent() == 40
            assert not world.sink.messages
            cron.exec_driver_sql("SELECT pg_advisory_unlock(%s, %s)", keys(world))
            cron.commit()
            wait_for(lambda: len(world.sink.messages) == 40, 30, "claimed after cron")
            assert sidecar.stop() == 0


def test_killed_with_the_lock_held_cron_gets_it_and_nothing_is_claimed(world: World) -> None:
    people = world.site.add_users(1, 40)
    first, *_ = world.site.queue("user_create", 1, people)
    world.config = world.write_config(world.url, lease_seconds=3)
    with world.engine.connect() as row, world.engine.connect() as cron:
        row.exec_driver_sql(f"SELECT * FROM mdl_email WHERE id = {first} FOR UPDATE")
        with world.start() as sidecar:
            held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = :key"
            wait_for(lambda: world.sql(held, key=keys(world)[1]), 30, "the claim holds the lock")
            assert not cron_takes(world, cron)
            sidecar.kill9()
        wait_for(lambda: cron_takes(world, cron), 60, "cron has the lock")
        row.rollback()
        assert world.unsent() == 40
        assert world.one("SELECT COUNT(*) FROM mdl_manireports_cloud_recipients") == 0
    world.engine.dispose()
    world.drain()
    assert world.rcpts() == {person.email: 1 for person in people}


@pytest.fixture
def granted(world: World, postgres: PostgresServer) -> Iterator[World]:
    """The world of a database user with no other rights than those of docs/install.md."""
    statements = re.findall(r"```sql\n(CREATE ROLE.*?)```", INSTALL.read_text("utf-8"), re.DOTALL)
    name = world.engine.url.database or ""
    postgres.execute(statements[0].replace("…", "hunter2"), database=name)
    url = world.engine.url.set(username="sidecar", password="hunter2")
    world.config = world.write_config(url.render_as_string(hide_password=False), name="granted")
    yield world
    postgres.execute("DROP OWNED BY sidecar; DROP ROLE sidecar", database=name)


def test_the_rights_of_the_docs_are_enough_and_update_is_needed(
    granted: World, postgres: PostgresServer
) -> None:
    users = granted.site.add_users(1, 12)
    granted.site.queue("user_create", 1, users)
    granted.site.add_company(2, "Globex & Søn")
    granted.command("company", "set", "2", "--enable")
    shown = granted.command("check")
    assert "PostgreSQL 1" in shown
    assert "shared with cron (PostgresLock)" in shown
    granted.drain()
    assert granted.rcpts() == {user.email: 1 for user in users}
    postgres.execute(
        "REVOKE UPDATE ON mdl_email FROM sidecar", database=granted.engine.url.database or ""
    )
    shown = granted.command("check", ok=False)
    assert "FAIL  privileges" in shown
    assert "mdl_email" in shown
    assert "hunter2" not in shown


def test_a_server_restart_in_mid_job_is_survived(world: World, postgres: PostgresServer) -> None:
    people = world.site.add_users(1, 300)
    world.sink.latency = 0.005
    world.site.queue("user_create", 1, people)
    with world.start() as sidecar:
        wait_for(lambda: len(world.sink.messages) > 30, 30, "the first mails")
        world.engine.dispose()
        postgres.kill()
        postgres.start()
        wait_for(lambda: len(world.sink.messages) >= 300, 60, "all mails")
        wait_for(lambda: world.states().get("sent") == 300, 30, "all recorded")
        assert sidecar.stop() == 0
    assert world.rcpts() == {person.email: 1 for person in people}
