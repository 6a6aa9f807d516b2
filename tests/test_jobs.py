"""Packing rows into batches."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.jobs import BATCH_BYTES, ClaimedRow, pack
from sidecar.store.capture import CapturedRow, NewRecipient


def claimed(row_id: int, mails: int, size: int = 1000) -> ClaimedRow:
    recipients = tuple(
        NewRecipient("user", f"u{n}@x.test", n, f"{row_id}-{n}", "", "") for n in range(mails)
    )
    return ClaimedRow(CapturedRow(row_id, 0, recipients), size)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, BATCH_BYTES)), max_size=80),
    st.integers(1, 50),
)
def test_every_row_is_in_one_batch_whole_and_in_order(
    rows: list[tuple[int, int]], batch_size: int
) -> None:
    given_rows = [claimed(n, mails, size) for n, (mails, size) in enumerate(rows)]
    packs = pack(given_rows, batch_size)
    assert [row.source_id for batch in packs for row in batch] == list(range(len(rows)))
    for batch in packs:
        mails = sum(len(row.recipients) for row in batch)
        assert mails <= batch_size or len(batch) == 1
        assert sum(rows[row.source_id][1] for row in batch) <= BATCH_BYTES or len(batch) == 1


def test_a_row_with_more_mails_than_a_batch_is_alone() -> None:
    packs = pack([claimed(0, 2), claimed(1, 500), claimed(2, 2)], 100)
    assert [len(batch) for batch in packs] == [1, 1, 1]
