"""The plan of a job: honest where nothing can be told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.plan import Progress, plan


def known(
    left: int = 0, recently: int = 0, over: float = 0, limit: int = 0, held: str = ""
) -> Progress:
    return Progress(left, recently, over, limit, held)


@pytest.mark.parametrize(
    ("progress", "seconds", "note"),
    [
        (known(left=600, recently=300, over=60), 120, "by the rate of the last minutes"),
        (known(left=600, limit=2), 300, "its rate limit is 2/s"),
        (known(left=600, recently=60, over=60, limit=10), 600, "by the rate of the last minutes"),
        (known(left=600, recently=600, over=60, limit=5), 120, "its rate limit is 5/s"),
        (known(left=600), None, "nothing was sent in the last minutes"),
        (known(left=600, recently=9, over=9, held="paused"), None, "paused"),
        (known(recently=9, over=9), 0, ""),
    ],
)
def test_when_it_is_done(progress: Progress, seconds: float | None, note: str) -> None:
    made = plan(progress)
    assert (made.seconds, made.note) == (seconds, note)


@given(
    st.builds(
        Progress,
        left=st.integers(1, 10**6),
        recently=st.integers(0, 10**5),
        over=st.floats(0, 300),
        limit=st.integers(0, 100),
        held=st.just(""),
    )
)
def test_never_faster_than_the_limit(progress: Progress) -> None:
    made = plan(progress)
    if made.seconds is None:
        assert not (progress.recently and progress.over)
        assert not progress.limit
    elif progress.limit:
        assert made.seconds >= progress.left / progress.limit * 0.999
