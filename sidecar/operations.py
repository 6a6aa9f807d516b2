"""What the plugin's observers note of bulk operations, and what follows for jobs. Pure.

A note is one row a request: its type, company and acting user, how many mails it queued, and
whether it is over. It names the admin on the job, and closes the job before nothing has come for
``quiet_period``. No note is needed for anything, and none is believed further than that.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.grouping import Group

LATELY = 600.0
"""How long an operation may lie back whose mails open a job, seconds: cron may hold its lock."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A note. userid: who did it, 0 for cron; count: mails; first_at, last_at: Unix seconds."""

    id: int
    group: Group
    userid: int
    count: int
    first_at: int
    last_at: int
    finished: bool


class Operations:
    """The notes of late, as they stand at ``now`` (Unix seconds).

    patience: seconds without a further mail after which an operation that did not say so is over:
    its request has crashed.
    """

    def __init__(
        self, notes: Iterable[Operation] = (), now: int = 0, patience: float = 0.0
    ) -> None:
        self._now = now
        self._patience = patience
        self._notes: dict[Group, list[Operation]] = defaultdict(list)
        for note in notes:
            if note.last_at >= now - max(LATELY, patience):
                self._notes[note.group].append(note)

    def who(self, group: Group, threshold: int) -> int:
        """The user whose bulk operation queued the mails of a group that waits now; 0: nobody's.

        Of several users whose notes make a bulk, the one who was at it last.
        """
        counts: dict[int, int] = defaultdict(int)
        last: dict[int, tuple[int, int]] = {}
        for note in self._notes.get(group, ()):
            counts[note.userid] += note.count
            last[note.userid] = max(last.get(note.userid, (0, 0)), (note.last_at, note.id))
        bulk = [userid for userid, count in counts.items() if count >= threshold]
        return max(bulk, key=lambda userid: last[userid], default=0)

    def ended(self, group: Group, opened: int, threshold: int) -> bool:
        """Whether a bulk operation of a group has said that it is over, and none goes on.

        opened: when the job of its mails was opened, Unix seconds.
        """
        notes = self._notes.get(group, ())
        return not any(self._goes_on(note) for note in notes) and any(
            note.finished and note.count >= threshold and note.last_at >= opened - self._patience
            for note in notes
        )

    def queued(self, group: Group, userid: int, rows: int, since: int) -> bool:
        """Whether a user's operation has said that it queued just so many rows, and is over."""
        return any(
            note.finished and note.userid == userid and note.count == rows and note.last_at >= since
            for note in self._notes.get(group, ())
        )

    def _goes_on(self, note: Operation) -> bool:
        return not note.finished and note.last_at >= self._now - self._patience
