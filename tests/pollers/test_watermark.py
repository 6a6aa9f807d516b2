"""No row is missed, however late its transaction commits (within ten minutes)."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.pollers.watermark import LATE_COMMIT, MAX_GAPS, Watermark


def test_a_late_commit_is_found() -> None:
    mark = Watermark(10)
    mark.passed([11, 14], 0.0)
    assert mark.top == 14
    assert mark.gaps == [12, 13]
    mark.found([13])
    assert mark.gaps == [12]


def test_a_rolled_back_id_is_given_up() -> None:
    mark = Watermark(0)
    mark.passed([3], 0.0)
    mark.forget_old(LATE_COMMIT - 1)
    assert mark.gaps == [1, 2]
    mark.forget_old(LATE_COMMIT)
    assert mark.gaps == []


def test_a_jump_of_ids_costs_bounded_memory() -> None:
    mark = Watermark(0)
    mark.passed([10**12], 0.0)
    assert len(mark.gaps) == MAX_GAPS
    assert mark.gaps[-1] == 10**12 - 1


@given(st.lists(st.integers(1, 500), unique=True, min_size=1), st.integers(1, 5))
def test_every_id_is_seen_or_remembered(ids: list[int], pages: int) -> None:
    ids.sort()
    mark = Watermark(0)
    size = max(1, len(ids) // pages)
    for start in range(0, len(ids), size):
        mark.passed(ids[start : start + size], 0.0)
    assert mark.top == ids[-1]
    assert set(mark.gaps) == set(range(1, ids[-1])) - set(ids)
