"""On PostgreSQL too: new users, campaigns, suppressions, pauses and what an admin asks."""

import json

import pytest

from sidecar.moodle.encryption import key_path, make_key
from sidecar.moodle.password_hash import crypt
from sidecar.store.database import Database
from sidecar.store.site import create_schema
from tests.e2e.mails import text_of
from tests.e2e.test_new_users import told
from tests.e2e.world import World

on_postgresql = pytest.mark.parametrize("iomad_db", ["postgresql"], indirect=True)


@on_postgresql
def test_every_source_works(world: World) -> None:
    site = world.site
    make_key(key_path(world.tmp / "moodledata"))
    course = site.add_course(7, "Fire Safety")
    people = site.add_users(1, 15)
    site.enrol(course, people)
    site.make_students(course, people)
    site.queue("user_create", 1, people)
    newcomers = site.upload_users(12, 1)
    body = world.tmp / "body.html"
    body.write_text('<p>{firstname}, <a href="{courseurl}">{coursename}</a></p>', "utf-8")
    world.command("suppress", "add", people[0].email, "--company", "1", "--scope", "campaigns")
    world.command(
        *("campaign", "inactive", "--days", "30", "--company", "1", "--subject", "{coursename}"),
        *("--body-file", str(body), "--yes"),
    )
    world.command("pause", "all")
    world.drain()
    assert world.sink.messages == []
    world.command("resume", "all")
    world.drain()
    assert world.states() == {"sent": 41, "permanently_failed": 1}
    rcpts = world.rcpts()
    assert (rcpts[people[0].email], rcpts[people[1].email]) == (1, 2)
    stored = {r.username: r.password for r in world.sql("SELECT username, password FROM mdl_user")}
    new = {person.email for person in newcomers}
    passwords = [told(mail) for mail in world.sink.messages if mail.recipients[0] in new]
    assert len(passwords) == 12
    assert all(crypt(password, stored[user]) == stored[user] for user, password in passwords)
    assert sum("Fire Safety" in text_of(mail) for mail in world.sink.messages) == 14
    found = json.loads(world.command("find", people[1].email, "--json"))
    assert [mail["status"] for mail in found["mails"]] == ["sent", "sent"]


@on_postgresql
def test_what_was_claimed_of_new_users_goes_back(world: World) -> None:
    make_key(key_path(world.tmp / "moodledata"))
    world.command("pause", "all")
    world.site.upload_users(12, 1)
    world.drain()
    assert world.states() == {"pending": 12}
    (job,) = world.jobs()
    assert "12 mails handed back" in world.command("release", str(job["id"]))
    waiting = "SELECT COUNT(*) FROM mdl_user_preferences WHERE name = 'create_password'"
    assert world.one(waiting) == 12


@on_postgresql
def test_the_tables_are_handed_over(world: World) -> None:
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    world.drain()
    world.command("schema", "--hand-over", "begin")
    plugin = Database(world.url, "mdl_")
    create_schema(plugin, "made by the plugin")  # as Moodle's installer would
    plugin.close()
    assert "recipients" in world.command("schema", "--hand-over", "finish")
    assert world.states() == {"sent": 12}
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    world.drain()
    assert world.states() == {"sent": 24}
