"""Puts fresh rows into IOMAD's queue, by IOMAD's own code."""

from __future__ import annotations

import json
import random
import subprocess
from typing import Any

from .facts import must
from .install import OURS, PHP, Site
from .server import Db

FEW = 4  # rows of the group that stays below the bulk threshold, so cron always has some
FEWEST = 40  # rows that make an order with some of everything


def order(site: Site, tag: str, rows: int, chance: random.Random, spread: int) -> dict[str, Any]:
    """An order for fill.php: `rows` rows whose due times lie within `spread` seconds from now.

    Two thirds of each group fall due in one second, so that cron and the sidecar both want them at
    that moment; the others fall due here and there.
    """

    def leads(count: int, first: int) -> list[int]:
        burst = chance.randint(first, spread)
        return [chance.choice((burst, burst, chance.randint(first, spread))) for _ in range(count)]

    each = rows // len(site.companies) - FEW
    third = each // 3
    orders = [
        {
            **company,
            # A new user's row exists before the company membership: due at once, IOMAD's own cron
            # would send it without the manager's copy. So these fall due two seconds later.
            "user_create": leads(each - 2 * third, min(2, spread)),
            "license_allocated": leads(third, -1),
            "course_not_started_warning": leads(third, -1),
            "user_added_to_course": leads(FEW, -1),
        }
        for company in site.companies
    ]
    return {"tag": tag, "companies": orders}


class Filling:
    """fill.php at work; `done()` waits for it and for all its rows."""

    def __init__(self, site: Site, what: dict[str, Any], db: Db) -> None:
        self._db = db
        self.since = int(db.value("SELECT COALESCE(MAX(id), 0) FROM mdl_email"))
        self._process = subprocess.Popen(
            [*PHP, str(OURS / "fill.php"), str(site.code)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what))
        self._process.stdin.close()

    def done(self) -> int:
        assert self._process.stdout is not None
        said = self._process.stdout.read()
        must(self._process.wait(120) == 0, f"fill.php failed:\n{said}")
        asked = int(said.split()[-1])
        made = int(self._db.value("SELECT COUNT(*) FROM mdl_email WHERE id > %s", self.since))
        must(made == asked, f"IOMAD queued {made} rows where {asked} were asked for")
        return made
