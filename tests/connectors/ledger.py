"""A report that commits into memory, and is as strict about transitions as the tables are."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

from sidecar.lifecycle import RECIPIENT_SOURCES, Recipient
from sidecar.mail import Mail, Outcome


class Ledger:
    """Is a ``Report``. state: what is committed of each mail, by id; calls: what each call said.

    cancelled: mails that may not become ``processing``. on_report: called with the number of each
    call before it commits; may raise.
    """

    def __init__(self, on_report: Callable[[int], object] = lambda _: None) -> None:
        self.state: dict[int, Recipient] = defaultdict(lambda: Recipient.PENDING)
        self.outcome: dict[int, Outcome] = {}
        self.calls: list[tuple[Outcome, ...]] = []
        self.started: Counter[int] = Counter()
        self.tries: Counter[int] = Counter()
        self.most_in_flight = 0
        self.cancelled: set[int] = set()
        self._on_report = on_report
        self._number = 0
        self._lock = threading.Lock()

    def __call__(self, outcomes: Sequence[Outcome]) -> Collection[int]:
        with self._lock:
            self._number += 1
            self._on_report(self._number)
            self.calls.append(tuple(outcomes))
            return {outcome.mail_id for outcome in outcomes if not self._commit(outcome)}

    def _commit(self, outcome: Outcome) -> bool:
        mail_id, status = outcome.mail_id, outcome.status
        if status is Recipient.PROCESSING:
            if mail_id in self.cancelled:
                return False
            self.started[mail_id] += 1
        elif outcome.counted:
            self.tries[mail_id] += 1
        before = self.state[mail_id]
        assert before in RECIPIENT_SOURCES[status], f"{before} → {status}"
        self.state[mail_id] = status
        self.outcome[mail_id] = outcome
        in_flight = sum(state is Recipient.PROCESSING for state in self.state.values())
        self.most_in_flight = max(self.most_in_flight, in_flight)
        return True

    def states(self, mails: Iterable[Mail]) -> Counter[Recipient]:
        """How many of these mails are in which state."""
        return Counter(self.state[mail.id] for mail in mails)
