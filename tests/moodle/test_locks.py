"""Our locks and cron's exclude each other, done by hand as Moodle's PHP does it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, literal

from sidecar.errors import LockBusyError, LockUnusableError
from sidecar.moodle.lock_check import lock_doubts
from sidecar.moodle.lock_factory import task_lock
from sidecar.moodle.locks import (
    FileLock,
    MysqlLock,
    NoLock,
    PostgresLock,
    RecordLock,
    TaskLock,
)
from sidecar.moodle.tables import moodle_tables
from sidecar.settings import Settings
from sidecar.store.database import Database
from tests.conftest import on_every_database
from tests.moodle.php import Php

TASK = "\\local_email\\task\\cron_task"
TABLES = moodle_tables("mdl_")

POSTGRES_KEYS = r"""
function answer($in) {
    $site = crc32($in[0] . ':' . $in[1]);
    if ($site > 0x7FFFFFFF) {
        $site -= 0x100000000;
    }
    return $site . ' ' . hexdec(substr(sha1('cron_' . $in[2]), 0, 7));
}
"""

FILE_LOCK = r"""
function answer($in) {
    static $held = null;
    if ($in === 'free') {
        fclose($held);
        return 'free';
    }
    $hash = md5('cron_' . $in[1]);
    @mkdir($in[0] . '/' . substr($hash, 0, 2), 0777, true);
    $held = fopen($in[0] . '/' . substr($hash, 0, 2) . '/' . $hash, 'wb');
    return flock($held, LOCK_EX | LOCK_NB) ? 'held' : 'busy';
}
"""


@pytest.fixture
def database(iomad_db: str) -> Iterator[Database]:
    made = Database(iomad_db, "mdl_")
    yield made
    made.close()


@contextmanager
def taken(lock: TaskLock, conn: Connection) -> Iterator[None]:
    """As a claim takes it; the transaction ends in a commit."""
    with lock.session(conn), conn.begin(), lock.transaction(conn):
        yield


def is_free(lock: TaskLock, database: Database) -> bool:
    """Whether a claim on another connection would get the lock."""
    with database.engine.connect() as conn:
        try:
            with taken(lock, conn):
                return True
        except LockBusyError:
            return False


@pytest.fixture(scope="module")
def php_keys() -> Iterator[Php]:
    with Php(POSTGRES_KEYS) as php:
        yield php


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]))] * 3))
def test_the_advisory_keys_are_those_of_php(php_keys: Php, named: tuple[str, str, str]) -> None:
    lock = PostgresLock(*named)
    assert f"{lock.site} {lock.resource}".encode() == php_keys.ask(named)


@pytest.mark.parametrize("iomad_db", ["postgresql"], indirect=True)
def test_an_advisory_lock_ends_with_the_claims_transaction(database: Database) -> None:
    lock = PostgresLock("moodle", "mdl_", TASK)
    take = f"SELECT pg_try_advisory_lock({lock.site}, {lock.resource})"
    with database.engine.connect() as cron, database.engine.connect() as ours:
        with taken(lock, ours):
            assert cron.exec_driver_sql(take).scalar() is False
        assert cron.exec_driver_sql(take).scalar() is True
        assert not is_free(lock, database)
        cron.exec_driver_sql(f"SELECT pg_advisory_unlock({lock.site}, {lock.resource})")
        assert is_free(lock, database)


@on_every_database
def test_the_record_lock_excludes_crons_and_is_gone_after_a_rollback(database: Database) -> None:
    lock = RecordLock(TABLES, TASK, database.clock())
    record = TABLES.lock_db

    def cron_owns(owner: str | None, seconds: int) -> None:
        with database.write(None) as tx:
            mine = record.update().where(record.c.resourcekey == f"cron_{TASK}")
            tx.conn.execute(mine.values(owner=owner, expires=tx.now + seconds))

    assert is_free(lock, database)
    cron_owns("00000000-0000-4000-8000-000000000000", 86_400)
    assert not is_free(lock, database)
    cron_owns("00000000-0000-4000-8000-000000000000", -1)
    assert is_free(lock, database)
    with pytest.raises(ZeroDivisionError), database.engine.connect() as ours, taken(lock, ours):
        raise ZeroDivisionError
    with database.read() as conn:
        (row,) = conn.execute(record.select()).all()
    assert (row.resourcekey, row.owner, row.expires) == (f"cron_{TASK}", None, None)


@on_every_database
def test_a_race_for_a_new_record_is_a_busy_lock(database: Database) -> None:
    lock = RecordLock(TABLES, TASK, literal(0))
    assert is_free(lock, database)
    with database.engine.connect() as ours:
        with pytest.raises(LockBusyError), ours.begin():
            lock._insert(ours)
        with ours.begin():
            assert database.now(ours)


@pytest.fixture
def cron(tmp_path: Path) -> Iterator[Php]:
    with Php(FILE_LOCK) as php:
        yield php


def test_a_lock_file_excludes_php_until_the_transaction_is_over(
    database: Database, cron: Php, tmp_path: Path
) -> None:
    lock = FileLock(tmp_path, TASK)
    with database.engine.connect() as ours:
        with pytest.raises(LockUnusableError, match="there is no lock file"), taken(lock, ours):
            pass
        assert not any(tmp_path.iterdir())
        assert cron.ask([str(tmp_path), TASK]) == b"held"
        assert not is_free(lock, database)
        cron.ask("free")
        with taken(lock, ours):
            assert cron.ask([str(tmp_path), TASK]) == b"busy"
        assert not ours.in_transaction()
        assert cron.ask([str(tmp_path), TASK]) == b"held"


def test_a_lock_file_that_was_replaced_is_not_held(database: Database, tmp_path: Path) -> None:
    lock = FileLock(tmp_path, TASK)
    lock.path.parent.mkdir()
    lock.path.touch()
    with database.engine.connect() as conn, lock.session(conn):
        lock.path.rename(tmp_path / "old")
        lock.path.touch()
        with pytest.raises(LockBusyError, match="removed"), lock.transaction(conn):
            pass


def test_a_file_that_may_not_be_opened_says_what_to_do(database: Database, tmp_path: Path) -> None:
    lock = FileLock(tmp_path, TASK)
    lock.path.mkdir(parents=True)
    with database.engine.connect() as conn:
        (doubt,) = lock_doubts(conn, TABLES, lock, TASK)
    assert "cannot be opened" in doubt or "cannot be locked" in doubt
    assert str(lock.path) in doubt


def choose(family: str = "mysql", unread: tuple[str, ...] = (), **config: object) -> TaskLock:
    made = Settings(
        dataroot=Path("/srv/moodledata"),
        moodle_config=config,
        moodle_config_unread=frozenset(unread),
    )
    return task_lock(made, TABLES, family=family, dbname="moodle", clock=literal(0), task=TASK)


PROXY = "\\tool_lockstats\\proxy_lock_factory"


@pytest.mark.parametrize(
    ("lock", "kind"),
    [
        (choose(), MysqlLock),
        (choose(lock_factory="auto"), MysqlLock),
        (choose("postgresql"), PostgresLock),
        (choose("sqlite"), RecordLock),
        (choose(lock_factory="\\core\\lock\\mysql_lock_factory"), MysqlLock),
        (choose(lock_factory="core\\lock\\db_record_lock_factory"), RecordLock),
        (choose("postgresql", lock_factory="\\core\\lock\\File_Lock_Factory"), FileLock),
        (choose("postgresql", lock_factory=PROXY, proxied_lock_factory="auto"), PostgresLock),
        (choose(lock_factory=PROXY), MysqlLock),
        (
            choose(lock_factory=PROXY, proxied_lock_factory="\\core\\lock\\file_lock_factory"),
            FileLock,
        ),
    ],
)
def test_the_lock_is_that_of_crons_factory(lock: TaskLock, kind: type) -> None:
    assert type(lock) is kind


@pytest.mark.parametrize(
    ("lock", "reason"),
    [
        (choose(lock_factory="\\local_redis\\lock\\mysql_lock_factory"), "local_redis"),
        (choose("postgresql", lock_factory="\\core\\lock\\mysql_lock_factory"), "mysql_lock"),
        (choose(lock_factory=PROXY, proxied_lock_factory=PROXY), "tool_lockstats"),
        (choose(unread=("lock_factory",)), r"\$CFG->lock_factory in config.php cannot be read"),
        (
            choose(lock_factory=PROXY, unread=("proxied_lock_factory",)),
            r"\$CFG->proxied_lock_factory in config.php cannot be read",
        ),
        (
            choose(lock_factory="\\core\\lock\\file_lock_factory", preventfilelocking=True),
            "preventfilelocking",
        ),
    ],
)
def test_what_cannot_be_shared_says_why_and_is_never_taken(
    database: Database, lock: TaskLock, reason: str
) -> None:
    assert isinstance(lock, NoLock)
    with database.engine.connect() as conn:
        with pytest.raises(LockUnusableError, match=reason):
            lock.session(conn)
        assert lock_doubts(conn, TABLES, lock, TASK) == [lock.reason]


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({}, "/srv/moodledata/lock"),
        ({"file_lock_root": "/run/moodle", "preventfilelocking": "1"}, "/run/moodle"),
    ],
)
def test_the_lock_file_is_where_cron_has_it(config: dict[str, Any], path: str) -> None:
    lock = choose(lock_factory="\\core\\lock\\file_lock_factory", **config)
    assert isinstance(lock, FileLock)
    assert lock.path.parent.parent == Path(path)
