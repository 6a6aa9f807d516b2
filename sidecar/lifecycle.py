"""States, the transitions that are allowed, and a job's state as a function of its recipients.

Pure: no I/O. DESIGN §5 is the source of every rule here.
"""

from collections.abc import Mapping
from enum import StrEnum


class Recipient(StrEnum):
    """What is true of one mail."""

    PENDING = "pending"
    PROCESSING = "processing"
    SENT = "sent"
    FAILED = "failed"
    RETRY_PENDING = "retry_pending"
    PERMANENTLY_FAILED = "permanently_failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"
    RETURNED = "returned"


class Batch(StrEnum):
    """What is true of one batch."""

    PENDING = "pending"
    SUBMITTING = "submitting"
    QUEUED = "queued"
    PROCESSING = "processing"
    SENT = "sent"
    PARTIAL_FAILURE = "partial_failure"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETURNED = "returned"


class Job(StrEnum):
    """What is true of one job; derived, never set by hand."""

    PENDING = "pending"
    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    PARTIAL_FAILURE = "partial_failure"
    RETRY_PENDING = "retry_pending"
    FAILED = "failed"
    MANUAL_RETRY = "manual_retry"
    CANCELLED = "cancelled"
    RETURNED = "returned"


R = Recipient

RECIPIENT_SOURCES: Mapping[Recipient, frozenset[Recipient]] = {
    R.PROCESSING: frozenset({R.PENDING, R.RETRY_PENDING}),
    R.SENT: frozenset({R.PROCESSING, R.UNKNOWN, R.FAILED}),
    R.FAILED: frozenset({R.PROCESSING, R.UNKNOWN}),
    R.RETRY_PENDING: frozenset({R.FAILED}),
    R.PERMANENTLY_FAILED: frozenset(
        {R.PENDING, R.PROCESSING, R.FAILED, R.RETRY_PENDING, R.UNKNOWN, R.SENT}
    ),
    R.PENDING: frozenset({R.PROCESSING}),
    R.UNKNOWN: frozenset({R.PROCESSING}),
    R.CANCELLED: frozenset({R.PENDING, R.FAILED, R.RETRY_PENDING, R.PROCESSING}),
    R.RETURNED: frozenset({R.PENDING, R.FAILED, R.RETRY_PENDING, R.PROCESSING}),
}
"""For each state, the states from which a recipient may enter it.

``processing → cancelled | returned`` is only for a provider's confirmed revocation.
"""

ENDED = frozenset({R.SENT, R.FAILED, R.PERMANENTLY_FAILED, R.UNKNOWN, R.CANCELLED, R.RETURNED})
"""Recipient states in which nothing more happens by itself."""

BOUNCED, COMPLAINED = "bounced", "complained"
SOFT_BOUNCED, REJECTED = "soft_bounced", "rejected_later"
TOLD_LATER = frozenset({BOUNCED, COMPLAINED, SOFT_BOUNCED, REJECTED})
"""The ``error_code`` of mails that came to grief after their provider took them: the address takes
none, its reader reported it as spam, it did not arrive, the provider thought better of it. No
report that such a mail was sent is news."""

FORGETTING = frozenset({R.SENT, R.PERMANENTLY_FAILED, R.CANCELLED, R.RETURNED})
"""Recipient states with which a secret that belongs to the mail is removed for good."""

RECALLED = frozenset({R.PROCESSING, R.RETRY_PENDING, R.CANCELLED})
"""Recipient states in which a mail may be found that its provider just gave up: the provider's own
report of it may be faster than we are."""

SUBMITTED = frozenset(
    {R.PROCESSING, R.SENT, R.FAILED, R.RETRY_PENDING, R.PERMANENTLY_FAILED, R.UNKNOWN}
)
"""Recipient states that a mail reaches only by having been submitted or refused."""

B = Batch

