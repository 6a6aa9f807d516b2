"""What a case is, and what it found."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.ledger import Balance
from tests.faults.stage import Stage


@dataclass(slots=True)
class Finding:
    """Figures of one case, summed over its rounds.

    dose: how often the fault really happened. wrong: what must not be, one line each.
    """

    dose: int = 0
    mails: int = 0
    lost: int = 0
    doubled: int = 0
    unknown: int = 0
    note: str = ""
    wrong: list[str] = field(default_factory=list)

    def add(
        self, balance: Balance, *, doubles: int = 0, unknown: int = 0, waiting: bool = False
    ) -> None:
        """Take the books of one site in; what the case does not allow is wrong.

        doubles, unknown: how many mails the case may double or leave unknown at most. waiting:
        whether mails of ours may still be on their way.
        """
        self.mails += balance.mails
        self.lost += len(balance.lost)
        self.doubled += balance.doubled.total()
        self.unknown += balance.unknown
        self.wrong += balance.wrong[:10]
        if balance.lost:
            self.wrong.append(f"lost: {balance.lost[:5]}")
        if balance.doubled.total() > doubles:
            self.wrong.append(f"doubled: {balance.doubled.most_common(5)}, allowed {doubles}")
        if balance.unknown > unknown:
            self.wrong.append(f"{balance.unknown} are unknown, allowed {unknown}")
        if balance.waiting and not waiting:
            self.wrong.append(f"unfinished: {dict(balance.states)}")

    def must(self, holds: bool, what: str) -> None:
        """``what`` is wrong unless it holds."""
        if not holds:
            self.wrong.append(what)


Play = Callable[[Stage, int], Finding]


@dataclass(frozen=True, slots=True)
class Case:
    """One fault. full, small: doses of the command and of the test run (0: not played there,
    because ``covered`` plays it)."""

    name: str
    full: int
    play: Play
    small: int = 0
    covered: str = ""


@dataclass(frozen=True, slots=True)
class Played:
    """A case that was played."""

    case: str
    dose: int
    seconds: float
    finding: Finding

    @property
    def held(self) -> bool:
        """Whether all that must hold held."""
        return not self.finding.wrong

    def row(self) -> dict[str, object]:
        """For a table."""
        f = self.finding
        figures = {"mails": f.mails, "lost": f.lost, "doubled": f.doubled, "unknown": f.unknown}
        verdict = "held" if self.held else "BROKEN"
        return {
            "case": self.case, "dose": f.dose or self.dose, **figures,
            "seconds": round(self.seconds), "verdict": verdict, "note": f.note,
        }  # fmt: skip


def play(case: Case, stage: Stage, dose: int) -> Played:
    """Play a case; an error of the play is what is wrong with it."""
    started = time.monotonic()
    try:
        finding = case.play(stage, dose)
    except Exception as error:
        finding = Finding(wrong=[f"{type(error).__name__}: {error}", traceback.format_exc()])
    return Played(case.name, dose, time.monotonic() - started, finding)


def as_markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """A table for a document, of rows as ``Played.row`` makes them."""
    names = ("case", "dose", "mails", "lost", "doubled", "unknown", "verdict", "note")
    lines = [names, ["---"] * len(names), *([str(row[name]) for name in names] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


NAMES = ("dose", "mails", "lost", "doubled", "unknown", "seconds")
HEAD = f"{'case':<42}" + "".join(f"{name:>8}" for name in NAMES)
"""The head of the plain table."""


def as_text(played: Played) -> str:
    """One line of the plain table, and under it what is wrong."""
    row = played.row()
    figures = "".join(f"{row[name]!s:>8}" for name in NAMES)
    line = f"{row['case']!s:<42}{figures} {row['verdict']}  {row['note']}"
    return "\n".join([line.rstrip(), *(f"    {wrong}" for wrong in played.finding.wrong)])
