"""The units: nothing that systemd complains of, sandboxed, and told by the daemon how it does."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sidecar import daemon
from sidecar.health import HEALTHY_SECONDS
from sidecar.systemd import Service
from tests.e2e.conftest import sink, world  # noqa: F401 - fixtures
from tests.e2e.world import World
from tests.support.mariadb import free_port
from tests.support.processes import Sidecar
from tests.support.wait import wait_for

UNITS = Path(__file__).parents[2] / "systemd"
IMPATIENT = (
    sys.executable,
    "-c",
    "import sidecar.cli, sidecar.health; sidecar.health.HEALTHY_SECONDS = 2.0; sidecar.cli.main()",
)
"""The daemon, which takes its loop for stuck after two seconds, not two minutes."""
NAMES = ("manireports-sidecar.service", "manireports-sidecar@.service")


@pytest.mark.parametrize("name", NAMES)
def test_units_are_clean_and_closed(name: str, tmp_path: Path) -> None:
    unit = tmp_path / name.replace("@.", "@school.")
    text = (UNITS / name).read_text("utf-8")
    unit.write_text(text.replace("/usr/bin/manireports-sidecar", "/usr/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    plain = tmp_path / "plain.service"
    shutil.copy(unit, plain)
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(plain)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+) OK", said)
    assert found, said
    assert float(found[1]) <= 1.5


def test_the_two_units_differ_only_in_their_names() -> None:
    one, many = ((UNITS / name).read_text("utf-8") for name in NAMES)
    for before, after in (
        ("bulk mail of the Moodle %i", "bulk mail of Moodle"),
        ("/%i.environment", "/environment"),
        ("--config /etc/manireports-sidecar/%i.toml ", ""),
        ("manireports-sidecar-%i", "manireports-sidecar"),
    ):
        many = many.replace(before, after)
    assert one.partition("[Unit]")[2] == many.partition("[Unit]")[2]


def test_the_time_to_stop_is_the_one_that_is_told() -> None:
    page = (UNITS.parent / "docs" / "operations.md").read_text("utf-8")
    found = re.search(
        r"gets (\d+) seconds and its results (\d+) more;.*\n.*after (\d+) seconds,", page
    )
    assert found, "docs/operations.md says how long SIGTERM takes"
    flight, record, killed = map(int, found.groups())
    assert (flight, record) == (daemon.STOP_SECONDS, daemon.RECORD_SECONDS)
    for name in NAMES:
        assert f"TimeoutStopSec={killed}\n" in (UNITS / name).read_text("utf-8")
    assert flight + record < killed


def test_sysusers_and_tmpfiles_are_understood(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    users = UNITS / "manireports-sidecar.sysusers"
    subprocess.run(["systemd-sysusers", f"--root={root}", str(users)], check=True, timeout=30)
    assert "manireports-sidecar:" in (root / "etc" / "passwd").read_text()
    folders = UNITS / "manireports-sidecar.tmpfiles"
    subprocess.run(
        ["systemd-tmpfiles", "--create", f"--root={root}", str(folders)], check=True, timeout=30
    )
    assert (root / "etc" / "manireports-sidecar").stat().st_mode & 0o777 == 0o750


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd is to a service: a socket that listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def heard(manager: socket.socket) -> list[str]:
    found: list[str] = []
    while True:
        try:
            found += manager.recv(4096).decode().splitlines()
        except BlockingIOError:
            return found


def command_line(sidecar: Sidecar) -> list[str]:
    """With what the process runs now."""
    return Path(f"/proc/{sidecar.pid}/cmdline").read_text("utf-8").split("\0")


def test_the_daemon_says_when_it_is_ready_alive_reloading_and_stopping(
    world: World,  # noqa: F811
    manager: socket.socket,
    tmp_path: Path,
) -> None:
    said: list[str] = []

    def says(text: str) -> bool:
        said.extend(heard(manager))
        return text in said

    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
    program = (sys.executable, "-X", "utf8", "-m", "sidecar")
    with Sidecar(world.config, env=env, program=program) as sidecar:
        wait_for(lambda: says("READY=1"), 30, "ready")
        started_as = command_line(sidecar)
        wait_for(lambda: says("STATUS=leading"), 30, "what it does")
        wait_for(lambda: says("WATCHDOG=1"), 30, "alive")
        said.clear()
        sidecar.hangup()
        wait_for(lambda: says("RELOADING=1"), 30, "reloading")
        wait_for(lambda: says("READY=1"), 30, "ready again")
        assert command_line(sidecar) == started_as, "with the flags of the interpreter, as -I"
        said.clear()
        sidecar.freeze()
        heard(manager)
        sidecar.thaw()
        wait_for(lambda: says("WATCHDOG=1"), 30, "alive again")
        world.config.write_text("poll_interval = 'never'\n")
        said.clear()
        sidecar.hangup()
        sidecar.wait_for_line("the changed configuration is not used")
        assert sidecar.alive()
        assert sidecar.stop() == 0
        assert says("STOPPING=1")


def test_a_loop_that_is_stuck_no_longer_says_that_it_lives(
    world: World,  # noqa: F811
    manager: socket.socket,
    tmp_path: Path,
) -> None:
    """The process answers and its threads run, but the main loop hangs on a locked table."""
    port = free_port()
    world.config = world.write_config(world.url, metrics_port=port)
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}

    def healthy() -> bool:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=10).status_code == 200

    with Sidecar(world.config, env=env, program=IMPATIENT) as sidecar:
        sidecar.wait_for_line("leading this site")
        wait_for(lambda: "WATCHDOG=1" in heard(manager), 30, "alive")
        with world.engine.connect() as conn:
            conn.exec_driver_sql("LOCK TABLES mdl_manireports_cloud_sidecar WRITE")
            wait_for(lambda: not healthy(), 30, "the loop counts as stuck")
            heard(manager)
            manager.settimeout(1.5)  # seven times as long as between two signs of life
            wait_for(lambda: is_silent(manager), 30, "no sign of life")
            manager.setblocking(False)
            assert sidecar.alive()
            conn.exec_driver_sql("UNLOCK TABLES")
        wait_for(lambda: "WATCHDOG=1" in heard(manager), 30, "alive again")
        assert sidecar.stop() == 0


def is_silent(manager: socket.socket) -> bool:
    """Whether nothing is said within the socket's time; what was on its way is read before."""
    try:
        manager.recv(4096)
    except TimeoutError:
        return True
    return False


def test_the_pages_tell_how_long_a_stuck_loop_lasts() -> None:
    for name in NAMES:
        assert "\nWatchdogSec=180\n" in (UNITS / name).read_text("utf-8")
    assert HEALTHY_SECONDS + 180 == 5 * 60
    docs = UNITS.parent / "docs"
    told = "after two minutes it no longer tells systemd that it lives, and three minutes later"
    assert told in (docs / "reliability.md").read_text("utf-8")
    assert "about five minutes after the loop stopped" in (docs / "runbooks.md").read_text("utf-8")


def test_without_systemd_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    for env in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "x"}):
        service = Service(env)
        service.ready()
        service.alive()
        service.status("anything")
