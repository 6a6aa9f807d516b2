"""Whose mail is claimed next."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sidecar.grouping import Group
from sidecar.pollers import turns as module
from sidecar.pollers.turns import Turns

BIG, SMALL, LATE = (Group("user_create", company) for company in (1, 2, 3))


def taken(turns: Turns) -> list[tuple[int, list[int]]]:
    """All chunks that are left: company and rows."""
    found = []
    while chunk := turns.next():
        found.append((chunk[0].company_id, list(chunk[1])))
    return found


def test_groups_take_turns() -> None:
    turns = Turns(99, 2)
    turns.plan({BIG: [1, 2, 3, 4, 5], SMALL: [6, 7, 8]})
    assert taken(turns) == [(1, [1, 2]), (2, [6, 7]), (1, [3, 4]), (2, [8]), (1, [5])]


def test_the_more_groups_wait_the_smaller_is_the_first_chunk_of_each() -> None:
    turns = Turns(100, 500)
    groups = [Group("user_create", company) for company in range(1, 21)]
    turns.plan({group: range(1_000) for group in groups[:2]})
    assert [len(chunk[1]) for _ in range(3) if (chunk := turns.next())] == [50, 50, 500]
    turns.plan({group: range(1_000) for group in groups})
    sizes = [len(chunk[1]) for _ in range(21) if (chunk := turns.next())]
    assert sizes == [module.FEWEST] * 18 + [500] * 3


def test_what_comes_later_is_next_and_a_new_plan_forgets_no_turn() -> None:
    turns = Turns(99, 2)
    turns.plan({BIG: [1, 2, 3, 4], SMALL: [6, 7]})
    assert turns.next() == (BIG, [1, 2])
    turns.plan({BIG: [3, 4], SMALL: [6, 7], LATE: [9]})
    assert taken(turns) == [(2, [6, 7]), (3, [9]), (1, [3, 4])]


def test_whether_somebody_had_no_turn_yet() -> None:
    turns = Turns(99, 2)
    found = []
    for claims in ({BIG: [1, 2, 3]}, {BIG: [3, 4]}, {BIG: [3, 4], LATE: [9]}):
        turns.plan(claims)
        found.append(turns.new)
        turns.next()
    assert found == [True, False, True]


def test_rows_of_the_next_chunks() -> None:
    turns = Turns(99, 2)
    turns.plan({BIG: [1, 2, 3], SMALL: []})
    assert (turns.ahead(1), turns.ahead(5)) == (2, 3)
    assert turns.next()
    assert turns.ahead(5) == 1
    assert taken(turns) == [(1, [3])]
    assert (turns.next(), turns.ahead(5)) == (None, 0)


@given(
    st.dictionaries(
        st.integers(1, 9).map(lambda company: Group("user_create", company)),
        st.sets(st.integers(1, 500), max_size=40),
        max_size=6,
    ),
    st.integers(1, 7),
    st.integers(1, 7),
)
def test_each_row_comes_once_and_nobody_waits_for_two_turns_of_another(
    claims: dict[Group, set[int]], first: int, size: int
) -> None:
    turns = Turns(first, size)
    turns.plan(claims)
    rows: dict[int, list[int]] = {}
    had: Counter[int] = Counter()
    for company, ids in taken(turns):
        assert 0 < len(ids) <= size
        rows.setdefault(company, []).extend(ids)
        had[company] += 1
        waiting = [
            g.company_id
            for g, all_ids in claims.items()
            if all_ids - set(rows.get(g.company_id, ()))
        ]
        assert all(had[company] - had[other] <= 1 for other in waiting)
    assert {company: sorted(ids) for company, ids in rows.items()} == {
        group.company_id: sorted(ids) for group, ids in claims.items() if ids
    }
