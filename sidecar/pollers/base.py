"""What every poller can do: the leader knows no other way to a source of mail."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Connection

from sidecar.grouping import Group, Waiting
from sidecar.jobs import Source
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.iomad_mail import Left
from sidecar.store.companies import Companies, Company
from sidecar.store.database import Transaction

Wanted = Callable[[int], bool]
"""Whether a company's mail is claimed at all."""

TooOld = Callable[[Waiting], bool]
"""Whether a mail has waited too long to be claimed."""

Gate = Callable[[int], str]
"""Company → why its mail may not be claimed now; '' if it may."""


class Poller(Source, Protocol):
    """A source that the leader polls, by itself and alone.

    task: the scheduled task of Moodle that sends this source's mail where we do not, and whose
    cron lock guards every claim; '' if Moodle has none. stopping, hurried: set from another
    thread: claim nothing more, or nothing more in this cycle. settled: whether the whole source
    was looked at and nothing of it is left to claim now; resting: and nothing waits that may
    ripen.
    """

    task: str
    stopping: bool
    hurried: bool
    settled: bool
    resting: bool

    def poll(
        self, config: MoodleConfig, companies: Companies, gate: Gate, claimed: Callable[[], None]
    ) -> float | None:
        """Look, and claim what is ripe; ``claimed`` is called after each chunk.

        Returns the monotonic time at which more will be ripe; raises DatabaseError, and what
        ``claimed`` raises.
        """

    def newest(self, conn: Connection) -> int:
        """The greatest id of this source now."""

    def release_old(self, company_id: int, up_to: int) -> None:
        """The admin released mail of a company that is overdue, up to an id of this source."""

    def close_all(self) -> None:
        """Nothing more will come: close every open job of this source. Raises DatabaseError."""


@dataclass(slots=True)
class Claimed:
    """What one transaction did; true once it is committed.

    rows: ids that are ours now; gone: ids that did not wait any more; left: rows that stay with
    Moodle, with the reason.
    """

    rows: list[int] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)
    left: dict[int, Left] = field(default_factory=dict)


class Claiming(Protocol):
    """One claiming transaction of a source; the caller holds the lock and the transaction."""

    def claim(
        self,
        tx: Transaction,
        group: Group,
        ids: Sequence[int],
        config: MoodleConfig,
        company: Company,
        created_by: int = 0,
    ) -> Claimed:
        """Claim those of the rows that can be claimed; raises LockBusyError if cron sends too.

        created_by: the user who queued them, for a new job.
        """


class Peeking(Protocol):
    """What waits in a source, by id.

    walked: whether the whole source was looked at since ``look_again``. looked: when the last
    look began that saw all that was new, monotonic seconds. old: company → mails that are too old,
    as last counted; they are not in ``waiting``.
    """

    waiting: dict[int, Waiting]
    old: Counter[int]
    looked: float

    @property
    def walked(self) -> bool: ...

    @property
    def resting(self) -> bool:
        """Whether all was looked at, and nothing waits or may appear below what was seen."""

    def look(self, conn: Connection, wanted: Wanted, too_old: TooOld) -> None:
        """Read what is new."""

    def look_again(self) -> None:
        """A company was enabled, or old mail was released: look at everything anew."""

    def refuse(self, ids: Iterable[int]) -> None:
        """These rows stay with Moodle; do not bring them up again for a while."""

    def forget(self, ids: Iterable[int]) -> None:
        """These rows wait no more."""

    def verify(self, conn: Connection, ids: Collection[int]) -> None:
        """Drop those of the rows that Moodle has sent or removed meanwhile."""
