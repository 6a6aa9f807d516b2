"""Send windows: by the clock on the wall, over midnight, through changes of the clock."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ConfigError
from sidecar.send_window import DAYS, parse

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("window", "moment", "is_open"),
    [
        ("08:00-18:00 Europe/Berlin", "2026-11-25T08:00", True),
        ("08:00-18:00 Europe/Berlin", "2026-11-25T17:59", True),
        ("08:00-18:00 Europe/Berlin", "2026-11-25T18:00", False),
        ("08:00-18:00 Europe/Berlin", "2026-11-25T07:59", False),
        ("mon-fri 08:00-18:00 Europe/Berlin", "2026-11-28T12:00", False),  # a Saturday
        ("fri-mon 08:00-18:00 Europe/Berlin", "2026-11-29T12:00", True),
        ("22:00-06:00 Europe/Berlin", "2026-11-25T23:00", True),
        ("22:00-06:00 Europe/Berlin", "2026-11-26T05:59", True),
        ("22:00-06:00 Europe/Berlin", "2026-11-26T06:00", False),
        ("fri 22:00-02:00 Europe/Berlin", "2026-11-28T01:00", True),  # Friday's, on Saturday
        ("fri 22:00-02:00 Europe/Berlin", "2026-11-27T01:00", False),
        ("00:00-24:00 Europe/Berlin", "2026-11-25T23:59", True),
        ("sat 10:00-11:00, mon 08:00-09:00 Europe/Berlin", "2026-11-30T08:30", True),
        ("08:00-18:00 America/New_York", "2026-11-25T08:30", False),
    ],
)
def test_open_or_not(window: str, moment: str, is_open: bool) -> None:
    assert parse(window).is_open(at(moment)) is is_open


def test_it_opens_by_the_clock_on_the_wall_when_that_is_changed() -> None:
    window = parse("08:00-18:00 Europe/Berlin")
    before, after = at("2026-10-24T19:00"), at("2026-10-25T08:00")  # an hour longer than usual
    assert window.opens_at(before) == after
    assert after - at("2026-10-24T08:00") == 25 * 3600


CLOCK = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
PART = st.builds(
    lambda day, begin, end: f"{day}{begin}-{end}",
    st.sampled_from(["", *(f"{day} " for day in DAYS), "mon-fri ", "sat-sun ", "fri-tue "]),
    CLOCK,
    CLOCK,
)
ZONES = st.sampled_from(["Europe/Berlin", "UTC", "Australia/Lord_Howe", "America/New_York"])
MOMENTS = st.integers(1_600_000_000, 2_000_000_000)


@given(parts=st.lists(PART, min_size=1, max_size=3), zone=ZONES, now=MOMENTS)
def test_it_always_opens_again_within_eight_days(parts: list[str], zone: str, now: int) -> None:
    window = parse(f"{', '.join(parts)} {zone}")
    opens = window.opens_at(now)
    assert (opens == now) is window.is_open(now)
    assert window.is_open(opens)
    assert opens - now <= 8 * 86_400
    if opens > now:
        assert not window.is_open(opens - 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("08:00-18:00", "no time zone"),
        ("08:00-18:00 Berlin", "'Berlin' is no time zone"),
        ("8-18 UTC", "'8-18' is not like"),
        ("25:00-26:00 UTC", "'25:00' is no time of day"),
        ("mon-fre 08:00-18:00 UTC", "'fre' is none of mon, tue"),
        ("08:00-18:00,  UTC", "'' is not like"),
        ("", "no time zone"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match="send window") as refused:
        parse(text)
    assert says in str(refused.value)


def test_times_are_read_in_the_windows_own_zone() -> None:
    assert parse("08:00-09:00 UTC").is_open(datetime(2026, 7, 1, 8, 30, tzinfo=UTC).timestamp())
