"""Ready or not, and why: what /readyz, systemd and the metrics say."""

from pathlib import Path

import pytest

from sidecar.breaker import Breaker
from sidecar.context import Context
from sidecar.health import Health, Inside, Part
from sidecar.holds import Holds
from sidecar.settings import Settings

DOWN = Breaker()
DOWN.refuse(0.0, "535 wrong password", for_good=True)
FINE = Breaker()


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Settings(database_url="sqlite://", state_dir=tmp_path))


def inside(
    breakers: dict[tuple[int, str], Breaker] | None = None, *doubts: str, holds: Holds | None = None
) -> Inside:
    return Inside(breakers or {}, holds or Holds(), doubts)


def test_a_process_that_has_not_begun_is_not_ready(context: Context) -> None:
    health = Health(context, lambda: None)
    assert health.ready()[0] is False
    assert health.alive()
    assert not health.begun


def test_leading_and_waiting_are_ready(context: Context) -> None:
    leading = Health(context, inside)
    leading.cycle(None, "")
    assert leading.ready()[0]
    assert leading.line() == "leading"
    waiting = Health(context, lambda: None)
    waiting.cycle(None, "other:1")
    assert waiting.ready()[0]
    assert waiting.ready()[1]["leads"] is False


@pytest.mark.parametrize("part", [Part.DATABASE, Part.SITE, Part.SWITCHES])
def test_what_stops_the_loop_is_told_with_its_reason(context: Context, part: Part) -> None:
    health = Health(context, inside)
    health.cycle((part, "because"), "")
    ready, why = health.ready()
    assert not ready
    parts = why["parts"]
    assert isinstance(parts, dict)
    assert parts[part.value] == {"ok": False, "reason": "because"}
    assert health.line() == f"{part}: because"


def test_doubtful_locks_are_not_ready(context: Context) -> None:
    health = Health(context, lambda: inside({}, "Galera"))
    health.cycle(None, "")
    assert not health.ready()[0]
    assert health.troubles() == {Part.LOCKS: "Galera"}


def test_one_refusing_provider_stops_not_the_others(context: Context) -> None:
    health = Health(context, lambda: inside({(1, "smtp"): DOWN, (2, "smtp"): FINE}))
    health.cycle(None, "")
    assert health.ready()[0]
    assert health.troubles()[Part.PROVIDERS] == "company 1 by smtp: 535 wrong password"
    alone = Health(context, lambda: inside({(1, "smtp"): DOWN}))
    alone.cycle(None, "")
    assert not alone.ready()[0]


def test_a_loop_that_stands_still_is_dead(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = Health(context, inside)
    health.cycle(None, "")
    monkeypatch.setattr("sidecar.health.HEALTHY_SECONDS", -1.0)
    assert not health.alive()
    assert "stood still" in health.troubles()[Part.DATABASE]


def test_the_numbers(context: Context) -> None:
    holds = Holds(everything=True, companies={4: "paused"})
    health = Health(context, lambda: inside({(1, "smtp"): DOWN}, holds=holds))
    health.cycle(None, "")
    found = health.now()
    assert found["manireports_paused"] == {(): 1.0}
    assert found["manireports_company_held"] == {("4",): 1.0}
    assert found["manireports_breaker_failing_seconds"]["1", "smtp"] > 0
    assert found["manireports_ready"]["providers",] == 0
    assert found["manireports_ready"]["database",] == 1
    assert found["manireports_disk_free_bytes"]["state",] > 0
