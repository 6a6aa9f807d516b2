"""What every round shares: site, sink, sidecar, all mails so far, the judgement on a round."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from . import cron, daemon
from .facts import must, wait_for
from .filling import Filling, order
from .install import Site
from .mails import Arrivals, Mail, Tally, compare, expected
from .server import Db
from .sink import Sink


@dataclass
class Rig:
    site: Site
    db: Db
    sink: Sink
    sidecar: daemon.Sidecar | None
    chance: random.Random
    rows: int
    arrivals: Arrivals = field(default_factory=Arrivals)
    known: dict[Mail, int] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    fills: int = 0

    def fill(self, spread: int, rows: int | None = None) -> Filling:
        self.fills += 1
        what = order(self.site, f"f{self.fills}", rows or self.rows, self.chance, spread)
        return Filling(self.site, what, self.db)

    def unsent(self, since: int) -> int:
        sql = "SELECT COUNT(*) FROM mdl_email WHERE sent IS NULL AND id > %s"
        return int(self.db.value(sql, since))

    def claimed(self, since: int) -> set[int]:
        return daemon.claimed(self.db, since) if self.sidecar else set()

    def wait_queue_empty(self, since: int, seconds: float = 180) -> None:
        wait_for("IOMAD's queue empty", lambda: self.unsent(since) == 0, seconds)

    def wait_sidecar_done(self, since: int, seconds: float = 120) -> None:
        def done() -> bool:
            assert self.sidecar is not None
            self.sidecar.must_live()
            return daemon.unfinished(self.db) == 0

        if self.sidecar:
            what = f"every claimed mail sent ({daemon.states(self.db, since)} at first)"
            wait_for(what, done, seconds)

    def run_cron_until_empty(self, since: int, seconds: float) -> None:
        """Cron alone: its task runs within `seconds`, and in as many more the queue is empty."""
        wait_for("cron's task runs", self._ran, seconds, 0.2)
        wait_for("cron sends the rest", lambda: self._emptied(since), seconds)

    def _emptied(self, since: int) -> bool:
        return not self.unsent(since) or (self._ran() and not self.unsent(since))

    def _ran(self) -> bool:
        return cron.run_once(self.site, self.db) == "ran"

    def judge(self, since: int, *, count: bool = True) -> Tally:
        """Compares all mails of the rows after `since` with what came; adds to the totals."""
        wanted = expected(self.db, since)
        self.known.update(wanted)
        self.arrivals.take(self.sink.mails)
        tally = compare(wanted, self.arrivals, self.known)
        ours = self.claimed(since)
        for mail, row in wanted.items():
            if mail in self.arrivals.ids:
                by_php = mail in self.arrivals.by_php
                tally.by_cron += by_php
                # Sent by the one, though the tables say that it was the other's.
                if by_php == (row in ours):
                    tally.stolen.append(mail)
        if count:
            self.totals["mails"] += tally.mails
            self.totals["by_cron"] += tally.by_cron
            self.totals["by_sidecar"] += tally.mails - tally.by_cron
        return tally

    def accept(self, tally: Tally, *, resent_at_most: int = 0) -> None:
        """Raises what is wrong with a round, with examples."""
        for fault in ("lost", "twice", "strange", "stolen"):
            found: list[Mail] = getattr(tally, fault)
            must(not found, f"{fault}: {len(found)} mails, such as {found[:3]}")
        must(
            len(tally.resent) <= resent_at_most,
            f"{len(tally.resent)} came again, at most {resent_at_most} may: {tally.resent[:3]}",
        )
        self.totals["resent"] += len(tally.resent)

    def accept_all(self) -> None:
        """At the very end, over the whole run: nothing came late, nothing is missing."""
        self.arrivals.take(self.sink.mails)
        tally = compare(self.known, self.arrivals, self.known)
        resent, self.totals["resent"] = self.totals["resent"], 0
        self.accept(tally, resent_at_most=resent)
