"""The demo as its user runs it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import clean_environment
from tests.support.wait import wait_for


def demo(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    """Start the demo; its throw-away folder is made in ``folder``."""
    return subprocess.Popen(
        [sys.executable, "-m", "sidecar.demo", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment() | {"TMPDIR": str(folder)},
    )


def started(folder: Path) -> bool:
    """Whether the demo's daemon has said something."""
    return any(log.stat().st_size for log in folder.glob("*/sidecar.log"))


LAST = "demo: ok claimed=462 sent=455 permanently_failed=7 unknown=0 lost=0 twice=0"


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["aws", "smtp", "cloudflare"])
def test_every_mail_arrives_once_and_nothing_is_left_behind(tmp_path: Path, provider: str) -> None:
    """At Cloudflare, a queue message that is refused as a whole would wait for ten minutes."""
    with demo("--provider", provider, "--small", folder=tmp_path) as process:
        output, _ = process.communicate(timeout=240)
    assert output.splitlines()[-1] == LAST, output
    assert process.returncode == 0
    assert not list(tmp_path.iterdir())


def test_an_interrupted_demo_cleans_up(tmp_path: Path) -> None:
    with demo("--small", folder=tmp_path) as process:
        wait_for(lambda: started(tmp_path), 60, "the sidecar has started")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert output.splitlines()[-1] == "demo: interrupted, everything is cleaned up"
    assert process.returncode == 130
    assert not list(tmp_path.iterdir())


def test_a_folder_to_keep_must_be_new(tmp_path: Path) -> None:
    with demo("--keep", str(tmp_path), folder=tmp_path) as process:
        output, _ = process.communicate(timeout=60)
    assert "File exists" in output
    assert output.splitlines()[-1] == "demo: FAILED"
    assert process.returncode == 1
