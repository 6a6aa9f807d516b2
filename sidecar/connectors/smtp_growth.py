"""How many connections to one mail server pay: as many as bring more mails a second. Pure."""

from dataclasses import dataclass, field

WINDOW = 0.5
"""Seconds that one measurement takes at least; it also takes ROUNDS mails a connection."""
ROUNDS = 4
WORTH = 0.1
"""The part that added connections must bring of what they would bring if nothing else limited."""
PATIENCE = 5.0
"""Seconds until another number is tried after one did not pay; doubled each time."""
LONGEST_PATIENCE = 320.0
RESPECT = 60.0
"""Seconds for which an objection of the server is believed; doubled each time."""
LONGEST_RESPECT = 3_600.0


@dataclass(slots=True)
class Growth:
    """The number of connections to one server. All times are monotonic seconds.

    fewest: to begin with, and what is shrunk to when more do not pay; most: never more.
    ``wanted`` is between 1 and ``most``: below ``fewest`` only where the server objected.

    Where connections mostly wait (for the server's latency, or for a commit that they can share)
    more of them send more; where something is busy (the server, our processor) or a rate is set,
    they do not. So a number is tried, and of two numbers the smaller is kept unless the larger
    sends clearly more. Growing goes on as long as it pays; later a smaller and a larger number
    are tried in turn.
    """

    fewest: int
    most: int
    wanted: int = field(init=False)
    _before: tuple[int, float] | None = field(default=None, init=False)
    _try_fewer: bool = field(default=False, init=False)
    _quiet_until: float = field(default=0.0, init=False)
    _patience: float = field(default=PATIENCE, init=False)
    _respect: float = field(default=RESPECT, init=False)
    _believed_until: float = field(default=0.0, init=False)
    _since: float = field(default=0.0, init=False)
    _mails: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.wanted = self.fewest

    def begin(self, now: float) -> None:
        """Mails flow from now on: what went before is not measured."""
        self._since, self._mails = now, 0

    def answered(self, now: float) -> None:
        """The server answered for one mail."""
        self._mails += 1
        elapsed = now - self._since
        if elapsed >= WINDOW and self._mails >= ROUNDS * self.wanted:
            self._decide(now, self._mails / elapsed)

    def objected(self, now: float, bearable: int) -> None:
        """The server wants no more than ``bearable`` connections, of which there is one at least.

        Objections that come together count as one.
        """
        if now >= self._believed_until:
            self._believed_until = self._quiet_until = now + self._respect
            self._patience = PATIENCE
            self._respect = min(2 * self._respect, LONGEST_RESPECT)
        self._set(now, min(self.wanted, bearable))

    def lost(self, now: float) -> None:
        """No connection can be had: that says nothing of how many the server bears."""
        self._believed_until = self._quiet_until = now
        self._patience, self._respect = PATIENCE, RESPECT
        self._set(now, self.fewest)

    def _decide(self, now: float, rate: float) -> None:
        if self._before:
            (fewer, low), (more, high) = sorted([self._before, (self.wanted, rate)])
            pays = high >= low * (1 + WORTH * (more / fewer - 1))
            growing = self.wanted == more
            if growing == pays:
                self._patience = PATIENCE
                self._try(now, rate, fewer=not growing)
            else:
                self._settle(now, self._before[0])
        elif now >= self._quiet_until:
            fewer = self.wanted == self.most or (self._try_fewer and self.wanted > self.fewest)
            self._try_fewer = not fewer
            self._try(now, rate, fewer=fewer)
        else:
            self.begin(now)

    def _try(self, now: float, rate: float, *, fewer: bool) -> None:
        """See how another number does, if there is one to try in this direction."""
        tried, wanted = self.wanted, 2 * self.wanted
        if fewer:
            wanted = max(self.fewest, self.wanted // 2)
        self._set(now, wanted)
        if self.wanted == tried:
            self._settle(now, tried)
        else:
            self._before = (tried, rate)

    def _settle(self, now: float, wanted: int) -> None:
        self._quiet_until = now + self._patience
        self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self._set(now, wanted)

    def _set(self, now: float, wanted: int) -> None:
        self.wanted, self._before = max(1, min(wanted, self.most)), None
        self.begin(now)
