"""What a job costs and how long it takes: within sight of a bill, and never less for more mails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cost import DAY, Account, estimate


def test_five_thousand_mails() -> None:
    found = estimate(5000, Account(14, 40_000, 50_000))
    assert found.messages == 50
    assert found.requests["SES"] == 5000
    assert found.seconds == pytest.approx(5000 / 14)
    assert 0.50 < found.dollars < 0.70  # SES alone is 0.50
    assert found.days == 0


def test_the_companys_limit_and_the_daily_quota() -> None:
    assert estimate(100, Account(14), limit=2).seconds == 50
    assert estimate(100, Account(), limit=2).seconds == 50
    assert estimate(100, Account()).seconds is None
    found = estimate(1000, Account(10, left_today=100, per_day=300))
    assert found.days == 3
    assert found.seconds == 100 + 3 * DAY


def test_nothing_costs_nothing() -> None:
    found = estimate(0, Account(14))
    assert (found.messages, found.dollars, found.seconds) == (0, 0, 0)


@given(st.integers(0, 200_000), st.integers(0, 5000), st.sampled_from([0.5, 14.0, 200.0]))
def test_more_mails_never_cost_less(mails: int, more: int, rate: float) -> None:
    a, b = estimate(mails, Account(rate)), estimate(mails + more, Account(rate))
    assert a.dollars <= b.dollars + 1e-9
    assert a.messages <= b.messages
    assert (a.seconds or 0) <= (b.seconds or 0)
