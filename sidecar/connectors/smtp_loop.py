"""An event loop in a thread of its own, and blocking calls beside it.

The threads are daemons, unlike those of an executor: Python's exit waits for no call that hangs.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

Found = TypeVar("Found")


class LoopThread:
    """Runs coroutines for other threads, all in one thread, which starts with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_ended = False
        self._lock = threading.Lock()

    def start(self, work: Coroutine[Any, Any, Found]) -> Future[Found] | None:
        """Have it run; its future result. None after ``end``."""
        with self._lock:
            if self._has_ended:
                work.close()
                return None
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                run = threading.Thread(
                    target=_run, args=(self._loop,), name=self._name, daemon=True
                )
                run.start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, Found]) -> Found | None:
        """Run it; its result, or what it raises. None after ``end``."""
        future = self.start(work)
        return future.result() if future else None

    def end(self) -> None:
        """Start nothing more; the thread ends with what still runs."""
        with self._lock:
            self._has_ended = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    while running := asyncio.all_tasks(loop):
        loop.run_until_complete(asyncio.wait(running))
    loop.close()


class Aside:
    """A thread that does blocking calls for an event loop, one after the other."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    async def do(self, call: Callable[[], Found]) -> Found:
        """What the call returns or raises, while the event loop goes on."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Found] = loop.create_future()

        def work() -> None:
            try:
                settle = partial(future.set_result, call())
            except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                settle = partial(future.set_exception, error)
            loop.call_soon_threadsafe(settle)

        self._calls.put(work)
        return await future

    def end(self) -> None:
        """End the thread after what it was asked to do."""
        self._calls.put(None)

    def _work(self) -> None:
        while work := self._calls.get():
            work()


async def in_thread(call: Callable[[], Found]) -> Found:
    """What one blocking call returns or raises, while the event loop goes on."""
    aside = Aside()
    try:
        return await aside.do(call)
    finally:
        aside.end()
