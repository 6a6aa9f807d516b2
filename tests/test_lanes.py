"""Lines before a lane: nobody waits behind all of another's."""

from sidecar.lanes import Line
from sidecar.store.queue import DueBatch


def batch(number: int, company_id: int) -> DueBatch:
    return DueBatch(
        id=number,
        job_id=company_id,
        job_type="csv_import",
        company_id=company_id,
        source="iomad_mail",
        provider="smtp",
        status="pending",
        attempt=0,
        created_at=1,
        batch_key="",
        batch_num=number,
        first_issued_at=None,
        queued_at=None,
        silent_asks=0,
    )


def test_companies_take_turns_and_each_keeps_its_order() -> None:
    line = Line()
    for number in (1, 2, 3):
        line.put(batch(number, company_id=1))
    assert line.take() == batch(1, 1)
    line.put(batch(4, company_id=2))
    line.put(batch(5, company_id=2))
    order = []
    while (expected := line.next()) is not None:
        assert line.take() is expected
        order.append(expected.id)
    assert order == [4, 2, 5, 3]
    assert (line.take(), len(line)) == (None, 0)


def test_a_company_that_comes_back_has_not_lost_its_place() -> None:
    line = Line()
    line.put(batch(1, company_id=1))
    line.put(batch(2, company_id=2))
    assert [line.take(), line.take()] == [batch(1, 1), batch(2, 2)]
    for number in (3, 4):
        line.put(batch(number, company_id=2))
    line.put(batch(5, company_id=1))
    assert len(line) == 3
    assert [b.id for b in line.batches()] == [3, 4, 5]
    assert line.take() == batch(5, 1)


def test_a_company_that_had_no_turn_yet_comes_before_all_that_had_one() -> None:
    line = Line()
    for number, company_id in ((1, 1), (2, 2)):
        line.put(batch(number, company_id))
    assert [line.take(), line.take()] == [batch(1, 1), batch(2, 2)]
    for number, company_id in ((3, 1), (4, 2), (5, 3), (6, 4)):
        line.put(batch(number, company_id))
    order = [taken.company_id for _ in range(4) if (taken := line.take())]
    assert order == [3, 4, 1, 2]


def test_what_is_cleared_waits_no_more() -> None:
    line = Line()
    line.put(batch(1, company_id=1))
    line.clear()
    assert (line.take(), line.next(), line.batches()) == (None, None, [])
