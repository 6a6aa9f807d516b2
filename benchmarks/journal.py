"""A report that commits to a file: what the connector costs without a database behind it."""

import os
import statistics
import threading
import time
from collections.abc import Collection, Sequence
from queue import Empty, SimpleQueue
from tempfile import TemporaryFile
from typing import Self

from sidecar.mail import Outcome


class Journal:
    """One writer; each of its commits takes every report that waits."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Sequence[Outcome], threading.Lock] | None] = SimpleQueue()
        self._file = TemporaryFile(buffering=0)  # noqa: SIM115 - closed by __exit__
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.put(None)
        self._thread.join()
        self._file.close()

    def report(self, outcomes: Sequence[Outcome]) -> Collection[int]:
        """Is a ``Report``."""
        done = threading.Lock()  # cheaper than an Event, which shows at this rate
        done.acquire()
        self._waiting.put((outcomes, done))
        done.acquire()
        return ()

    def _write(self) -> None:
        while first := self._waiting.get():
            taken = [first]
            try:
                while another := self._waiting.get_nowait():
                    taken.append(another)
            except Empty:
                pass
            lines = [f"{o.mail_id} {o.status}\n" for outcomes, _ in taken for o in outcomes]
            self._file.write("".join(lines).encode())
            os.fdatasync(self._file.fileno())
            for _, done in taken:
                done.release()


def sync_seconds(syncs: int = 200) -> float:
    """What one commit of the journal costs."""
    times = []
    with TemporaryFile(buffering=0) as file:
        for _ in range(syncs):
            started = time.perf_counter()
            file.write(b"1 processing\n")
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times)
