"""How many connections to one mail server pay: more where its latency is what limits. Pure."""

from dataclasses import dataclass, field

WINDOW = 0.5
"""Seconds that one measurement takes at least; it also takes ROUNDS mails a connection."""
ROUNDS = 4
WAITING = 0.5
"""The server's latency limits when a mail takes at least this part of its turn to be answered."""
NOT_WAITING = 0.25
"""Below this part connections are closed again."""
WORTH = 0.4
"""The part of what a step could bring that it must bring to be kept."""
PATIENCE = 60.0
"""Seconds until growing is tried again after it did not pay, or the server objected."""
LONGEST_PATIENCE = 3_600.0


@dataclass(slots=True)
class Growth:
    """The number of connections to one server. All times are monotonic seconds.

    fewest: to begin with, and what is shrunk to when more do not pay; most: never more.
    ``wanted`` is between 1 and ``most``: below ``fewest`` only where the server objected.

    A *turn* is the time in which every connection sends one mail. If the quickest answer of the
    window took most of a turn, the connections mostly wait for the server's latency and more of
    them send more. Otherwise something of ours limits, or the rate, and they do not. Where the
    server is what is busy, all its answers are slow: then a step does not bring what it could,
    and is undone.
    """

    fewest: int
    most: int
    wanted: int = field(init=False)
    _before: tuple[int, float] | None = field(default=None, init=False)
    _quiet_until: float = field(default=0.0, init=False)
    _patience: float = field(default=PATIENCE, init=False)
    _since: float = field(default=0.0, init=False)
    _mails: int = field(default=0, init=False)
    _quickest: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.wanted = self.fewest

    def begin(self, now: float) -> None:
        """Mails flow from now on: what went before is not measured."""
        self._since, self._mails = now, 0

    def answered(self, now: float, seconds: float) -> None:
        """The server answered for one mail, in so many seconds."""
        self._quickest = min(seconds, self._quickest) if self._mails else seconds
        self._mails += 1
        elapsed = now - self._since
        if elapsed >= WINDOW and self._mails >= ROUNDS * self.wanted:
            self._decide(now, self._mails / elapsed)
            self.begin(now)

    def objected(self, now: float, bearable: int) -> None:
        """The server wants no more than ``bearable`` connections, of which there is one at least.

        Objections that come together count as one; each later one is believed twice as long.
        """
        if now >= self._quiet_until:
            self._quiet_until = now + self._patience
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self._set(now, min(self.wanted, bearable))
        self._before = None

    def lost(self, now: float) -> None:
        """No connection can be had: that says nothing of how many the server bears."""
        self._quiet_until, self._patience = now, PATIENCE
        self._set(now, self.fewest)
        self._before = None

    def _decide(self, now: float, rate: float) -> None:
        before, self._before = self._before, None
        if before and rate < before[1] * (1 + WORTH * (self.wanted / before[0] - 1)):
            self._quiet_until = now + PATIENCE
            self._set(now, before[0])
            return
        waiting = self._quickest * rate / self.wanted
        if waiting < NOT_WAITING and self.wanted > self.fewest:
            self._set(now, self.wanted - 1)
        elif waiting >= WAITING and self.wanted < self.most and now >= self._quiet_until:
            self._before = (self.wanted, rate)
            self._set(now, self.wanted + (self.wanted + 1) // 2)

    def _set(self, now: float, wanted: int) -> None:
        self.wanted = max(1, min(wanted, self.most))
        self.begin(now)
