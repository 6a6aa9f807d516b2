"""Rendering in a process of its own, so that a large job uses a second core.

The process only reads, holds no lock, and ends with ours however ours ends: its pipe closes.
"""

import contextlib
import logging
import multiprocessing
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from sidecar.context import Context
from sidecar.errors import SidecarError
from sidecar.garbage import collect_seldom
from sidecar.render import Rendered, Task, render
from sidecar.settings import Settings

log = logging.getLogger(__name__)

STOP_SECONDS = 2.0
"""How long the process may take to end by itself."""

REST_SECONDS = 60.0
"""After so long without work the process ends, and its memory is free."""


class RenderProcess:
    """``render.Elsewhere``: the process starts when it is told to, and ends when it rests."""

    def __init__(self, settings: Settings, site_uid: str) -> None:
        self._settings, self._site_uid = settings, site_uid
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="render")
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._ready = False
        self._used = 0.0
        self._closed = False

    @property
    def running(self) -> bool:
        """``Elsewhere.running``."""
        return self._ready

    def start(self) -> None:
        """``Elsewhere.start``."""
        self._used = time.monotonic()
        self._thread.submit(self._begin)

    def render(self, task: Task) -> Future[Rendered]:
        """``Elsewhere.render``."""
        return self._thread.submit(self._ask, task)

    def rest(self) -> None:
        """End the process if it has had no work for a while."""
        if self.running and time.monotonic() - self._used > REST_SECONDS:
            self._thread.submit(self._end)

    def close(self) -> None:
        """End the process; what it was asked for is given up."""
        self._closed = True
        self._end()

    def _ask(self, task: Task) -> Rendered:
        if self._closed:
            raise SidecarError("the sidecar is stopping")
        self._used = time.monotonic()
        try:
            pipe = self._pipe or self._start()
            pipe.send(task)
            answer = pipe.recv()
        except (OSError, EOFError) as error:
            self._end()
            raise SidecarError("the process that renders has ended: it is started anew") from error
        if isinstance(answer, Rendered):
            return answer
        raise SidecarError(str(answer))

    def _begin(self) -> None:
        try:
            if not (self._pipe or self._closed):
                self._start()
        except (OSError, EOFError) as error:
            self._end()
            log.warning("the process that renders has not started: %s", error or "it has ended")

    def _start(self) -> Connection:
        """Start it and wait until it is ready. Raises OSError, EOFError."""
        spawn = multiprocessing.get_context("spawn")  # a fork would share our database connections
        ours, theirs = spawn.Pipe()
        process = spawn.Process(
            target=_serve, args=(theirs, self._settings, self._site_uid), name="render", daemon=True
        )
        process.start()
        theirs.close()
        with self._lock:
            self._process, self._pipe = process, ours
        ours.recv()
        self._ready = True
        return ours

    def _end(self) -> None:
        with self._lock:
            self._ready = False
            process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.join(STOP_SECONDS)
            process.kill()


def _serve(pipe: Connection, settings: Settings, site_uid: str) -> None:
    """Answer until the pipe closes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # meant for the process that asks
    context = Context(settings)
    sources = context.pollers(site_uid)
    collect_seldom()
    with contextlib.suppress(EOFError, OSError):
        pipe.send("ready")
        while True:
            task: Task = pipe.recv()
            try:
                answer: Rendered | str = render(context.database, sources, task)
            except SidecarError as error:
                answer = str(error)
            except Exception as defect:
                log.exception("batch %d cannot be rendered", task.batch.id)
                answer = f"batch {task.batch.id} cannot be rendered: {type(defect).__name__}"
            pipe.send(answer)
    context.close()
