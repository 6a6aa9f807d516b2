"""What is bulk, and what of it is claimed when (DESIGN §3 Groups and jobs)."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.grouping import Group, Plan, Rules, Waiting, job_type, plan_claims

RULES = Rules(min_age=3, max_age=86_400, flush_after=0.5, batch_size=100)
IMPORT = Group("csv_import", 1)
NOW = 1_700_000_000


def mail(
    number: int,
    *,
    group: Group = IMPORT,
    due: int = NOW - 10,
    modified: int = NOW - 10,
    seen: float = 0.0,
) -> Waiting:
    return Waiting(number, group, due, modified, seen)


def plan(
    waiting: list[Waiting],
    *,
    monotonic: float = 100.0,
    open_groups: frozenset[Group] = frozenset(),
    old: bool = False,
) -> Plan:
    return plan_claims(
        waiting,
        open_groups=open_groups,
        threshold=lambda _company: 10,
        may_take_old=lambda _mail: old,
        rules=RULES,
        now=NOW,
        monotonic=monotonic,
    )


def test_ten_are_bulk_nine_are_not() -> None:
    assert plan([mail(i) for i in range(10)]).claims == {IMPORT: list(range(10))}
    nine = plan([mail(i) for i in range(9)])
    assert not nine.claims
    assert nine.left == {("below_threshold", 1): 9}


def test_a_single_mail_joins_an_open_job() -> None:
    assert plan([mail(1)], open_groups=frozenset({IMPORT})).claims == {IMPORT: [1]}


def test_threshold_counts_a_company_alone() -> None:
    other = Group("csv_import", 2)
    waiting = [mail(i) for i in range(6)] + [mail(10 + i, group=other) for i in range(6)]
    assert not plan(waiting).claims


def test_young_rows_wait_until_they_are_ripe() -> None:
    waiting = [mail(i, seen=99.0) for i in range(10)]
    found = plan(waiting)
    assert not found.claims
    assert found.next_at == 102.0


def test_young_rows_count_for_the_threshold() -> None:
    waiting = [mail(i, seen=0.0) for i in range(5)] + [mail(5 + i, seen=99.0) for i in range(5)]
    found = plan(waiting, monotonic=100.0)
    assert not found.left


def test_a_short_batch_leaves_half_a_second_after_the_last_mail() -> None:
    waiting = [mail(i, seen=96.9) for i in range(10)]
    assert plan(waiting, monotonic=100.0).claims == {}
    assert plan(waiting, monotonic=100.5).claims == {IMPORT: list(range(10))}


def test_a_full_batch_leaves_at_once() -> None:
    waiting = [mail(i, seen=97.0) for i in range(100)] + [mail(100, seen=99.9)]
    assert plan(waiting, monotonic=100.0).claims == {IMPORT: list(range(100))}


def test_mail_of_the_future_waits() -> None:
    waiting = [mail(i, due=NOW + 20) for i in range(50)]
    found = plan(waiting)
    assert not found.claims
    assert not found.left
    assert found.next_at == 121.0


def test_due_now_is_not_yet_due_as_in_moodle() -> None:
    assert not plan([mail(i, due=NOW) for i in range(10)]).claims


def test_old_backlog_is_never_blasted() -> None:
    old = [mail(i, due=NOW - 90_000, modified=NOW - 90_000) for i in range(50)]
    assert plan(old).left == {("too_old", 1): 50}
    assert plan(old, old=True).claims == {IMPORT: list(range(50))}


def test_due_zero_means_due_when_it_was_queued() -> None:
    assert plan([mail(i, due=0, modified=NOW - 5) for i in range(10)]).claims


def test_job_types() -> None:
    assert job_type("user_create", {}) == "csv_import"
    assert job_type("anything_else", {}) == "notification"
    assert job_type("user_create", {"user_create": "notification"}) == "notification"


waiting_mails = st.builds(
    Waiting,
    id=st.integers(1, 10**6),
    group=st.builds(Group, st.sampled_from(["csv_import", "reengagement"]), st.integers(0, 3)),
    due=st.integers(NOW - 200_000, NOW + 1000),
    modified=st.integers(NOW - 200_000, NOW),
    first_seen=st.floats(0, 200),
)


@given(st.lists(waiting_mails, max_size=60, unique_by=lambda m: m.id), st.floats(0, 300))
def test_each_mail_is_claimed_once_left_once_or_waits(
    waiting: list[Waiting], monotonic: float
) -> None:
    found = plan(waiting, monotonic=monotonic)
    claimed = [row_id for ids in found.claims.values() for row_id in ids]
    assert len(claimed) == len(set(claimed))
    assert len(claimed) + sum(found.left.values()) <= len(waiting)
    by_id = {m.id: m for m in waiting}
    for group, ids in found.claims.items():
        for row_id in ids:
            m = by_id[row_id]
            assert m.group == group
            assert m.due < NOW
            assert m.first_seen + RULES.min_age <= monotonic
