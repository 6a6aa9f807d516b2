"""No disk, no files, no memory: no crash loop, and the daemon recovers by itself."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.e2e.world import World
from tests.faults.case import Case, Finding
from tests.faults.ledger import judge
from tests.faults.stage import GROUP, Stage, queue, quiet
from tests.support.processes import SIDECAR, Sidecar
from tests.support.wait import wait_for

MEGABYTE = 1 << 20
FILES_LEFT = 2
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
MOST_DEATHS = 10
PAUSES = (1, 2, 4, 8)
"""Seconds before each new start, as systemd's growing pause."""


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A file system of 64 kB there; needs root."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "faults", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def disk(stage: Stage, dose: int) -> Finding:
    """The state directory is full, then read-only; mail goes on, before and after a restart."""
    finding = Finding()
    with stage.world() as world:
        state = world.tmp / "full-state"
        with _small_disk(state):
            world.config = world.write_config(world.url, "full", lease_seconds=2, min_age=0.1)
            _on_disk(world, finding)
            for _ in range(dose):
                filler = state / "filler"
                with filler.open("wb", buffering=0) as file:
                    while True:
                        try:
                            file.write(b"\0" * 4096)
                        except OSError:
                            break
                _on_disk(world, finding)
                filler.unlink()
                remount = ["mount", "-o", "remount,ro", str(state)]
                subprocess.run(remount, check=True)
                _on_disk(world, finding)
                subprocess.run([*remount[:2], "remount,rw", str(state)], check=True)
                finding.dose += 1
            _on_disk(world, finding)
        finding.add(judge(world, world.sink.messages))
    return finding


def _on_disk(world: World, finding: Finding) -> None:
    queue(world, GROUP)
    with world.start() as daemon:
        wait_for(lambda: quiet(world), 60, f"all mails\n{daemon.output()}")
        finding.must(daemon.alive(), f"it ended: {daemon.output()[-500:]}")
        finding.must(daemon.stop() == 0, "the daemon did not end well")


def files(stage: Stage, dose: int) -> Finding:
    """Not one file more may be opened, for some seconds, in the middle of work."""
    finding = Finding()
    with stage.world() as world, world.start() as daemon:
        daemon.wait_for_line("leading this site")
        for _ in range(dose):
            queue(world, GROUP)
            wait_for(lambda: quiet(world), 60, "all mails before")
            was = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
            kept = psutil.Process(daemon.pid).num_fds() - FILES_LEFT
            resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (kept, was[1]))
            queue(world, GROUP)
            time.sleep(4)
            finding.must(daemon.alive(), f"it ended: {daemon.output()[-500:]}")
            resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, was)
            wait_for(lambda: quiet(world), 90, f"all mails after\n{daemon.output()[-1500:]}")
            finding.dose += 1
        finding.must(daemon.stop() == 0, "the daemon did not end well")
        finding.add(judge(world, world.sink.messages))
    return finding


def memory(limit: int, stage: Stage, dose: int) -> Finding:
    """All that the sidecar uses is limited by a cgroup; who meets the limit is killed whole.

    It is started again after a growing pause, as systemd does.
    """
    finding = Finding(dose=dose)
    with stage.world() as world, _memory_group(limit * MEGABYTE) as group:
        queue(world, max(GROUP, dose))
        join = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()));"
        join += "os.execv(sys.executable, sys.argv[2:])"
        tasks = str(group / "cgroup.procs")
        program = (sys.executable, "-c", join, tasks, *SIDECAR)
        deaths = 0
        while not _run(world, program, finding):
            _end(group)
            finding.must(deaths < MOST_DEATHS, "it never comes to an end")
            if finding.wrong:
                break
            time.sleep(PAUSES[min(deaths, len(PAUSES) - 1)])
            deaths += 1
        most = int((group / "memory.max_usage_in_bytes").read_text()) // MEGABYTE
        finding.note = f"at most {most} MB in use, {deaths} restarts"
        finding.add(judge(world, world.sink.messages), doubles=4 * deaths)
    return finding


def _run(world: World, program: Sequence[str], finding: Finding) -> bool:
    """One life; whether all mail was sent in it."""
    with Sidecar(world.config, program=program) as daemon:
        wait_for(lambda: quiet(world) or not daemon.alive(), 300, "all mails, or the limit")
        if not daemon.alive():
            return False
        finding.must(daemon.stop() == 0, "the daemon did not end well")
        return True


@contextmanager
def _memory_group(limit: int) -> Iterator[Path]:
    group = MEMORY_GROUPS / f"faults{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(limit))
    try:
        yield group
    finally:
        _end(group)
        wait_for(lambda: not (group / "cgroup.procs").read_text(), 10, "the group is empty")
        group.rmdir()


def _end(group: Path) -> None:
    for process in (group / "cgroup.procs").read_text().split():
        os.kill(int(process), signal.SIGKILL)


OWN = "tests/packaging/test_units.py"
CASES = [
    Case("state directory full, then read-only", 3, disk, covered=OWN),
    Case("no file may be opened", 5, files, small=1),
    Case("memory limit 256 MB", 10_000, lambda s, d: memory(256, s, d), covered=OWN),
    Case("memory limit 150 MB", 10_000, lambda s, d: memory(150, s, d), covered=OWN),
]
