"""A round of sources: while one drains, the others have their turns."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.errors import DatabaseError
from sidecar.metrics.registry import Metrics
from sidecar.pollers import round as module
from sidecar.pollers.round import Round

Poll = Callable[[Any, Callable[[], None]], float | None]


def sources(*names: str) -> list[Any]:
    """What a round asks of a poller: its name, and that it can be hurried."""
    return [SimpleNamespace(name=name, hurried=False) for name in names]


def claiming(chunks: dict[str, int], log: list[str]) -> Poll:
    """A poll that claims a source's chunks, as every poller does: until it is hurried."""

    def poll(poller: Any, claimed: Callable[[], None]) -> float | None:
        while chunks[poller.name] and not poller.hurried:
            chunks[poller.name] -= 1
            log.append(poller.name)
            claimed()
        return float(len(log))

    return poll


def test_while_one_drains_the_others_claim_a_chunk_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "OTHERS_SECONDS", 0)
    log: list[str] = []
    made = sources("big", "small", "none")
    chunks = {"big": 3, "small": 2, "none": 0}
    assert Round(made, Metrics(), claiming(chunks, log), lambda: None).run() == 5
    assert log == ["big", "small", "big", "small", "big"]
    assert not any(poller.hurried for poller in made)


def test_before_that_each_has_its_turn_after_the_other() -> None:
    log: list[str] = []
    ticks: list[int] = []
    chunks = {"big": 3, "small": 2}
    poll = claiming(chunks, log)
    assert Round(sources(*chunks), Metrics(), poll, lambda: ticks.append(1)).run() == 3
    assert log == ["big", "big", "big", "small", "small"]
    assert len(ticks) == 5


def test_a_source_that_cannot_be_polled_holds_up_no_other() -> None:
    metrics, log = Metrics(), list[str]()
    good = claiming({"good": 1}, log)

    def poll(poller: Any, claimed: Callable[[], None]) -> float | None:
        if poller.name == "bad":
            raise DatabaseError("no SELECT on mdl_email")
        return good(poller, claimed)

    with pytest.raises(DatabaseError, match="no SELECT"):
        Round(sources("bad", "good"), metrics, poll, lambda: None).run()
    assert log == ["good"]
    success = {
        name: metrics.registry.get_sample_value("manireports_poll_success", {"poller": name})
        for name in ("bad", "good")
    }
    assert success == {"bad": 0, "good": 1}


def test_nothing_to_poll() -> None:
    assert Round([], Metrics(), claiming({}, []), lambda: None).run() is None
