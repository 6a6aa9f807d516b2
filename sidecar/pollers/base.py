"""What every poller can do: the leader knows no other way to a source of mail."""

from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Connection

from sidecar.jobs import Source
from sidecar.moodle.config import MoodleConfig
from sidecar.store.companies import Companies

Gate = Callable[[int], str]
"""Company → why its mail may not be claimed now; '' if it may."""


class Poller(Source, Protocol):
    """A source that the leader polls, by itself and alone.

    task: the scheduled task of Moodle that sends this source's mail where we do not, and whose
    cron lock guards every claim; '' if Moodle has none. stopping: set from another thread: claim
    nothing more. settled: whether the whole source was looked at and nothing of it is left to
    claim now.
    """

    task: str
    stopping: bool
    settled: bool

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
