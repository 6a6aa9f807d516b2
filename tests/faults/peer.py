"""django-post_office under the same killer: what a sender does that writes states after a batch.

It is installed from PyPI into a virtual environment of its own, made for this case.
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sidecar.demo.sink import Sink
from tests.faults.case import Case, Finding
from tests.faults.kills import LIFE_SECONDS, MAILS_A_KILL
from tests.faults.stage import Stage
from tests.support.wait import wait_for

PACKAGE = "django-post_office"
ROOT = Path(__file__).parents[2]
FILL = """
from post_office import mail
mail.send_many([
    dict(sender='noreply@example.test', recipients=f'user{n}@example.test',
         subject='mail', message='text', html_message='<p>text</p>')
    for n in range(%d, %d)
])
"""


class Peer:
    """A Django with a queue of mails, and its sending command."""

    def __init__(self, folder: Path, port: int) -> None:
        self._python = str(folder / "venv" / "bin" / "python")
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        self._do("-m", "pip", "install", "--quiet", PACKAGE)
        self._environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.faults.peer_settings",
            "PEER_DB": str(folder / "peer.sqlite3"),
            "PEER_PORT": str(port),
            "TMPDIR": str(folder),
        }
        self._do("-m", "django", "migrate", "--verbosity", "0", env=self._environment)
        self._queued = 0
        self._log = (folder / "peer.log").open("ab")

    def queue(self, mails: int) -> None:
        """So many mails more."""
        first, self._queued = self._queued, self._queued + mails
        code = FILL % (first, self._queued)
        self._do("-m", "django", "shell", "--verbosity", "0", "-c", code, env=self._environment)

    def start(self) -> subprocess.Popen[bytes]:
        """Its command that sends what waits; it ends when nothing does."""
        return subprocess.Popen(
            [self._python, "-m", "django", "send_queued_mail"],
            cwd=ROOT, env=self._environment, stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def _do(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        done = subprocess.run(
            [self._python, *arguments],
            cwd=ROOT, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def any_moment(stage: Stage, dose: int) -> Finding:
    """``kills.any_moment_smtp`` for the peer."""
    chance = random.Random(dose)
    folder = stage.folder / "peer"
    folder.mkdir()
    with Sink() as sink:
        peer = Peer(folder, sink.port)
        for _ in range(dose):
            peer.queue(MAILS_A_KILL)
            _live(peer, chance.uniform(0, LIFE_SECONDS))
        return _rest(peer, sink, dose)


def mid_sending(stage: Stage, dose: int) -> Finding:
    """``kills.mid_sending_smtp`` for the peer."""
    chance, mails = random.Random(dose), MAILS_A_KILL * dose
    folder = stage.folder / "peer-sending"
    folder.mkdir()
    with Sink() as sink:
        peer = Peer(folder, sink.port)
        peer.queue(mails)
        for number in range(dose):
            left = mails - len({m.recipients[0] for m in sink.messages})
            part = chance.randint(1, 2 * max(1, left // (dose - number)))
            goal = len(sink.messages) + part
            process = peer.start()
            while len(sink.messages) < goal and process.poll() is None:
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 0.05))
            process.kill()
            process.wait()
        return _rest(peer, sink, dose)


def _live(peer: Peer, seconds: float) -> None:
    """Its command again and again, as cron starts it, until the kill."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        process = peer.start()
        with suppress(subprocess.TimeoutExpired):
            process.wait(left)
        process.kill()
        process.wait()


def _rest(peer: Peer, sink: Sink, dose: int) -> Finding:
    """Let it finish; figures only: what it does is not ours to judge."""
    mails = MAILS_A_KILL * dose

    def done() -> bool:
        peer.start().wait()
        return len({m.recipients[0] for m in sink.messages}) == mails

    wait_for(done, 600, "the peer has sent all")
    counts = Counter(message.recipients[0] for message in sink.messages)
    doubled = counts.total() - mails
    note = f"{doubled / dose:.2f} duplicates a kill; {PACKAGE}, for comparison"
    return Finding(dose=dose, mails=mails, doubled=doubled, note=note)


ELSEWHERE = "tests/e2e/test_leadership.py"
"""The sidecar's own; the peer is only measured."""

CASES: Sequence[Case] = [
    Case("peer: SIGKILL at random", 200, any_moment, covered=ELSEWHERE),
    Case("peer: SIGKILL while sending", 200, mid_sending, covered=ELSEWHERE),
]
