"""The real daemon as a real process: started, frozen, killed, waited for."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from click.testing import CliRunner

from sidecar.cli import cli
from tests.support.wait import wait_for

SIDECAR = (sys.executable, "-m", "sidecar")


def clean_environment() -> dict[str, str]:
    """This process's environment without anything that configures the sidecar."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MANIREPORTS_")}
    return kept | {"PYTHONUNBUFFERED": "1"}


def command(config: Path, *arguments: str) -> list[str]:
    """The command line of the sidecar with a configuration file."""
    return [*SIDECAR, "--config", str(config), *arguments]


def run_sidecar(
    config: Path,
    *arguments: str,
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
    input: str | None = None,  # noqa: A002 - as subprocess.run calls it
) -> subprocess.CompletedProcess[str]:
    """Run one command of the sidecar to its end; the caller judges the exit code."""
    return subprocess.run(
        command(config, *arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        input=input,
        env=clean_environment() | dict(env or {}),
    )


def call_sidecar(
    config: Path,
    *arguments: str,
    input: str | None = None,  # noqa: A002 - as subprocess.run calls it
) -> subprocess.CompletedProcess[str]:
    """The same for a command that starts no daemon, without the second that a process takes."""
    done = CliRunner().invoke(cli, ["--config", str(config), *arguments], input=input)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


class Sidecar:
    """A running sidecar, ``run`` by default; killed at the end of the ``with`` block at the latest.

    Output of both streams is collected in ``log``, in the order in which it came. program: what
    runs instead of Python's ``-m sidecar``, with the same arguments.
    """

    def __init__(
        self,
        config: Path,
        *arguments: str,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = SIDECAR,
    ) -> None:
        self.log = log or config.with_suffix(".log")
        with self.log.open("ab") as output:
            self._start = self.log.stat().st_size
            self._process = subprocess.Popen(
                [*program, "--config", str(config), *(arguments or ("run",))],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=clean_environment() | dict(env or {}),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill9()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process has not ended (a frozen one has not)."""
        return self._process.poll() is None

    def output(self) -> str:
        """What this process has written so far."""
        return self.log.read_bytes()[self._start :].decode("utf-8", "replace")

    def wait_for_line(self, text: str, deadline_seconds: float = 30) -> str:
        """The first line of output that holds ``text``; fails at once when the process ends."""

        def find() -> str:
            ended = not self.alive()
            line = next((line for line in self.output().splitlines() if text in line), "")
            if ended and not line:
                raise AssertionError(f"ended without saying {text!r}:\n{self.output()}")
            return line

        return wait_for(find, deadline_seconds, f"the sidecar says {text!r}")

    def wait(self, deadline_seconds: float) -> int:
        """The exit code, once the process has ended by itself (negative: the signal)."""
        try:
            return self._process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still runs after {deadline_seconds:g} s:\n{self.output()}"
            ) from None

    def freeze(self) -> None:
        """SIGSTOP: it lives, holds what it holds, and does nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def hangup(self) -> None:
        """SIGHUP."""
        self._process.send_signal(signal.SIGHUP)

    def kill9(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self, deadline_seconds: float = 30) -> int:
        """SIGTERM; the exit code, which has to come within the deadline."""
        self._process.terminate()
        return self.wait(deadline_seconds)
