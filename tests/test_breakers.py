"""The breakers of all ways."""

import time

import pytest

from sidecar.breakers import Breakers, SetUp
from sidecar.routes import SmtpRoute

WAY, OTHER = (1, "aws"), (2, "smtp")
SET_UP: SetUp = SmtpRoute(servers=(), rate=0.0), "smtp"


def test_a_refusal_shuts_one_way_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    breakers = Breakers()
    breakers.accept(OTHER)
    began = time.monotonic()
    assert breakers.refuse(WAY, "throttled", for_good=False) == 5
    assert breakers.shut() == {WAY}
    assert breakers.is_probing(WAY)
    assert not breakers.is_probing(OTHER)
    assert not breakers.is_probing((3, "smtp"))
    assert breakers.troubles() == {1: "throttled"}
    assert set(breakers.all()) == {WAY, OTHER}
    monkeypatch.setattr(time, "monotonic", lambda: began + 61)
    assert not breakers.shut()
    assert list(breakers.down_for(60)) == [WAY]
    assert not breakers.down_for(62)


def test_what_is_taken_again_opens_the_way_and_forgets_how_it_was_set_up() -> None:
    breakers = Breakers()
    breakers.refuse(WAY, "wrong keys", for_good=True)
    breakers.refused_as(WAY, SET_UP)
    assert breakers.refused() == {WAY: SET_UP}
    breakers.accept(WAY)
    assert not breakers.refused()
    assert not breakers.shut()
    assert not breakers.troubles()
