"""Core's new users: a password each, mailed once, and the one that works."""

import hashlib
import json
import re
import threading
import time
from collections import Counter
from typing import Self

import pytest
from sqlalchemy import Connection, text

from sidecar.demo.population import Person
from sidecar.demo.sink import Received, Rule
from sidecar.moodle.encryption import key_path, make_key
from sidecar.moodle.password_hash import crypt, hash_password
from sidecar.moodle.password_policy import Policy, by_policy
from sidecar.moodle.switches import PASSWORD_TASK
from tests.e2e.mails import parsed, text_of
from tests.e2e.world import World
from tests.support.wait import wait_for

NOWHERE = "127.0.0.1:9"
PREFERENCES = "SELECT COUNT(*) FROM mdl_user_preferences WHERE name = :name AND value = '1'"


@pytest.fixture
def world(world: World) -> World:
    """The site can encrypt, and mail without a company is enabled."""
    make_key(key_path(world.tmp / "moodledata"))
    world.command("company", "set", "0", "--provider", "smtp", "--enable")
    return world


def waiting(world: World) -> int:
    return int(world.one(PREFERENCES, name="create_password"))


def told(received: Received) -> tuple[str, str]:
    """Username and password in a mail."""
    found = re.search(r"username: (\S+)\s+password: (\S+)", text_of(received))
    assert found is not None
    return found[1], found[2]


def works(world: World) -> bool:
    """Whether every password that was mailed is the one that is stored."""
    stored = {r.username: r.password for r in world.sql("SELECT username, password FROM mdl_user")}
    return all(crypt(p, stored[u]) == stored[u] for u, p in map(told, world.sink.messages))


def clear_texts(world: World) -> list[str]:
    """Everything that tables and logs hold, to look for passwords in."""
    rows = world.sql("SELECT * FROM mdl_manireports_cloud_recipients")
    rows += world.sql("SELECT * FROM mdl_manireports_cloud_import_batches")
    rows += world.sql("SELECT * FROM mdl_manireports_cloud_jobs")
    return [str(row) for row in rows] + [p.read_text() for p in world.tmp.glob("*.log")]


def test_each_gets_one_mail_with_the_password_that_works(world: World) -> None:
    people = world.site.upload_users(30)
    world.site.upload_users(12, 1)
    world.sql("UPDATE mdl_user SET mailformat = 0 WHERE id = :id", id=people[0].id)
    world.site.upload_users(1, email="nobody@x.invalid")
    world.site.upload_users(1, email="no address")
    world.site.upload_users(1, auth="ldap")
    world.site.upload_users(1, suspended=1)
    (group,) = [
        g for g in json.loads(world.command("once", "--dry-run", "--json"))["groups"]
        if g["company_id"] == 0
    ]  # fmt: skip
    assert (group["waiting"], group["claimable"], group["mails"]) == (33, 30, 30)
    with world.start() as sidecar:
        wait_for(lambda: world.states() == {"sent": 42}, 30, "all mails")
        assert sidecar.stop() == 0
    assert world.rcpts() == {f"user{n}@company{c}.example.test": 1 for n, c in numbers(world)}
    assert works(world)
    passwords = [told(message)[1] for message in world.sink.messages]
    assert len(set(passwords)) == 42
    assert not [shown for shown in clear_texts(world) if any(p in shown for p in passwords)]
    assert world.one("SELECT COUNT(*) FROM mdl_manireports_cloud_recipients WHERE secret > ''") == 0
    assert waiting(world) == 4  # core's own: .invalid, no address, ldap, suspended
    assert world.one(PREFERENCES, name="auth_forcepasswordchange") == 42
    flags = world.sql("SELECT name, value, expiry - timemodified AS age FROM mdl_cache_flags")
    assert {(f.value, f.age) for f in flags} == {("1", 28800)}
    assert len({f.name for f in flags}) == len(flags) == 42
    assert {(j["company_id"], j["type"], j["email_count"]) for j in world.jobs()} == {
        (0, "csv_import", 30),
        (1, "csv_import", 12),
    }
    (plain,) = [m for m in world.sink.messages if m.recipients[0] == people[0].email]
    assert parsed(plain).get_content_type() == "text/plain"


