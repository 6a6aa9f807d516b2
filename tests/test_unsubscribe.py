"""The link to unsubscribe: only the site that made it opens it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import CampaignError
from sidecar.unsubscribe import LONGEST, Leaving, Links

PAGE = "https://learn.example.test/u.php"
LINKS = Links(PAGE, b"k" * 32)
LEAVING = Leaving("anna@example.test", 3, 12)


def token(url: str) -> str:
    return url.partition("token=")[2]


def test_a_link_of_long_ago_still_opens() -> None:
    old = "aXVra9zol2iFpGg6PNJThZ2vkiRUbJQ_pX7ztfVML-XkaO-bGf40lUTpzt9G2L0BVMdHuqUidc6J621oEx1F_zPa"
    assert LINKS.open(old) == LEAVING


def test_the_link_is_the_same_each_time_and_shows_no_address() -> None:
    url = LINKS.url(LEAVING)
    assert url == LINKS.url(LEAVING)
    assert url.startswith(f"{PAGE}?token=")
    assert "anna" not in url
    assert LINKS.open(token(url)) == LEAVING
    assert LINKS.url(Leaving("Anna@Example.test", 3, 12)) == url
    assert Links(PAGE + "?a=1", LINKS.key).url(LEAVING).startswith(PAGE + "?a=1&token=")


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_token_is_refused(at: int, change: int) -> None:
    good = token(LINKS.url(LEAVING))
    at %= len(good) - 1  # the last character has bits that say nothing
    bad = good[:at] + chr((ord(good[at]) + change) % 256) + good[at + 1 :]
    with pytest.raises(CampaignError, match="not of this site"):
        LINKS.open(bad)


@pytest.mark.parametrize("bad", ["", "x", "é", "A" * (LONGEST + 1), "A" * 100])
def test_what_is_no_token_is_refused(bad: str) -> None:
    with pytest.raises(CampaignError, match="not of this site"):
        LINKS.open(bad)


def test_another_sites_token_is_refused() -> None:
    with pytest.raises(CampaignError):
        Links(PAGE, b"o" * 32).open(token(LINKS.url(LEAVING)))
