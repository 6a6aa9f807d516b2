"""MariaDB fails: the daemon resumes within ten seconds by itself, and nothing is half done."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import MySQLdb

from tests.e2e.world import World
from tests.faults.case import Case, Finding
from tests.faults.ledger import judge
from tests.faults.proxy import Cut, Proxy
from tests.faults.stage import CONNECTIONS, GROUP, Stage, queue, quiet
from tests.support.processes import Sidecar
from tests.support.wait import wait_for

RESUME_SECONDS = 10.0
CROWDED_SECONDS = 2.0
AWAY_SECONDS = 30.0
WAIT_SECONDS = 12.5
"""Longer than a transaction of ours waits for a row (sidecar/store/engines.py)."""
FREE = "SELECT id FROM mdl_email WHERE id = :row FOR UPDATE SKIP LOCKED"

Fault = Callable[[Stage, World], None]
"""Makes the fault happen to a queue that has just been filled; returns when it is over."""


def after(fault: Fault, met: str = "") -> Callable[[Stage, int], Finding]:
    """The play: fill the queue, let the fault happen, time until the mail is out.

    met: what the daemon says when it meets the fault.
    """

    def play(stage: Stage, dose: int) -> Finding:
        with stage.world() as world, world.start() as daemon:
            daemon.wait_for_line("leading this site")
            finding = _rounds(stage, world, daemon, fault, dose)
            world.engine.dispose()
            finding.must(daemon.stop() == 0, "the daemon did not end well")
            times = daemon.output().count(met)
            finding.must(times >= dose, f"the daemon met {met!r} {times} times only")
            finding.add(judge(world, world.sink.messages))
            return finding

    return play


def _rounds(stage: Stage, world: World, daemon: Sidecar, fault: Fault, dose: int) -> Finding:
    finding, slowest = Finding(), 0.0
    for _ in range(dose):
        before = len(world.sink.messages)
        fault(stage, world)
        over = time.monotonic()
        wait_for(partial(_more, world, before), 60, "the first mail after the fault")
        slowest = max(slowest, time.monotonic() - over)
        wait_for(partial(quiet, world), 60, "all mails")
        assert daemon.alive(), daemon.output()[-2000:]
        finding.dose += 1
    finding.must(slowest < RESUME_SECONDS, f"resumed only after {slowest:.1f} s")
    finding.note = f"first mail at most {slowest:.1f} s after"
    return finding


def _more(world: World, before: int) -> bool:
    return len(world.sink.messages) > before


@contextmanager
def _stuck_claim(stage: Stage, world: World) -> Iterator[MySQLdb.Connection]:
    """A filled queue whose claim waits for a row that somebody else has locked."""
    connection = MySQLdb.connect(
        unix_socket=str(stage.server.socket), user="root", database=world.engine.url.database
    )
    with world.engine.connect() as conn:
        top = conn.exec_driver_sql("SELECT COALESCE(MAX(id), 0) FROM mdl_email").scalar_one()
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
    people = world.site.add_users(1, GROUP)
    rows = world.site.queue("user_create", 1, people, subject=f"mail {top}", due=int(time.time()))
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT id FROM mdl_email WHERE id = %s FOR UPDATE", (rows[-1],))
    wait_for(lambda: not world.sql(FREE, row=rows[0]), 30, "a claim holds the rows before it")
    try:
        yield connection
    finally:
        with suppress(MySQLdb.Error):
            connection.close()


def killed_mid_claim(stage: Stage, world: World) -> None:
    """SIGKILL of the server while a claim is open; a new server."""
    with _stuck_claim(stage, world):
        stage.server.kill()
        world.engine.dispose()
        stage.server.start()


def away(stage: Stage, world: World) -> None:
    """No server for half a minute while mails are being sent."""
    queue(world, GROUP)
    stage.server.kill()
    world.engine.dispose()
    time.sleep(AWAY_SECONDS)
    stage.server.start()


def too_many_connections(stage: Stage, world: World) -> None:
    """The server refuses every new connection, and has ended our old ones, for two seconds."""
    server, database = stage.server, world.engine.url.database
    world.engine.dispose()
    crowd: list[MySQLdb.Connection] = []
    admin = MySQLdb.connect(unix_socket=str(server.socket), user="root", autocommit=True)
    with closing(admin), admin.cursor() as cursor:
        cursor.execute("SELECT @@max_connections")
        ((before,),) = cursor.fetchall()
        queue(world, GROUP)
        cursor.execute("SET GLOBAL max_connections = 10")
        until = time.monotonic() + CROWDED_SECONDS
        while time.monotonic() < until:
            _fill(server.socket, crowd)
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE db = %s", (database,)
            )
            for (connection,) in cursor.fetchall():
                with suppress(MySQLdb.OperationalError):
                    cursor.execute(f"KILL {connection}")
        cursor.execute(f"SET GLOBAL max_connections = {before}")
    for held in crowd:
        held.close()


def _fill(socket: Path, crowd: list[MySQLdb.Connection]) -> None:
    """Take every place that is free; root's own one too."""
    with suppress(MySQLdb.OperationalError):
        while True:
            crowd.append(MySQLdb.connect(unix_socket=str(socket), user="root"))


