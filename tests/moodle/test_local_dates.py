"""Dates in a user's language and time zone."""

import pytest

from sidecar.moodle.local_dates import local_date, zone_of

EVENING = 1_740_873_600
"""2025-03-02 00:00 UTC."""


@pytest.mark.parametrize(
    ("lang", "zones", "date"),
    [
        ("en", ("", "99", "99"), "2 March 2025"),
        ("en", ("", "99", "America/New_York"), "1 March 2025"),
        ("en", ("America/New_York", "Asia/Tokyo"), "1 March 2025"),
        ("en", ("", "-5.0"), "1 March 2025"),
        ("en", ("", "Mars/Olympus", "99"), "2 March 2025"),
        ("en_us", ("",), "March 2, 2025"),
        ("de_du", ("Europe/Berlin",), "2. März 2025"),
        ("pt_br", ("",), "2 de março de 2025"),
        ("xx_yy", ("",), "2 March 2025"),
        ("", ("",), "2 March 2025"),
    ],
)
def test_the_day_as_the_user_reads_it(lang: str, zones: tuple[str, ...], date: str) -> None:
    assert local_date(EVENING, lang, zone_of(*zones)) == date
