"""What a service tells systemd: ready, alive, in what state. Without systemd it does nothing.

sd_notify(3), in the standard library.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)

CONFIG_PHP, MOODLE_KEY = "config.php", "moodle-key"
"""Credentials: Moodle's config.php and the key of its encryption, where their files are for the web
server's user only. They are as they were when the service was started."""

LONGEST_STATUS = 200


def credential(name: str, env: Mapping[str, str] = os.environ) -> Path | None:
    """A file that the service manager handed to this service alone (LoadCredential=)."""
    folder = env.get("CREDENTIALS_DIRECTORY", "")
    path = Path(folder) / name
    return path if folder and path.is_file() else None


class Service:
    """The service manager that started us, as the environment names it."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._address = env.get("NOTIFY_SOCKET", "")
        self._beat_every = _watchdog_seconds(env) / 3
        self._beat_at = 0.0
        self._status = ""

    def ready(self) -> None:
        """Start-up, or a reload, is over."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is read anew."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The main loop goes round; to be said as often as it does, and by nobody else."""
        if self._beat_every and time.monotonic() - self._beat_at >= self._beat_every:
            self._beat_at = time.monotonic()
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``, sent when it has changed."""
        line = " ".join(text.split())[:LONGEST_STATUS]
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # an abstract socket
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.settimeout(1)
                notify.sendto(message.encode(), address)
        except OSError as error:
            log.debug("systemd cannot be told: %s", error)


def _watchdog_seconds(env: Mapping[str, str]) -> float:
    """How long systemd waits for a sign of life of this very process; 0: it does not."""
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    microseconds = env.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() else 0.0
