"""The protocol that every connector follows (DESIGN §7)."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

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
    UNCERTAIN: counts as accepted. code and reason say why, for the admin.
    """

    batch_id: int
    verdict: Verdict
    provider_id: str = ""
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether the provider would take mail now, and what it said."""

    ok: bool
    detail: str


class Connector(Protocol):
    """Where work goes. One instance serves one set of provider settings; thread-safe."""

    name: str

    def submit(self, batches: Iterable[MailBatch], report: Report) -> Iterable[Submission]:
        """Hand over batches; yields one Submission a batch, in any order, as each is known.

        ``batches`` is consumed lazily: a connector takes the next when it has room for it.
        A connector that learns outcomes at once calls ``report``. Raises no ConnectorError:
        a provider's refusal is a Submission.
        """

    def probe(self) -> Probe:
        """Ask the provider whether it would take mail, sending none."""

    def close(self, deadline: float) -> None:
        """Stop taking new mails, finish those in flight until monotonic ``deadline``, let go."""