BATCH_SOURCES: Mapping[Batch, frozenset[Batch]] = {
    B.SUBMITTING: frozenset({B.PENDING}),
    B.PENDING: frozenset({B.SUBMITTING}),
    B.QUEUED: frozenset({B.SUBMITTING}),
    B.PROCESSING: frozenset({B.QUEUED, B.SUBMITTING}),
    B.SENT: frozenset({B.QUEUED, B.PROCESSING, B.PARTIAL_FAILURE, B.FAILED}),
    B.PARTIAL_FAILURE: frozenset({B.QUEUED, B.PROCESSING, B.FAILED, B.SENT}),
    B.FAILED: frozenset({B.QUEUED, B.PROCESSING, B.SUBMITTING, B.PENDING}),
    B.CANCELLED: frozenset({B.PENDING, B.QUEUED, B.PROCESSING}),
    B.RETURNED: frozenset({B.PENDING, B.QUEUED, B.PROCESSING}),
}

"""For each state, the states from which a batch may enter it.

``submitting → processing``: smtp takes a batch and works on it in one step.
"""

BATCH_ENDED = frozenset({B.SENT, B.PARTIAL_FAILURE, B.FAILED, B.CANCELLED, B.RETURNED})


def ended_batch_state(counts: Mapping[Recipient, int]) -> Batch | None:
    """The final state of a batch whose recipients stand as in ``counts``; None while it runs.

    ``sent`` means that every mail which could be sent was: bad addresses do not spoil it.
    """
    alive = {state for state, number in counts.items() if number}
    if not alive or alive - ENDED:
        return None
    if alive & {R.FAILED, R.UNKNOWN}:
        return B.PARTIAL_FAILURE if R.SENT in alive else B.FAILED
    if alive & {R.SENT, R.PERMANENTLY_FAILED}:
        return B.SENT if R.SENT in alive else B.FAILED
    return B.RETURNED if R.RETURNED in alive else B.CANCELLED


def job_state(  # noqa: PLR0911 - a decision table, first match wins
    *, closed: bool, open_child: bool, submitted: bool, counts: Mapping[Recipient, int]
) -> Job:
    """A job's state, first match (DESIGN §5).

    closed: no more mail joins; open_child: a retry job of it is not finished; submitted: any
    batch ever left ``pending``; counts: root recipients by state.
    """
    alive = {state for state, number in counts.items() if number}
    if open_child:
        return Job.MANUAL_RETRY
    if not submitted and (not alive or alive - ENDED or not closed):
        return Job.PENDING
    if alive & {R.PENDING, R.PROCESSING} or not closed:
        first_result = alive - {R.PENDING, R.PROCESSING}
        return Job.PROCESSING if first_result else Job.QUEUED
    if R.RETRY_PENDING in alive:
        return Job.RETRY_PENDING
    if alive & {R.FAILED, R.UNKNOWN}:
        return Job.PARTIAL_FAILURE if R.SENT in alive else Job.FAILED
    if alive & {R.SENT, R.PERMANENTLY_FAILED}:
        return Job.COMPLETED
    return Job.RETURNED if R.RETURNED in alive else Job.CANCELLED


JOB_ENDED = frozenset({Job.COMPLETED, Job.PARTIAL_FAILURE, Job.FAILED, Job.CANCELLED, Job.RETURNED})

QUICK_RETRIES = (5, 30, 120)
"""Seconds after which a mail that was refused for now is tried again; then it is ``failed``."""


ASK_AGAIN = (300, 600, 1200, 2400, 4800)
"""Seconds after which a provider is asked again for a mail that it reported as failed, retryable;
then it is ``failed``."""

SILENT_ASKS = 3
"""How often a provider is asked for a batch of which it says nothing; then it is ``unknown``."""

_RANK = {R.RETRY_PENDING: 0, R.UNKNOWN: 1, R.FAILED: 2, R.PERMANENTLY_FAILED: 3, R.SENT: 4}


def report_applies(old: Recipient, new: Recipient) -> bool:
    """Whether a provider's report may change a recipient: upward only, and ``sent`` always."""
    if old in (R.PENDING, R.PROCESSING):
        return True
    if old in (R.CANCELLED, R.RETURNED):
        return new is R.SENT
    return new in _RANK and _RANK[new] > _RANK[old]


def retry_at(tries: int, last_try: int) -> int:
    """When a pending mail may be tried (again), Unix seconds."""
    if not tries:
        return 0
    return last_try + QUICK_RETRIES[min(tries, len(QUICK_RETRIES)) - 1]