def deadlock(stage: Stage, world: World) -> None:
    """A claim is the victim of a deadlock: who has changed more wins, and that is the other."""
    with _stuck_claim(stage, world) as other, other.cursor() as cursor:
        cursor.execute("UPDATE mdl_user SET suspended = suspended, lastname = CONCAT(lastname, '')")
        cursor.execute(
            "INSERT INTO mdl_config_plugins (plugin, name, value)"
            " SELECT 'heavy', CONCAT('row', seq, UUID()), '' FROM seq_1_to_2000"
        )
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 30")
        cursor.execute("SELECT id FROM mdl_email WHERE sent IS NULL FOR UPDATE")
        cursor.execute("ROLLBACK")


def lock_wait(stage: Stage, world: World) -> None:
    """Somebody keeps a row for longer than a transaction of ours waits."""
    with _stuck_claim(stage, world) as other:
        time.sleep(WAIT_SECONDS)
        other.rollback()


def cut(where: Cut) -> Callable[[Stage, int], Finding]:
    """The play: one COMMIT in eight, of those that write, loses its connection."""

    def play(stage: Stage, dose: int) -> Finding:
        finding = Finding()
        with (
            stage.world() as world,
            Proxy(stage.server.port, where, often=8, limit=dose) as proxy,
        ):
            url = world.engine.url.set(port=proxy.port).render_as_string(hide_password=False)
            world.config = world.write_config(
                url, lease_seconds=2, min_age=0.1, smtp_max_connections=CONNECTIONS
            )
            world.command("adopt", "--moved")
            with world.start() as daemon:
                daemon.wait_for_line("leading this site")
                while proxy.cuts.total() < dose:
                    queue(world, GROUP)
                    wait_for(partial(quiet, world), 60, "all mails")
                finding.must(daemon.stop() == 0, "the daemon did not end well")
            finding.dose = proxy.cuts.total()
            finding.add(judge(world, world.sink.messages))
        return finding

    return play


CROWDED = "Too many connections"
E2E = "tests/e2e/test_database_faults.py"
CASES = [
    Case("MariaDB killed mid-claim, restarted", 20, after(killed_mid_claim), covered=E2E),
    Case("MariaDB 30 s away", 20, after(away), covered=E2E),
    Case(
        "MariaDB: too many connections",
        20,
        after(too_many_connections, "Too many connections"),
        small=1,
    ),
    Case("MariaDB: deadlock with the claim", 20, after(deadlock, "Deadlock found"), small=1),
    Case("MariaDB: lock wait time-out", 20, after(lock_wait, "Lock wait timeout"), covered=E2E),
    Case(f"COMMIT cut: {Cut.BEFORE.value}", 20, cut(Cut.BEFORE), covered=E2E),
    Case(f"COMMIT cut: {Cut.UNANSWERED.value}", 20, cut(Cut.UNANSWERED), small=2),
    Case(f"COMMIT cut: {Cut.AFTER.value}", 20, cut(Cut.AFTER), covered=E2E),
]
