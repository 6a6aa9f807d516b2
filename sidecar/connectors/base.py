"""The protocol that every connector follows (DESIGN §7)."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from sidecar.mail import MailBatch, Outcome

Report = Callable[[Sequence[Outcome]], Collection[int]]
"""Takes outcomes and returns only after they are committed.

Returns the ids of mails whose ``processing`` was refused because they were cancelled or handed
back meanwhile: those must not be sent. Raises LeaseLostError when this process may not write any
more: then nothing more may be sent."""

Guard = Callable[[], None]
"""Raises LeaseLostError when this process may no longer send (its lease deadline has passed)."""


class Verdict(StrEnum):
    """What became of handing a batch over."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    REFUSED_FOR_GOOD = "refused_for_good"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Submission:
    """The result of handing over one batch.

    ACCEPTED: the provider has it (or, for smtp, every mail of it was tried); REFUSED: definitely
    not taken, later may work; REFUSED_FOR_GOOD: definitely not taken, an admin must act;
    UNCERTAIN: counts as accepted. code and reason say why, for the admin. progressed: it refuses
    now and took mail a moment ago, so it is not down.
    """

    batch_id: int
    verdict: Verdict
    provider_id: str = ""
    code: str = ""
    reason: str = ""
    progressed: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether the provider would take mail now, and what it said.

    doubt: what an admin should look at although mail is taken; '' for nothing.
    """

    ok: bool
    detail: str
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Collected:
    """A message of the provider's results queue, unproven. receipt: what ``forget`` takes."""

    receipt: str
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Revocation:
    """A mail that the provider shall not send any more.

    root_batch: the ``batch_key`` of the batch that first carried it; generation: as in ``Mail``.
    """

    root_batch: str
    mail_key: str
    generation: int


class FeedbackKind(StrEnum):
    """What a provider learns of a mail after it took it."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    """For good: the address takes no mail."""
    SOFT_BOUNCED = "soft_bounced"
    """This mail did not arrive; another may."""
    COMPLAINED = "complained"
    REJECTED = "rejected"
    """The provider did not send it after all."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a provider says of one address of one mail, unproven.

    site_uid, mail_key: '' where it does not name them; message_id: the provider's own. text: the
    diagnostic, one line.
    """

    kind: FeedbackKind
    address: str
    message_id: str
    mail_key: str = ""
    site_uid: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class CollectedFeedback:
    """A message of the provider's feedback queue. receipt: what ``forget_feedback`` takes."""

    receipt: str
    events: tuple[Feedback, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Quota:
    """What the provider's account may send. per_day: -1 for any number. sandbox: only to addresses
    that are verified. reproach: what the provider has against the account, '' for nothing."""

    per_second: float
    per_day: int
    sent_today: int
    sandbox: bool
    sending: bool
    reproach: str = ""


class Connector(Protocol):
    """Where work goes. One instance serves one set of provider settings; thread-safe.

    learns_at_once: what became of a mail is known when its batch is answered, and went to
    ``report`` before; else it comes later, as a result, and ``report`` is never called.
    """

    name: str
    learns_at_once: bool

    def submit(self, batches: Iterable[MailBatch], report: Report) -> Iterable[Submission]:
        """Hand over batches; yields one Submission a batch, in any order, as each is known.

        ``batches`` is consumed lazily: a connector takes the next when it has room for it.
        A connector that learns outcomes at once calls ``report``. Raises no ConnectorError:
        a provider's refusal is a Submission.
        """

    def max_bytes(self) -> int:
        """Bytes of the largest message that the provider takes; 0 if it takes no messages."""

    def max_mail_bytes(self) -> int:
        """Bytes of the largest mail (``packing.mail_bytes``) that is worth to be handed over; 0 if
        the provider names no such limit."""

    def probe(self) -> Probe:
        """Ask the provider whether it would take mail, sending none."""

    def collect(self) -> list[Collected]:
        """Some of what waits in the provider's results queue; empty if nothing does, or no queue.

        Everything comes again until it is forgotten: an answer that is lost costs nothing. Raises
        ConnectorError.
        """

    def forget(self, receipts: Sequence[str]) -> None:
        """Delete collected messages, after they are committed. Raises ConnectorError.

        What cannot be deleted comes again.
        """

    def revoke(self, mails: Sequence[Revocation]) -> frozenset[str]:
        """Have mails not sent that the provider took; those that surely never will be.

        Returns mail_keys. A mail that is not among them may be sent, or was. May be repeated: what
        was revoked before is returned again. Raises ConnectorError, after which any of the mails
        may have been revoked.
        """

    def depth(self) -> int | None:
        """How many messages wait at the provider, about, those in work among them.

        None: that cannot be known, or not now.
        """

    def close(self, deadline: float) -> None:
        """Stop taking new mails, finish those in flight until monotonic ``deadline``, let go."""


@runtime_checkable
class FeedbackConnector(Connector, Protocol):
    """A connector whose provider tells what became of mails after it took them."""

    def collect_feedback(self) -> list[CollectedFeedback]:
        """Some of what waits in the provider's feedback queue; empty if nothing, or no queue.

        As ``collect``: everything comes again until it is forgotten. Raises ConnectorError.
        """

    def forget_feedback(self, receipts: Sequence[str]) -> None:
        """Delete collected feedback, after it is committed. Raises ConnectorError."""

    def quota(self) -> Quota:
        """What the account may send. Raises ConnectorError."""


@runtime_checkable
class WatchedConnector(Connector, Protocol):
    """A connector whose provider has more queues than that of jobs."""

    def depths(self) -> Mapping[str, int]:
        """Messages that are there, about: in ``jobs``, and in what there is of ``dead_letters``,
        ``results`` and ``feedback``. Raises ConnectorError."""
