"""Cron and the sidecar on one queue: every mail arrives exactly once, some by each."""

from __future__ import annotations

import time

from .cron import Cron
from .facts import must, wait_for
from .rig import Rig

SPREAD = 8  # seconds over which the mails of a round fall due


def together(rig: Rig, rounds: int) -> int:
    """Plays `rounds` rounds in which both sides sent mail; how many there were.

    A round in which one side found nothing to do proves nothing: it is judged all the same, but
    played again.
    """
    counted = played = 0
    while counted < rounds:
        played += 1
        must(played <= 2 * rounds, "in half of the rounds one side sent nothing")
        if _round(rig, counted + 1, cron_first=played % 2 == 1):
            counted += 1
    return counted


def _round(rig: Rig, number: int, *, cron_first: bool) -> bool:
    began = time.monotonic()
    cron = Cron(rig.site, rig.chance.randrange(1 << 30))
    try:
        if cron_first:
            cron.start()
        filling = rig.fill(SPREAD)
        if not cron_first:
            # Cron enters in the middle of the sidecar's work.
            if rig.sidecar:
                wait_for("the sidecar claims", lambda: rig.claimed(filling.since), 60)
            cron.start()
        rows = filling.done()
        rig.wait_queue_empty(filling.since)
        rig.wait_sidecar_done(filling.since)
    finally:
        cron.stop()
    tally = rig.judge(filling.since)
    ran = " ".join(f"{how}={count}" for how, count in sorted(cron.runs.items()))
    print(
        f"round {number}: rows={rows} {tally} by_cron={tally.by_cron}"
        f" by_sidecar={tally.mails - tally.by_cron} cron runs: {ran};"
        f" {time.monotonic() - began:.1f} s",
        flush=True,
    )
    rig.accept(tally)
    return rig.sidecar is None or 0 < tally.by_cron < tally.mails
