"""``python -m tests.pollers.dying CONFIG URL``: claims of new users, killed at each of their steps.

A child claims twelve users and gets SIGKILL after its first statement, the next one after its
second, and so on until one lives. After each: every user waits or has a mail of ours.
"""

import itertools
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, event, text

from sidecar.demo.site import Site
from tests.support.claims import claim, new_users_poller

STATE = """
SELECT u.id, p.id IS NOT NULL AS waits, r.id IS NOT NULL AS ours,
  u.password = 'to be generated' AS untouched,
  COALESCE(r.recipient_data LIKE CONCAT('%%', SHA2(u.password, 256), '%%'), 0) AS fits,
  COALESCE(r.secret, '') <> '' AS kept
FROM mdl_user u
LEFT JOIN mdl_user_preferences p ON p.userid = u.id AND p.name = 'create_password'
LEFT JOIN mdl_manireports_cloud_recipients r ON r.userid = u.id AND r.source = 'new_users'
WHERE u.id >= :first
"""


def claim_and_die(config: Path, after: int) -> None:
    """Claim, and be killed after so many statements and commits."""
    with new_users_poller(config) as (context, poller):
        steps = itertools.count(1)

        def step(*_: Any) -> None:
            if next(steps) == after:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(context.database.engine, "after_cursor_execute", step)
        # Called before the driver's COMMIT; the step after it is the release of the lock.
        event.listen(context.database.engine, "commit", step)
        claim(context, poller)


def main(config: Path, url: str) -> None:
    """Kill step after step; the summary as JSON."""
    site, engine = Site(url), create_engine(url, poolclass=NullPool)
    found: Counter[str] = Counter()
    for after in itertools.count(1):
        first = site.upload_users(12)[0].id
        with engine.begin() as conn:
            conn.execute(text("UPDATE mdl_manireports_cloud_sidecar SET lease_expires = 0"))
        child = os.fork()
        if not child:
            claim_and_die(config, after)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        with engine.connect() as conn:
            rows = conn.execute(text(STATE), {"first": first}).all()
        for row in rows:
            fair = row.untouched if row.waits else row.ours and row.fits and row.kept
            if row.waits == row.ours or not fair:
                sys.exit(f"killed at step {after}: {row}")
        served = sum(row.ours for row in rows)
        if served not in (0, 12):
            sys.exit(f"killed at step {after}: {served} of 12 claimed")
        found["killed"] += killed
        found["claimed" if served else "waiting"] += 1
        if not killed:
            break
        with engine.begin() as conn:  # nobody is left for the next child
            conn.execute(text("DELETE FROM mdl_user_preferences WHERE name = 'create_password'"))
            conn.execute(text("DELETE FROM mdl_user WHERE id >= :first"), {"first": first})
            conn.execute(text("DELETE FROM mdl_manireports_cloud_recipients"))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
