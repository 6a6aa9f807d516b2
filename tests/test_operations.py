"""What notes of bulk operations mean for jobs."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.grouping import Group
from sidecar.operations import LATELY, Operation, Operations

IMPORT = Group("csv_import", 1)
NOW = 1_700_000_000
PATIENCE = 30


def note(
    number: int = 1,
    *,
    group: Group = IMPORT,
    user: int = 7,
    count: int = 500,
    last: int = NOW - 1,
    finished: bool = True,
) -> Operation:
    return Operation(number, group, user, count, last - 5, last, finished)


def read(*notes: Operation) -> Operations:
    return Operations(notes, NOW, PATIENCE)


def test_the_job_belongs_to_whoever_queued_its_mails() -> None:
    assert read(note()).who(IMPORT, 10) == 7
    assert read(note(finished=False)).who(IMPORT, 10) == 7
    assert read().who(IMPORT, 10) == 0
    assert read(note(user=0)).who(IMPORT, 10) == 0
    assert read(note(group=Group("csv_import", 2))).who(IMPORT, 10) == 0
    assert read(note(group=Group("license_allocation", 1))).who(IMPORT, 10) == 0
    assert read(note(last=NOW - int(LATELY) - 1)).who(IMPORT, 10) == 0


def test_a_passer_by_owns_no_bulk() -> None:
    assert read(note(1), note(2, user=9, count=1, last=NOW)).who(IMPORT, 10) == 7
    assert read(note(count=9)).who(IMPORT, 10) == 0


def test_single_users_of_one_service_are_its_bulk() -> None:
    singles = [note(n, count=1, last=NOW - n) for n in range(10)]
    assert read(*singles).who(IMPORT, 10) == 7
    assert not read(*singles).ended(IMPORT, NOW - 20, 10)


def test_of_two_who_are_at_it_the_last_one_counts() -> None:
    two = (note(1, last=NOW - 60), note(2, user=8, count=50, last=NOW))
    assert read(*two).who(IMPORT, 10) == 8
    assert read(*reversed(two)).who(IMPORT, 10) == 8


def test_an_operation_ends_when_it_says_so_and_no_other_goes_on() -> None:
    assert read(note()).ended(IMPORT, NOW, 10)
    assert not read(note(finished=False)).ended(IMPORT, NOW, 10)
    assert not read(note(1), note(2, finished=False, count=1)).ended(IMPORT, NOW, 10)
    assert not read(note(count=9)).ended(IMPORT, NOW, 10)
    assert not read(note(group=Group("csv_import", 2))).ended(IMPORT, NOW, 10)


def test_an_earlier_operation_does_not_end_a_later_job() -> None:
    assert not read(note(last=NOW - 100)).ended(IMPORT, NOW - 60, 10)
    assert read(note(last=NOW - 100)).ended(IMPORT, NOW - 80, 10)


def test_a_crashed_request_neither_ends_a_job_nor_keeps_it_open() -> None:
    crashed = note(2, finished=False, last=NOW - PATIENCE - 1)
    assert not read(crashed).ended(IMPORT, NOW - 60, 10)
    assert read(note(1), crashed).ended(IMPORT, NOW - 60, 10)


def test_a_campaign_ends_only_by_its_own_note() -> None:
    group = Group("reengagement", 1)
    found = read(note(group=group, count=350))
    assert found.queued(group, 7, 350, NOW - 10)
    assert not found.queued(group, 7, 349, NOW - 10)
    assert not found.queued(group, 8, 350, NOW - 10)
    assert not found.queued(group, 7, 350, NOW + 10)
    assert not found.queued(IMPORT, 7, 350, NOW - 10)
    assert not read(note(group=group, count=350, finished=False)).queued(group, 7, 350, NOW - 10)


operations = st.lists(
    st.builds(
        Operation,
        id=st.integers(1, 99),
        group=st.builds(Group, st.sampled_from(["csv_import", "x"]), st.integers(0, 2)),
        userid=st.integers(0, 3),
        count=st.integers(0, 30),
        first_at=st.just(0),
        last_at=st.integers(NOW - 1000, NOW + 100),
        finished=st.booleans(),
    ),
    max_size=8,
)


@given(notes=operations, opened=st.integers(NOW - 500, NOW))
def test_nothing_ends_without_a_finished_bulk(notes: list[Operation], opened: int) -> None:
    mine = [each for each in notes if each.group == IMPORT]
    found = read(*notes)
    if found.ended(IMPORT, opened, 10):
        assert any(each.finished and each.count >= 10 for each in mine)
        assert all(each.finished or each.last_at < NOW - PATIENCE for each in mine)
    who = found.who(IMPORT, 10)
    assert who == 0 or sum(each.count for each in mine if each.userid == who) >= 10
