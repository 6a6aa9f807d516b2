"""A big queue in little memory: bodies of 25 KB, 100 MB in all."""

import os
import threading

import psutil
import pytest

from tests.e2e.world import World

ROWS = int(os.environ.get("SCALE_ROWS", "4000"))
"""50,000 is the dose of the promise; `python -m benchmarks offload` measures it too."""
LIMIT = 140 * 1024 * 1024


@pytest.mark.slow
def test_a_queue_of_100_mb_drains_in_140_mb(world: World) -> None:
    world.sink.keep = False
    world.sql(
        "INSERT INTO mdl_user (username, firstname, lastname, email, password, mnethostid)"
        " SELECT CONCAT('big', seq), 'Big', 'Queue', CONCAT('big', seq, '@example.test'), 'x', 1"
        f" FROM seq_1_to_{ROWS}"
    )
    world.sql(
        "INSERT INTO mdl_company_users (companyid, userid, departmentid)"
        " SELECT 1, id, (SELECT MIN(id) FROM mdl_department WHERE company = 1)"
        " FROM mdl_user WHERE username LIKE 'big%'"
    )
    world.sql(
        "INSERT INTO mdl_email (templatename, modifiedtime, subject, body, varsreplaced, companyid,"
        " courseid, userid, senderid, headers, due)"
        " SELECT 'user_create', UNIX_TIMESTAMP() - 5, 'Welcome', "
        " REPEAT('0123456 ', 3125), 1,"
        " 1, 1, id, -20, :headers, UNIX_TIMESTAMP() - 5 FROM mdl_user WHERE username LIKE 'big%'",
        headers=world.site.headers("user_create", 1),
    )
    peak = 0
    with world.start("run", "--until-idle") as sidecar:
        process = psutil.Process(sidecar.pid)
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.2):
                try:
                    peak = max(peak, process.memory_info().rss)
                except psutil.NoSuchProcess:
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            assert sidecar.wait(400) == 0, sidecar.output()
        finally:
            done.set()
            watcher.join()
    assert world.sink.accepted == ROWS
    assert world.states() == {"sent": ROWS}
    assert peak < LIMIT, f"{peak / 1024 / 1024:.0f} MB"
