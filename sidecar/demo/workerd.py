"""A whole Cloudflare on this host: the real Worker on workerd, a queue, a ledger, an e-mail sink.

The rig of cloud_workers/cloudflare as a process of its own, with its storage in a folder: it may be
killed and started again. Needs Node and the packages that `scripts/lib.sh` installs for it.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from sidecar.cli.wrangler import WORKER, installed, node
from sidecar.errors import SidecarError

ACCOUNT, JOBS, RESULTS = "a" * 32, "1" * 32, "2" * 32
TOKEN = "token-of-the-rig-0123456789"  # noqa: S105 - known to all


class Workerd:
    """The rig. Where it will answer is known before it is started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self._configuration: Mapping[str, object] = {}
        self.storage = folder / "storage"
        """Of its Durable Objects; it outlives the process."""
        self.log = folder / "workerd.log"

    @property
    def url(self) -> str:
        """Of everything in it."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def api_url(self) -> str:
        """Of what plays Cloudflare's API."""
        return f"{self.url}/client/v4"

    @property
    def worker_url(self) -> str:
        """Of the Worker."""
        return f"{self.url}/worker"

    def start(
        self,
        site_uid: str,
        keys: str,
        callback_url: str,
        *,
        repeat: bool = False,
        more: Mapping[str, str] | None = None,
    ) -> Self:
        """Start it. keys: as ``company set`` shows them. repeat: the queue has each message twice.

        more: further variables of the Worker. Raises SidecarError.
        """
        bindings = {"SITE_UID": site_uid, "KEYS": keys, "SENDER": "binding", **(more or {})}
        if callback_url:
            bindings["CALLBACK_URL"] = callback_url
        self._configuration = {
            "bindings": bindings,
            "port": self._port,
            "persist": str(self.storage),
            "repeat": repeat,
        }
        self.restart()
        return self

    def restart(self) -> None:
        """Start it as it was started before, on what it has stored."""
        installed()
        command = [node(), str(WORKER / "rig" / "serve.js"), json.dumps(self._configuration)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"TMPDIR": str(self._folder)},  # killed, it leaves files there
                start_new_session=True,
            )
        # What the Workers log goes to standard error: nobody reads more than one line of the other.
        said = self._process.stdout.readline() if self._process.stdout else b""
        if not said.startswith(b'{"url"'):
            self.kill()
            end = self.log.read_text("utf-8", "replace")[-1000:]
            raise SidecarError(f"the Cloudflare rig did not start:\n{end}")

    def kill(self) -> None:
        """SIGKILL to all of it, in whatever it is doing."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process = None

    close = kill

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def mails(self) -> list[dict[str, Any]]:
        """What the e-mail service took, each as the Worker gave it."""
        found: list[dict[str, Any]] = self._sink("mails")
        return found

    def refuse(self, rules: Iterable[Mapping[str, object]]) -> None:
        """Have mails refused: {match: address, code, message, times (0: always)}."""
        self._sink("rules", json.dumps(list(rules)).encode())

    def _sink(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(  # noqa: S310 - our own
            f"{self.url}/sink/{path}", body, timeout=30
        ) as answer:
            return json.load(answer)
