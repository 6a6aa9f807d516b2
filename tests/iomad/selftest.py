"""The rig proves itself with cron alone, and that it would see a lost and a doubled mail."""

from __future__ import annotations

from . import rounds
from .cron import run_once
from .facts import must
from .filling import FEWEST
from .rig import Rig


def play(rig: Rig, count: int) -> str:
    played = rounds.together(rig, count)
    must(rig.totals["by_cron"] == rig.totals["mails"], "cron alone, yet not all mails by cron")
    return f"rounds={played} {_loses(rig)} {_doubles(rig)}"


def _loses(rig: Rig) -> str:
    """IOMAD marks every row as sent while the mail server refuses: all those mails are lost."""
    filling = rig.fill(0, rows=FEWEST)
    filling.done()
    rig.sink.refusing = True
    rig.run_cron_until_empty(filling.since, 60)
    rig.sink.refusing = False
    tally = rig.judge(filling.since, count=False)
    must(tally.mails == len(tally.lost) > 0, f"a refusing server, and the rig says {tally}")
    return f"(seen: {len(tally.lost)} lost by IOMAD while the server refused,"


def _doubles(rig: Rig) -> str:
    """A row whose mark is taken away goes out again."""
    filling = rig.fill(0, rows=FEWEST)
    filling.done()
    rig.run_cron_until_empty(filling.since, 60)
    rig.db.run("UPDATE mdl_email SET sent = NULL WHERE id = %s", filling.since + 1)
    must(run_once(rig.site, rig.db) == "ran", "cron did not run")
    tally = rig.judge(filling.since, count=False)
    must(len(tally.twice) > 0 == len(tally.lost), f"one row sent again, and the rig says {tally}")
    return f"{len(tally.twice)} twice after one mark was taken away)"
