"""The event loop of the SMTP connector, and blocking calls beside it."""

import asyncio
import threading

import pytest

from sidecar.connectors.smtp_loop import Aside, LoopThread, in_thread


async def add(a: int, b: int) -> int:
    return a + b


async def fail() -> None:
    raise ValueError("no")


def test_coroutines_of_many_threads_run_in_one() -> None:
    loop = LoopThread("loop")
    found: set[int] = set()

    async def where() -> None:
        found.add(threading.get_ident())

    threads = [threading.Thread(target=lambda: loop.call(where())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 1
    assert threading.get_ident() not in found
    assert loop.call(add(1, 2)) == 3
    with pytest.raises(ValueError, match="no"):
        loop.call(fail())
    loop.end()


def test_after_the_end_nothing_starts_and_what_runs_ends() -> None:
    loop = LoopThread("loop")
    go_on = threading.Event()

    async def wait() -> str:
        return "done" if await in_thread(lambda: go_on.wait(10)) else "timed out"

    running = loop.start(wait())
    assert running
    loop.end()
    loop.end()
    assert loop.start(add(1, 2)) is None
    assert loop.call(add(1, 2)) is None
    go_on.set()
    assert running.result(10) == "done"


def test_a_loop_that_never_ran_can_end() -> None:
    loop = LoopThread("loop")
    loop.end()
    assert loop.call(add(1, 2)) is None


def test_a_blocking_call_does_not_hold_the_loop_up() -> None:
    loop, go_on = LoopThread("loop"), threading.Event()
    blocked = loop.start(in_thread(lambda: go_on.wait(10)))
    assert loop.call(add(1, 2)) == 3
    go_on.set()
    assert blocked
    assert blocked.result(10)
    with pytest.raises(ZeroDivisionError):
        loop.call(in_thread(lambda: 1 / 0))
    loop.end()


def test_calls_aside_are_done_one_after_the_other() -> None:
    loop, done = LoopThread("loop"), list[int]()

    async def work() -> list[BaseException | None]:
        aside = Aside()
        calls = (aside.do(lambda n=n: done.append(n)) for n in range(50))  # type: ignore[misc]
        try:
            return await asyncio.gather(*calls, return_exceptions=True)
        finally:
            aside.end()

    assert loop.call(work()) == [None] * 50
    assert done == list(range(50))
    loop.end()
