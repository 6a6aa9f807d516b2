"""Which lock this site's cron takes: ``$CFG->lock_factory``, seen through plugins that count locks.

Source: lib/classes/lock/lock_config.php of Moodle 4.3; classes/proxy_lock_factory.php and README
of tool_lockstats.
"""

from pathlib import Path

from sqlalchemy.sql.elements import ColumnElement

from sidecar.errors import LockUnusableError
from sidecar.moodle.locks import (
    FileLock,
    MysqlLock,
    NoLock,
    PostgresLock,
    RecordLock,
    TaskLock,
)
from sidecar.moodle.php_values import is_empty, to_string
from sidecar.moodle.tables import MoodleTables
from sidecar.settings import Settings

LOCK_KEYS = ("lock_factory", "proxied_lock_factory", "file_lock_root", "preventfilelocking")
"""The ``$CFG`` names that decide which lock it is."""

_CORE = "core\\lock\\"
_PROXY = "tool_lockstats\\proxy_lock_factory"

_OF_FAMILY = {
    "mysql": "mysql_lock_factory",
    "postgresql": "postgres_lock_factory",
    "sqlite": "db_record_lock_factory",
}
"""What ``auto`` means; SQLite is the demo's."""

_ANYWHERE = ("db_record_lock_factory", "file_lock_factory")


def task_lock(
    settings: Settings,
    tables: MoodleTables,
    *,
    family: str,
    dbname: str,
    clock: ColumnElement[int],
    task: str,
) -> TaskLock:
    """The lock that this site's cron takes for ``task``; a NoLock where we cannot share it.

    family: mysql (MariaDB as well), postgresql or sqlite; clock: SQL for the time in Unix seconds.
    """
    try:
        factory = _factory(settings, family)
        if factory == "file_lock_factory":
            return FileLock(_file_lock_root(settings), task)
    except LockUnusableError as error:
        return NoLock(str(error))
    if factory == "db_record_lock_factory":
        return RecordLock(tables, task, clock)
    kind = MysqlLock if factory == "mysql_lock_factory" else PostgresLock
    return kind(dbname, settings.table_prefix, task)


def _factory(settings: Settings, family: str) -> str:
    said = _read(settings, "lock_factory").strip("\\")
    if said.lower() == _PROXY:
        said = _read(settings, "proxied_lock_factory").strip("\\")
    if said in {"", "auto"}:
        return _OF_FAMILY[family]
    name = said.lower().removeprefix(_CORE)
    if not said.lower().startswith(_CORE) or name not in {_OF_FAMILY[family], *_ANYWHERE}:
        raise LockUnusableError(
            f"cron's lock factory {said} ($CFG->lock_factory) is not one that we can share:"
            f" mail stays with Moodle; we know {_OF_FAMILY[family]}, {', '.join(_ANYWHERE)}"
        )
    return name


def _file_lock_root(settings: Settings) -> Path:
    root = _read(settings, "file_lock_root")
    if settings.dataroot is None:
        raise LockUnusableError("cron locks files in dataroot, which is not known: set dataroot")
    root = root or str(settings.dataroot / "lock")
    inside = root.startswith(str(settings.dataroot))
    if inside and not is_empty(_read(settings, "preventfilelocking")):
        raise LockUnusableError("$CFG->preventfilelocking forbids the lock files that cron needs")
    return Path(root)


def _read(settings: Settings, name: str) -> str:
    if name in settings.moodle_config_unread:
        raise LockUnusableError(
            f"$CFG->{name} in config.php cannot be read, so cron's lock is not known:"
            " set it under [moodle_config] in sidecar.toml"
        )
    return to_string(settings.moodle_config.get(name, ""))