def numbers(world: World) -> list[tuple[int, int]]:
    rows = world.sql(
        "SELECT r.userid, j.company_id FROM mdl_manireports_cloud_recipients r"
        " JOIN mdl_manireports_cloud_jobs j ON j.id = r.job_id"
    )
    return [(row[0], row[1]) for row in rows]


def test_what_must_not_be_claimed_stays(world: World) -> None:
    world.site.upload_users(9)  # too few
    fresh = world.site.upload_users(20, 1, timecreated=int(time.time()) + 3600)
    (world.tmp / "moodledata" / "secret" / "key" / "sodium.key").rename(world.tmp / "away")
    assert "generate_key.php" in world.command("check")
    world.drain()
    assert not world.sink.messages
    world.sql(
        "UPDATE mdl_user SET timecreated = UNIX_TIMESTAMP() - 60 WHERE id >= :id", id=fresh[0].id
    )
    with world.start() as sidecar:
        sidecar.wait_for_line("new users stay with Moodle")
        assert waiting(world) == 29
        (world.tmp / "away").rename(world.tmp / "moodledata" / "secret" / "key" / "sodium.key")
        wait_for(lambda: world.states() == {"sent": 20}, 30, "claimed with a key")
        assert sidecar.stop() == 0
    assert waiting(world) == 9


@pytest.fixture
def held(world: World) -> World:
    """Twelve users whose mail waits for a server."""
    world.site.set_config("smtphosts", NOWHERE)
    world.site.upload_users(12)
    with world.start() as sidecar:
        sidecar.wait_for_line("waits")
        assert sidecar.stop() == 0
    assert waiting(world) == 0
    return world


def test_handed_back_users_wait_for_moodle_for_good(held: World) -> None:
    first = held.one("SELECT MIN(userid) FROM mdl_manireports_cloud_recipients")
    held.sql("UPDATE mdl_user SET password = 'another' WHERE id = :id", id=first)
    (job,) = held.jobs()
    assert "11 mails handed back" in held.command("release", str(job["id"]))
    assert waiting(held) == 11
    held.site.set_config("smtphosts", f"127.0.0.1:{held.sink.port}")
    held.drain()
    assert not held.sink.messages
    assert waiting(held) == 11
    assert held.states() == {"returned": 11, "cancelled": 1}
    assert "changed meanwhile" in held.command("job", str(job["id"]))
    assert held.one("SELECT COUNT(*) FROM mdl_manireports_cloud_recipients WHERE secret > ''") == 0


def test_a_mail_that_became_wrong_is_not_sent(held: World) -> None:
    first = held.one("SELECT MIN(userid) FROM mdl_manireports_cloud_recipients")
    for offset, change in enumerate(("password = 'another'", "deleted = 1", "suspended = 1")):
        held.sql(f"UPDATE mdl_user SET {change} WHERE id = :id", id=first + offset)
    held.site.set_config("smtphosts", f"127.0.0.1:{held.sink.port}")
    held.drain()
    assert held.states() == {"sent": 9, "cancelled": 3}
    assert works(held)


def test_after_a_week_moodle_makes_a_new_password(held: World) -> None:
    held.sql("UPDATE mdl_manireports_cloud_import_batches SET created_at = created_at - 604900")
    last = held.one("SELECT MAX(id) FROM mdl_manireports_cloud_recipients")
    held.sql(
        "UPDATE mdl_manireports_cloud_recipients SET status = 'unknown' WHERE id = :id", id=last
    )
    with held.start() as sidecar:
        wait_for(lambda: held.states() == {"returned": 11, "unknown": 1}, 20, "given back")
        assert sidecar.stop() == 0
    assert waiting(held) == 11
    assert held.one("SELECT COUNT(*) FROM mdl_manireports_cloud_recipients WHERE secret > ''") == 0


