"""The states of DESIGN §5."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.lifecycle import (
    BATCH_SOURCES,
    ENDED,
    JOB_ENDED,
    QUICK_RETRIES,
    RECIPIENT_SOURCES,
    Batch,
    Job,
    Recipient,
    ended_batch_state,
    job_state,
    retry_at,
)

R = Recipient
counts = st.dictionaries(st.sampled_from(list(Recipient)), st.integers(0, 1000))


def job(closed: bool = True, submitted: bool = True, open_child: bool = False, **n: int) -> Job:
    return job_state(
        closed=closed,
        open_child=open_child,
        submitted=submitted,
        counts={Recipient(state): number for state, number in n.items()},
    )


def test_498_sent_and_2_bad_addresses_is_completed() -> None:
    assert job(sent=498, permanently_failed=2) is Job.COMPLETED


def test_job_states_first_match() -> None:
    assert job(sent=5, open_child=True) is Job.MANUAL_RETRY
    assert job(submitted=False, pending=5) is Job.PENDING
    assert job(submitted=False, closed=False, pending=5) is Job.PENDING
    assert job(pending=5) is Job.QUEUED
    assert job(pending=5, sent=1) is Job.PROCESSING
    assert job(closed=False, sent=5) is Job.PROCESSING
    assert job(retry_pending=1, sent=5) is Job.RETRY_PENDING
    assert job(failed=1, sent=5) is Job.PARTIAL_FAILURE
    assert job(unknown=1, sent=5) is Job.PARTIAL_FAILURE
    assert job(failed=5) is Job.FAILED
    assert job(permanently_failed=5) is Job.COMPLETED
    assert job(returned=3, cancelled=2) is Job.RETURNED
    assert job(cancelled=2) is Job.CANCELLED
    assert job(submitted=False, cancelled=2) is Job.CANCELLED


@given(counts)
def test_a_closed_job_whose_mails_have_ended_has_ended(n: dict[Recipient, int]) -> None:
    alive = {state for state, number in n.items() if number}
    state = job_state(closed=True, open_child=False, submitted=True, counts=n)
    if alive and alive <= ENDED:
        assert state in JOB_ENDED
    if alive - ENDED:
        assert state not in JOB_ENDED


@given(counts)
def test_a_batch_ends_exactly_when_all_its_mails_have(n: dict[Recipient, int]) -> None:
    alive = {state for state, number in n.items() if number}
    assert (ended_batch_state(n) is not None) == (bool(alive) and alive <= ENDED)


def test_batch_end_states() -> None:
    assert ended_batch_state({R.SENT: 98, R.PERMANENTLY_FAILED: 2}) is Batch.SENT
    assert ended_batch_state({R.SENT: 98, R.UNKNOWN: 2}) is Batch.PARTIAL_FAILURE
    assert ended_batch_state({R.FAILED: 1}) is Batch.FAILED
    assert ended_batch_state({R.PERMANENTLY_FAILED: 1}) is Batch.FAILED
    assert ended_batch_state({R.RETURNED: 1, R.CANCELLED: 1}) is Batch.RETURNED
    assert ended_batch_state({R.CANCELLED: 1}) is Batch.CANCELLED
    assert ended_batch_state({R.SENT: 1, R.PENDING: 1}) is None
    assert ended_batch_state({}) is None


def test_nothing_leaves_sent_but_to_a_bounce() -> None:
    leaving = {new for new, sources in RECIPIENT_SOURCES.items() if R.SENT in sources}
    assert leaving == {R.PERMANENTLY_FAILED}


def test_an_unknown_mail_is_never_sent_again_by_itself() -> None:
    assert R.UNKNOWN not in RECIPIENT_SOURCES[R.PENDING]
    assert R.UNKNOWN not in RECIPIENT_SOURCES[R.PROCESSING]
    assert R.UNKNOWN in RECIPIENT_SOURCES[R.SENT]


def test_every_state_can_be_entered() -> None:
    assert set(RECIPIENT_SOURCES) == set(Recipient)
    assert set(BATCH_SOURCES) == set(Batch)


def test_quick_retries() -> None:
    assert retry_at(0, 1000) == 0
    assert [retry_at(tries, 1000) for tries in (1, 2, 3, 9)] == [1005, 1030, 1120, 1120]
    assert QUICK_RETRIES == (5, 30, 120)
