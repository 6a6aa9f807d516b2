"""The database refuses, restarts, loses connections: nothing is half done."""

from sqlalchemy import func

from sidecar.moodle.locks import MysqlLock, RecordLock
from sidecar.moodle.tables import moodle_tables
from tests.e2e.world import World
from tests.support.mariadb import MariaDBServer
from tests.support.processes import run_sidecar
from tests.support.wait import wait_for

LOCK = "\\local_email\\task\\cron_task"


def lock_name(world: World) -> str:
    return MysqlLock(world.engine.url.database or "", "mdl_", LOCK).name


def test_a_database_restart_in_mid_job_is_survived(world: World, mariadb: MariaDBServer) -> None:
    people = world.site.add_users(1, 600)
    world.sink.latency = 0.005
    world.site.queue("user_create", 1, people)
    with world.start() as sidecar:
        wait_for(lambda: len(world.sink.messages) > 50, 30, "the first mails")
        world.engine.dispose()
        mariadb.kill()
        mariadb.start()
        wait_for(lambda: len(world.sink.messages) >= 600, 60, "all mails")
        wait_for(lambda: world.states().get("sent") == 600, 30, "all recorded")
        assert sidecar.stop() == 0
    assert world.rcpts() == {person.email: 1 for person in people}


def test_killing_the_claiming_connection_rolls_the_claim_back(world: World) -> None:
    people = world.site.add_users(1, 40)
    world.site.queue("user_create", 1, people)
    with world.engine.connect() as blocker:
        blocker.exec_driver_sql("BEGIN")
        blocker.exec_driver_sql("SELECT * FROM mdl_email WHERE id = 1 FOR UPDATE")
        with world.start() as sidecar:
            name = lock_name(world)
            holder = wait_for(
                lambda: world.one("SELECT IS_USED_LOCK(:n)", n=name), 30, "the claim holds the lock"
            )
            world.sql(f"KILL {holder}")
            wait_for(
                lambda: world.one("SELECT IS_USED_LOCK(:n)", n=name) != holder, 10, "it is free"
            )
            assert world.unsent() == 40
            assert world.one("SELECT COUNT(*) FROM mdl_manireports_cloud_recipients") == 0
            blocker.rollback()
            wait_for(lambda: len(world.sink.messages) == 40, 60, "claimed again and sent")
            assert sidecar.stop() == 0
    assert world.rcpts() == {person.email: 1 for person in people}


def test_while_cron_holds_the_lock_nothing_is_claimed(world: World) -> None:
    people = world.site.add_users(1, 40)
    world.site.queue("user_create", 1, people)
    with world.engine.connect() as cron:
        assert cron.exec_driver_sql(f"SELECT GET_LOCK('{lock_name(world)}', 0)").scalar() == 1
        with world.start() as sidecar:
            sidecar.wait_for_line("nothing more is claimed now")
            assert world.unsent() == 40
            assert not world.sink.messages
            cron.exec_driver_sql(f"SELECT RELEASE_LOCK('{lock_name(world)}')")
            wait_for(lambda: len(world.sink.messages) == 40, 30, "claimed after cron")
            assert sidecar.stop() == 0


def test_the_record_factory_is_honoured(world: World) -> None:
    lock = RecordLock(moodle_tables("mdl_"), LOCK, func.unix_timestamp())
    with world.engine.begin() as conn, lock.transaction(conn):
        held = world.sql("SELECT owner FROM mdl_lock_db")
        assert held == [] or held[0].owner is None
    (row,) = world.sql("SELECT resourcekey, owner, expires FROM mdl_lock_db")
    assert (row.resourcekey, row.owner, row.expires) == (f"cron_{LOCK}", None, None)


def test_a_read_only_user_is_told_what_is_missing(world: World, mariadb: MariaDBServer) -> None:
    name = world.engine.url.database
    mariadb.execute("CREATE OR REPLACE USER reader@'127.0.0.1' IDENTIFIED BY 'hunter2'")
    mariadb.execute(f"GRANT SELECT ON {name}.* TO reader@'127.0.0.1'")
    url = world.engine.url.set(username="reader", password="hunter2")
    world.config = world.write_config(url.render_as_string(hide_password=False), name="reader")
    shown = world.command("check", ok=False)
    assert "FAIL  privileges" in shown
    assert "mdl_email" in shown
    assert "hunter2" not in shown


def test_an_unreachable_database_is_one_line(world: World) -> None:
    url = world.engine.url.set(port=9, password="secret")
    config = world.write_config(url.render_as_string(hide_password=False), name="away")
    done = run_sidecar(config, "jobs")
    assert done.returncode == 2
    assert "database_url" in done.stderr
    assert "away.toml" in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_database_restart_in_mid_claim_leaves_the_claim_undone(
    world: World, mariadb: MariaDBServer
) -> None:
    people = world.site.add_users(1, 40)
    world.site.queue("user_create", 1, people)
    with world.engine.connect() as blocker:
        blocker.exec_driver_sql("BEGIN")
        blocker.exec_driver_sql("SELECT * FROM mdl_email WHERE id = 1 FOR UPDATE")
        with world.start() as sidecar:
            name = lock_name(world)
            wait_for(
                lambda: world.one("SELECT IS_USED_LOCK(:n)", n=name), 30, "the claim is under way"
            )
            mariadb.kill()
            mariadb.start()
            blocker.invalidate()
            world.engine.dispose()
            wait_for(lambda: len(world.sink.messages) == 40, 60, "claimed anew and sent")
            assert sidecar.stop() == 0
    assert world.rcpts() == {person.email: 1 for person in people}