def test_a_failed_mail_can_be_sent_again_and_a_bounced_one_is_forgotten(world: World) -> None:
    people = world.site.upload_users(12)
    world.sink.rules.append(Rule("rcpt", "450 4.2.1 busy", match=people[0].email))
    world.sink.rules.append(Rule("rcpt", "550 5.1.1 no", match=people[1].email))
    with world.start() as sidecar:
        expected = {"sent": 10, "permanently_failed": 1, "pending": 1}
        wait_for(lambda: world.states() == expected, 30, "the others")
        assert sidecar.stop() == 0
    kept = "SELECT userid FROM mdl_manireports_cloud_recipients WHERE secret > ''"
    assert world.one(kept) == people[0].id
    world.sink.rules.clear()
    # As after the last of its tries.
    world.sql(
        "UPDATE mdl_manireports_cloud_recipients SET status = 'failed' WHERE status = 'pending'"
    )
    (job,) = world.jobs()
    world.command("retry", str(job["id"]))
    world.drain()
    assert world.rcpts()[people[0].email] == 1
    assert works(world)
    assert not world.sql(kept)


def test_a_moodle_without_iomad(world: World) -> None:
    for name in ("email", "email_template", "company", "company_users", "department"):
        world.sql(f"DROP TABLE mdl_{name}")
    world.sql("DELETE FROM mdl_task_scheduled WHERE component = 'local_email'")
    people = world.site.upload_users(12)
    assert "Moodle without IOMAD" in world.command("check")
    assert "(no company)" in world.command("company", "list")
    (group,) = json.loads(world.command("once", "--dry-run", "--json"))["groups"]
    assert (group["company_id"], group["claimable"]) == (0, 12)
    world.drain()
    assert world.rcpts() == {person.email: 1 for person in people}
    assert works(world)


DONE = "DELETE FROM mdl_user_preferences WHERE userid = :id AND name = 'create_password'"
FORCED = (
    "INSERT INTO mdl_user_preferences (userid, name, value)"
    " VALUES (:id, 'auth_forcepasswordchange', '1')"
)


class CoreTask:
    """Core's password task as its statements show it, again and again beside the daemon."""

    def __init__(self, world: World) -> None:
        self.mailed: list[tuple[str, str]] = []
        self._world = world
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _loop(self) -> None:
        name = f"{self._world.engine.url.database}:mdl__cron_{PASSWORD_TASK}"
        lock = {"lock": hashlib.sha1(name.encode()).hexdigest()}
        with self._world.engine.connect() as conn:
            conn.execution_options(isolation_level="AUTOCOMMIT")
            while not self._stop.wait(0.3):
                if conn.execute(text("SELECT GET_LOCK(:lock, 0)"), lock).scalar():
                    self._run(conn)
                    conn.execute(text("SELECT RELEASE_LOCK(:lock)"), lock)

    def _run(self, conn: Connection) -> None:
        users = conn.execute(
            text(
                "SELECT u.id, u.username FROM mdl_user u JOIN mdl_user_preferences p"
                " ON p.userid = u.id WHERE p.name = 'create_password' AND p.value = '1'"
            )
        ).all()
        for user in users[:60]:  # then the task's time is over, or it dies
            password = by_policy(Policy())
            values = {"id": user.id, "hash": hash_password(password)}
            conn.execute(text("UPDATE mdl_user SET password = :hash WHERE id = :id"), values)
            self.mailed.append((user.username, password))
            for statement in (DONE, FORCED):
                conn.execute(text(statement), {"id": user.id})


def test_beside_cores_task_each_gets_one_mail_whose_password_works(world: World) -> None:
    people: list[Person] = []
    with CoreTask(world) as core, world.start() as sidecar:
        for _ in range(2):
            people += world.site.upload_users(500)
            wait_for(lambda: waiting(world) == 0, 60, "nobody waits")
        wait_for(lambda: set(world.states()) == {"sent"}, 60, "ours are sent")
        assert sidecar.stop() == 0
    ours = [told(message) for message in world.sink.messages]
    assert len(ours) > 100
    assert len(core.mailed) > 100
    both = ours + core.mailed
    assert Counter(name for name, _ in both) == {person.username: 1 for person in people}
    stored = {r.username: r.password for r in world.sql("SELECT username, password FROM mdl_user")}
    assert all(crypt(password, stored[name]) == stored[name] for name, password in both)
