"""What a report makes of a mail (DESIGN §5): upward only, asked again for so long."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.lifecycle import ASK_AGAIN, ENDED, Recipient, report_applies
from sidecar.message import MailResult, MailStatus
from sidecar.settle import LATEST, SOONEST, judge
from sidecar.store.reports import KnownMail

R, S = Recipient, MailStatus
NOW = 1_800_000_000
DAY = 86_400

RANKS = [R.RETRY_PENDING, R.UNKNOWN, R.FAILED, R.PERMANENTLY_FAILED, R.SENT]
"""Ascending."""

moments = st.integers(0, 2**63 - 1)
told = st.builds(
    MailResult,
    mail_key=st.just("a" * 64),
    id=st.just(1),
    status=st.sampled_from(MailStatus),
    error_code=st.sampled_from(["", "Throttling"]),
    retryable=st.booleans(),
    not_before=st.just(0) | st.integers(NOW - DAY, NOW + 3 * DAY) | moments,
)


def says(status: MailStatus, retryable: bool = False, not_before: int = 0) -> MailResult:
    return MailResult("a" * 64, 1, status, "ses-1", "code", "text", retryable, not_before)


def mail(tries: int = 1, status: Recipient = R.PROCESSING) -> KnownMail:
    return KnownMail(1, status, tries)


def after(start: Recipient, reports: list[MailResult], tries: int = 1) -> Recipient:
    """The state of a mail after these reports, as ``apply_results`` writes them."""
    status = start
    for report in reports:
        change, _ = judge(report, mail(tries, status), NOW)
        if report_applies(status, change.status):
            status = change.status
    return status


@pytest.mark.parametrize(
    ("report", "status", "due"),
    [
        (says(S.SENT), R.SENT, 0),
        (says(S.PERMANENTLY_FAILED), R.PERMANENTLY_FAILED, 0),
        (says(S.UNKNOWN), R.UNKNOWN, 0),
        (says(S.REVOKED), R.CANCELLED, 0),
        (says(S.FAILED), R.FAILED, 0),
        (says(S.FAILED, retryable=True), R.RETRY_PENDING, NOW + 300),
        (says(S.FAILED, retryable=True, not_before=NOW + 900), R.RETRY_PENDING, NOW + 900),
        (says(S.FAILED, not_before=NOW + 900), R.FAILED, 0),
        (says(S.DEFERRED, not_before=NOW + 7200), R.RETRY_PENDING, NOW + 7200),
        # What only a failure may be asked again for, these are not.
        (says(S.SENT, retryable=True, not_before=NOW + 60), R.SENT, 0),
        (says(S.UNKNOWN, retryable=True, not_before=NOW + 60), R.UNKNOWN, 0),
        (says(S.PERMANENTLY_FAILED, retryable=True), R.PERMANENTLY_FAILED, 0),
    ],
)
def test_what_a_report_says_becomes_a_state(
    report: MailResult, status: Recipient, due: int
) -> None:
    change, asked = judge(report, mail(), NOW)
    assert (change.status, asked) == (status, due)
    assert (change.mail_id, change.code, change.error) == (1, "code", "text")
    assert change.message_id == "ses-1"
    assert change.tried == (report.status is not S.DEFERRED)


def test_a_failure_is_asked_again_after_5_to_80_minutes_then_it_is_failed() -> None:
    waits = []
    for tries in range(1, 6):
        change, due = judge(says(S.FAILED, retryable=True), mail(tries), NOW)
        assert change.status is R.RETRY_PENDING
        waits.append((due - NOW) // 60)
    assert waits == [5, 10, 20, 40, 80]
    for tries in (6, 7, 100):
        change, due = judge(says(S.FAILED, retryable=True), mail(tries), NOW)
        assert (change.status, due) == (R.FAILED, 0)


def test_a_mail_that_was_never_asked_for_is_on_the_first_rung() -> None:
    assert judge(says(S.FAILED, retryable=True), mail(0), NOW)[1] == NOW + 300


@pytest.mark.parametrize(
    ("not_before", "due"),
    [
        (0, NOW + SOONEST),
        (NOW - DAY, NOW + SOONEST),
        (NOW + SOONEST - 1, NOW + SOONEST),
        (NOW + SOONEST + 1, NOW + SOONEST + 1),
        (NOW + LATEST, NOW + LATEST),
        (NOW + LATEST + 1, NOW + LATEST),
        (2**63 - 1, NOW + LATEST),
    ],
)
def test_a_deferral_is_believed_within_bounds(not_before: int, due: int) -> None:
    for tries in (1, 6, 100):  # however often that is: it is no failure
        change, asked = judge(says(S.DEFERRED, not_before=not_before), mail(tries), NOW)
        assert (change.status, asked) == (R.RETRY_PENDING, due)


@given(told, st.integers(0, 20), st.sampled_from(Recipient))
def test_a_mail_is_asked_for_again_exactly_if_it_waits_for_that(
    report: MailResult, tries: int, status: Recipient
) -> None:
    change, due = judge(report, mail(tries, status), NOW)
    assert (due > 0) == (change.status is R.RETRY_PENDING)
    if due:
        assert NOW + SOONEST <= due <= NOW + max(LATEST, ASK_AGAIN[-1])


ranked = told.filter(lambda report: report.status is not S.REVOKED)


@given(st.lists(ranked, min_size=1, max_size=12), st.integers(1, 8), st.data())
def test_the_highest_rank_wins_in_any_order_and_however_often(
    reports: list[MailResult], tries: int, data: st.DataObject
) -> None:
    states = [judge(report, mail(tries), NOW)[0].status for report in reports]
    doubled = data.draw(st.permutations([*reports, *reports]))
    assert after(R.PROCESSING, doubled, tries) is max(states, key=RANKS.index)
    assert after(R.PENDING, doubled, tries) is max(states, key=RANKS.index)


@given(st.sampled_from(Recipient), st.lists(told, max_size=8), st.lists(told, max_size=8))
def test_sent_always_wins(
    start: Recipient, before: list[MailResult], later: list[MailResult]
) -> None:
    assert after(start, [*before, says(S.SENT), *later]) is R.SENT


@given(st.sampled_from([R.CANCELLED, R.RETURNED]), st.lists(told, max_size=12))
def test_only_sent_changes_what_was_cancelled_or_handed_back(
    start: Recipient, reports: list[MailResult]
) -> None:
    was_sent = any(report.status is S.SENT for report in reports)
    assert after(start, reports) is (R.SENT if was_sent else start)


@given(st.sampled_from([R.UNKNOWN, R.FAILED, R.PERMANENTLY_FAILED, R.SENT]), st.lists(told))
def test_what_has_ended_never_waits_or_moves_down(
    start: Recipient, reports: list[MailResult]
) -> None:
    end = after(start, reports)
    assert end in ENDED
    assert RANKS.index(end) >= RANKS.index(start)


def test_a_second_report_of_the_same_state_changes_nothing() -> None:
    assert not [state for state in RANKS if report_applies(state, state)]


def test_every_pair_of_states_is_decided_by_rank() -> None:
    for low, high in combinations(RANKS, 2):
        assert report_applies(low, high)
        assert not report_applies(high, low)


def test_a_revoked_mail_is_cancelled_only_while_a_provider_may_have_it() -> None:
    assert [old for old in Recipient if report_applies(old, R.CANCELLED)] == [
        R.PENDING,
        R.PROCESSING,
    ]
