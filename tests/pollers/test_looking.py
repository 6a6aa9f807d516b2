"""When a drain looks at the queue again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.pollers.looking import LOOK_SECONDS, LOOK_SHARE, next_look

BEGAN = 1_000.0
spans = st.floats(0, 100)


@given(spent=spans)
def test_looking_takes_a_share_of_the_time_and_no_more(spent: float) -> None:
    ended = BEGAN + spent
    at = next_look(BEGAN, ended, None, walked=True)
    assert at >= ended + LOOK_SECONDS
    assert spent <= LOOK_SHARE * (at - ended) + 1e-6


@given(spent=spans, ripens=st.floats(0, 3_000))
def test_what_ripens_is_seen_when_it_does_for_half_of_the_time_at_most(
    spent: float, ripens: float
) -> None:
    ended = BEGAN + spent
    at = next_look(BEGAN, ended, ripens, walked=True)
    assert at <= next_look(BEGAN, ended, None, walked=True)
    assert at - ended >= max(LOOK_SECONDS, spent) - 1e-6
    if ripens >= ended + max(LOOK_SECONDS, spent):
        assert at <= ripens


@pytest.mark.parametrize("ripens", [None, BEGAN + 50])
def test_a_queue_that_was_not_seen_whole_is_looked_at_soon(ripens: float | None) -> None:
    ended = BEGAN + 10
    assert next_look(BEGAN, ended, ripens, walked=False) == ended + LOOK_SECONDS
