"""SIGKILL at any moment, SIGKILL while the lock is held, KILL of the claiming connection."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import cycle, islice

from . import daemon
from .cron import Cron, holder, lock_name, run_once
from .facts import ProofError, must, wait_for
from .filling import Filling
from .rig import Rig

SPREAD = 2
TAKEOVER = 60.0  # seconds within which cron's task runs after a kill
FILLS = 8  # how often the queue is filled to catch the sidecar in the middle of a claim
DRAINED = 12.0  # seconds after which the sidecar has claimed all of one fill


def play(rig: Rig, kills: int) -> int:
    plays: tuple[Callable[[Rig], str], ...] = (_moment, _lock, _moment, _connection, _moment)
    for number, kill in enumerate(islice(cycle(plays), kills), 1):
        began = time.monotonic()
        said = kill(rig)
        print(f"kill {number}: {said}; {time.monotonic() - began:.1f} s", flush=True)
    return kills


def _sidecar(rig: Rig) -> daemon.Sidecar:
    assert rig.sidecar is not None
    return rig.sidecar


def _moment(rig: Rig) -> str:
    """At a random moment: seconds after the fill began, or once so many mails are out."""
    before = len(rig.sink.mails)
    filling = rig.fill(SPREAD)
    if rig.chance.random() < 0.4:
        seconds, enough = rig.chance.uniform(0.0, 7.0), sys.maxsize
    else:
        seconds, enough = 15.0, rig.chance.randint(1, rig.rows)  # of more than two mails a row
    end = time.monotonic() + seconds

    def now() -> bool:
        return time.monotonic() >= end or len(rig.sink.mails) - before >= enough

    wait_for("the moment", now, 20, 0.001)
    _sidecar(rig).kill()
    moment = f"{time.monotonic() - end + seconds:.2f} s after the fill began,"
    moment += f" {len(rig.sink.mails) - before} mails out"
    filling.done()
    return f"SIGKILL {moment}: {_aftermath(rig, filling.since)}"


def _lock(rig: Rig) -> str:
    """While it holds the lock of cron's task: frozen there, seen to hold it, then killed."""
    lock = lock_name(rig.db)
    since, filling, connection = _caught_in_claim(rig, written=False)
    filling.done()
    skipped = run_once(rig.site, rig.db)
    must(skipped == "skipped", f"cron {skipped} its task while the sidecar held the lock")
    must(holder(rig.db, lock) == connection, "the frozen sidecar lost the lock")
    _sidecar(rig).kill()
    killed = time.monotonic()
    wait_for("the lock is free", lambda: not holder(rig.db, lock), 10, 0.001)
    free = time.monotonic() - killed
    return f"SIGKILL with the lock held, free after {free:.2f} s: {_aftermath(rig, since)}"


def _aftermath(rig: Rig, since: int) -> str:
    """Cron sends what was not claimed, the next sidecar what was; nothing is lost."""
    killed = time.monotonic()
    taken = rig.claimed(since)
    rig.run_cron_until_empty(since, TAKEOVER)
    rest = time.monotonic() - killed
    must(rig.claimed(since) == taken, "claims changed with no sidecar alive")
    _sidecar(rig).start()
    rig.wait_sidecar_done(since)
    tally = rig.judge(since)
    said = (
        f"claimed rows={len(taken)} {tally} by_cron={tally.by_cron}"
        f" by_sidecar={tally.mails - tally.by_cron} cron done after {rest:.1f} s"
    )
    rig.accept(tally, resent_at_most=daemon.CONNECTIONS)
    return said


def _connection(rig: Rig) -> str:
    """KILL of the connection in the middle of a claim: rolled back, later sent exactly once."""
    since, filling, connection = _caught_in_claim(rig, written=True)
    sidecar = _sidecar(rig)
    written = _written(rig, connection)
    before = _marks(rig, since)
    rig.db.run(f"KILL {connection}")
    wait_for("the claim's transaction is gone", lambda: not _written(rig, connection), 10, 0.11)
    wait_for("the lock is free", lambda: holder(rig.db, lock_name(rig.db)) != connection, 10)
    after = _marks(rig, since)
    sidecar.thaw()
    must(before == after, f"the claim was not rolled back: {before} became {after}")
    must(after[0] == after[1], f"marked rows {after[0]} and claimed rows {after[1]} differ")
    filling.done()
    cron = Cron(rig.site, rig.chance.randrange(1 << 30))
    cron.start()
    try:
        rig.wait_queue_empty(since)
        rig.wait_sidecar_done(since)
    finally:
        cron.stop()
    tally = rig.judge(since)
    rig.accept(tally)
    return (
        f"KILL of the claiming connection, {written} row changes rolled back: {tally}"
        f" by_cron={tally.by_cron} by_sidecar={tally.mails - tally.by_cron}"
    )


def _caught_in_claim(rig: Rig, *, written: bool) -> tuple[int, Filling, int]:
    """Fills the queue until the sidecar is frozen while it holds the lock.

    With `written`, only where its transaction has already changed rows. Nobody else takes the lock
    here: cron is not running. Returns the last id before all this, the filling that may still be at
    work, and the connection that holds the lock.
    """
    lock = lock_name(rig.db)
    sidecar = _sidecar(rig)
    since = -1
    for _ in range(FILLS):
        filling = rig.fill(SPREAD)
        since = filling.since if since < 0 else since
        end = time.monotonic() + DRAINED
        while time.monotonic() < end:
            connection = holder(rig.db, lock)
            if connection and _frozen_at(rig, connection, written=written):
                return since, filling, connection
        sidecar.must_live()
        filling.done()
    raise ProofError(f"in {FILLS} fills the sidecar was never caught in the middle of a claim")


def _frozen_at(rig: Rig, connection: int, *, written: bool) -> bool:
    """Freezes the sidecar a few milliseconds from now; thaws it if the claim is already over."""
    until = time.perf_counter() + rig.chance.uniform(0.0, 0.02)
    while time.perf_counter() < until:
        pass
    sidecar = _sidecar(rig)
    sidecar.freeze()
    if holder(rig.db, lock_name(rig.db)) == connection and (
        not written or _written(rig, connection)
    ):
        return True
    sidecar.thaw()
    return False


def _written(rig: Rig, connection: int) -> int:
    """Rows that the open transaction of `connection` has changed (renewed each 0.1 s)."""
    sql = "SELECT trx_rows_modified FROM information_schema.innodb_trx WHERE trx_mysql_thread_id=%s"
    return int(rig.db.value(sql, connection) or 0)


def _marks(rig: Rig, since: int) -> tuple[set[int], set[int]]:
    """The rows marked as sent and the rows that have recipients, as everybody else sees them."""
    sent = rig.db.rows("SELECT id FROM mdl_email WHERE id > %s AND sent IS NOT NULL", since)
    return {row for (row,) in sent}, rig.claimed(since)
