"""`python -m tests.iomad MOODLE_DIR`: see README.md beside this file."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from . import kills, rounds, selftest, users
from .daemon import Sidecar
from .facts import ProofError
from .filling import FEWEST
from .install import Site, copied, is_iomad, opened, prepared, release
from .rig import Rig
from .sink import Sink

TOOLS = ("php", "mariadbd", "mariadb-install-db", "cp")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.iomad", description=__doc__)
    parser.add_argument("moodle_dir", type=Path, help="source folder of an IOMAD; only read")
    parser.add_argument(
        "--users", type=int, default=0,
        help="instead: so many new users of core a round; also for a Moodle without IOMAD",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=20, help="rounds of cron beside the sidecar")
    parser.add_argument("--kills", type=int, default=10, help="rounds with a kill")
    parser.add_argument("--rows", type=int, default=120, help="rows of the queue a round")
    parser.add_argument("--reply-ms", type=float, default=3, help="delay of each SMTP answer")
    parser.add_argument("--seed", type=int, help="repeats the random choices of another run")
    parser.add_argument("--work-dir", type=Path, help="keeps the installed site for later runs")
    parser.add_argument("--fresh", action="store_true", help="installs anew")
    parser.add_argument("--keep", action="store_true", help="keeps database and logs of this run")
    parser.add_argument("--cron-alone", action="store_true", help="proves the rig, no sidecar")
    parser.add_argument(
        "--sidecar-from", type=Path, default=Path(__file__).parents[2],
        help="another checkout whose sidecar is to be proved",
    )  # fmt: skip
    options = parser.parse_args()
    if options.rows < FEWEST:
        parser.error(f"--rows: at least {FEWEST}")
    if options.users and options.cron_alone:
        parser.error("--users needs a sidecar")
    if not options.users and not is_iomad(options.moodle_dir):
        parser.error(f"{options.moodle_dir} is no IOMAD: only --users can be proved on it")
    return options


@contextlib.contextmanager
def _site(options: argparse.Namespace, run: Path, work: Path) -> Iterator[Site]:
    base = prepared(options.moodle_dir.resolve(), work, fresh=options.fresh)
    with copied(base, run) as server:
        yield opened(base, run, server)


def _play(options: argparse.Namespace, run: Path, work: Path, seed: int) -> str:
    with (
        _site(options, run, work) as site,
        Sink(delay=options.reply_ms / 1000) as sink,
        contextlib.ExitStack() as ending,
    ):
        site.configure(
            smtphosts=f"127.0.0.1:{sink.port}", noreplyaddress="noreply@iomad.example.test",
            supportname="Rig Support", supportemail="support@iomad.example.test",
        )  # fmt: skip
        sidecar = None if options.cron_alone else Sidecar(site, options.sidecar_from)
        if options.users:
            assert sidecar is not None
            db = site.db()
            users.prepare(site, db)
            ending.callback(sidecar.end)
            sidecar.start()
            done = users.play(site, db, sink, sidecar, options.rounds, options.users)
            sidecar.stop()
            return f"rounds={options.rounds} {done} lost=0 twice=0"
        rig = Rig(site, site.db(), sink, sidecar, random.Random(seed), options.rows)
        if sidecar is None:
            done = selftest.play(rig, options.rounds)
            return f"{done} alone {_counts(rig)}"
        ending.callback(sidecar.end)
        sidecar.start()
        played = rounds.together(rig, options.rounds)
        killed = kills.play(rig, options.kills)
        sidecar.stop()
        rig.accept_all()
        return f"rounds={played} kills={killed} {_counts(rig)} resent={rig.totals['resent']}"


def _counts(rig: Rig) -> str:
    counted = " ".join(f"{name}={rig.totals[name]}" for name in ("mails", "by_cron", "by_sidecar"))
    return f"{counted} lost=0 twice=0"


def main() -> int:
    options = _arguments()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        print(f"iomad: not on this machine: {', '.join(missing)} (see README.md)")
        return 2
    default = Path(tempfile.gettempdir()) / f"manireports-iomad-{os.getuid()}"
    work: Path = (options.work_dir or default).resolve()
    work.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends servers and sidecar on the way
    if work.stat().st_uid != os.getuid():
        print(f"iomad: {work} belongs to somebody else, name another --work-dir")
        return 2
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # runs share the code folder
        run = Path(tempfile.mkdtemp(prefix="run-", dir=work))
        run.chmod(0o755)  # the database server runs as another user
        seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
        print(f"{release(options.moodle_dir)}, --seed {seed}, logs in {run}", flush=True)
        try:
            print(f"iomad: ok {_play(options, run, work, seed)}")
        except ProofError as fault:
            print(f"iomad: FAILED: {fault}\n(logs and database are kept in {run})")
            return 1
        if not options.keep:
            shutil.rmtree(run, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
