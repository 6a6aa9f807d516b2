"""The database user of docs/install.md can do all that the sidecar does, and no more is granted."""

import re
from pathlib import Path

from sqlalchemy import make_url

from sidecar.moodle.encryption import key_path, make_key
from tests.e2e.world import World
from tests.support.mariadb import MariaDBServer
from tests.support.wait import wait_for

PAGE = Path(__file__).parents[2] / "docs" / "install.md"


def statements(database: str, without: str = " ") -> list[str]:
    """What the page grants, in this database; without: leaves out what grants on that table."""
    (block,) = re.findall(r"```sql\n(CREATE USER.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    block = block.replace("moodle.", f"{database}.").replace("'localhost'", "'127.0.0.1'")
    parts = (part.strip() for part in block.split(";"))
    return [part for part in parts if part and f"{without} TO" not in part]


def test_the_documented_grants_are_enough(world: World, mariadb: MariaDBServer) -> None:
    url = make_url(world.url)
    for statement in statements(str(url.database)):
        mariadb.execute(statement)
    site = world.site
    course = site.add_course(7, "Fire Safety")
    people = site.add_users(1, 12)
    site.enrol(course, people)
    site.make_students(course, people)
    site.queue("user_create", 1, people)
    newcomers = site.upload_users(12, 1)
    body = world.tmp / "body.html"
    body.write_text("<p>Dear {firstname}</p>", "utf-8")
    try:
        least = url.set(username="sidecar", password="…")
        world.config = world.write_config(least.render_as_string(hide_password=False))
        world.command("check")
        world.command("suppress", "add", people[0].email, "--company", "1")
        world.command("suppress", "remove", people[0].email, "--company", "1")
        world.command(
            *("campaign", "inactive", "--days", "30", "--company", "1", "--subject", "Hello"),
            *("--body-file", str(body), "--yes"),
        )
        world.drain()
        assert world.states() == {"sent": 36}
        assert len(world.sink.messages) == 36
        world.command("pause", "all")
        site.queue("license_allocated", 1, people)
        world.drain()
        world.command("release", str(max(job["id"] for job in world.jobs())))
        assert world.unsent() == 12
        world.sql("UPDATE mdl_manireports_cloud_jobs SET completed_at = completed_at - 16000000")
        with world.start() as sidecar:
            wait_for(
                lambda: len(world.jobs()) == 1, 60, "all jobs but the one handed back are gone"
            )
            assert sidecar.stop() == 0
    finally:
        mariadb.execute("DROP USER sidecar@'127.0.0.1'")
    assert all(world.rcpts()[person.email] == 1 for person in newcomers)


def test_a_right_that_one_source_lacks_stops_no_other(world: World, mariadb: MariaDBServer) -> None:
    url, site = make_url(world.url), world.site
    for statement in statements(str(url.database), without="mdl_user"):
        mariadb.execute(statement)
    make_key(key_path(world.tmp / "moodledata"))
    course = site.add_course(7, "Fire Safety")
    people = site.add_users(1, 12)
    site.enrol(course, people)
    site.make_students(course, people)
    site.upload_users(12, 1)
    body = world.tmp / "body.html"
    body.write_text("<p>Dear {firstname}</p>", "utf-8")
    try:
        least = url.set(username="sidecar", password="…")
        world.config = world.write_config(least.render_as_string(hide_password=False))
        world.command(
            *("campaign", "inactive", "--days", "30", "--company", "1", "--subject", "Hello"),
            *("--body-file", str(body), "--yes"),
        )
        with world.start() as sidecar:
            sidecar.wait_for_line("denied")  # to change users
            wait_for(lambda: world.states() == {"sent": 12}, 30, "the campaign goes on")
            assert sidecar.stop() == 0
    finally:
        mariadb.execute("DROP USER sidecar@'127.0.0.1'")
    assert world.rcpts() == {person.email: 1 for person in people}
