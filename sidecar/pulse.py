"""One short query that shows whether anything may have to be done."""

import threading
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.sql.elements import ColumnElement

from sidecar.lifecycle import JOB_ENDED, Job
from sidecar.moodle.tables import MoodleTables
from sidecar.store.campaigns import ACTIVE
from sidecar.store.database import Database

FRESH_SECONDS = 0.45
"""How long an answer is good enough for whoever asks next."""

SWITCHES = ("noemailever", "cron_enabled", "maintenance_enabled", "upgraderunning", "smtphosts")

WORK = 3
"""How many parts of the query are ``Beat.work``."""

_OPEN_JOBS = [state.value for state in Job if state not in JOB_ENDED]


@dataclass(frozen=True, slots=True)
class Beat:
    """What the query found; two that are equal say that nothing has come between them.

    work: the newest job that has not ended, request that waits, and report that waits.
    """

    work: tuple[int | None, ...]
    rest: tuple[object, ...]

    @property
    def busy(self) -> bool:
        """Whether somebody has work now."""
        return any(self.work)


class Pulse:
    """The parts of the daemon share it; thread-safe.

    What it does not see, such as a row of Moodle's that changes in place, the next full cycle does.
    has_queue: whether the site has IOMAD's.
    """

    def __init__(self, database: Database, tables: MoodleTables, *, has_queue: bool) -> None:
        self._database = database
        self._query = _query(database, tables, has_queue=has_queue)
        self._lock = threading.Lock()
        self._beat = Beat((), ())
        self._asked = -FRESH_SECONDS

    def beat(self) -> Beat:
        """How things are; at most so old. Raises DatabaseError."""
        with self._lock:
            if time.monotonic() - self._asked >= FRESH_SECONDS:
                with self._database.read() as conn:
                    found = tuple(conn.execute(self._query).one())
                self._beat = Beat(found[:WORK], found[WORK:])
                self._asked = time.monotonic()
            return self._beat


def _query(database: Database, tables: MoodleTables, *, has_queue: bool) -> Select[Any]:
    own, config = database.tables, tables.config
    company, task, wish = own.companies, tables.task_scheduled, tables.user_preferences
    asked = and_(wish.c.name == "create_password", wish.c.value == "1")
    parts: list[ColumnElement[Any]] = [
        _highest(own.jobs, own.jobs.c.status.in_(_OPEN_JOBS)),
        _highest(own.requests, own.requests.c.status == "new"),
        _highest(own.callbacks, own.callbacks.c.processed_at.is_(None)),
        select(func.max(wish.c.id)).where(asked).scalar_subquery(),
        _highest(own.campaigns, own.campaigns.c.status.in_(ACTIVE)),
        select(own.sidecar.c.state).limit(1).scalar_subquery(),
        select(func.sum(company.c.enabled)).scalar_subquery(),
        select(func.sum(company.c.paused)).scalar_subquery(),
        select(func.sum(task.c.disabled)).scalar_subquery(),
        *(select(config.c.value).filter_by(name=name).scalar_subquery() for name in SWITCHES),
    ]
    if has_queue:
        parts.append(select(func.max(tables.email.c.id)).scalar_subquery())
    return select(*parts)


def _highest(table: Any, condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return select(func.max(table.c.id)).where(condition).scalar_subquery()
