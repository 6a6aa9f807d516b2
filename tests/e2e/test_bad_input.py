"""Whatever is in the queue: that mail fails or stays with the reason, the others go."""

import json
import re
from pathlib import Path

import pytest

from sidecar.demo.row_headers import Attachment
from tests.e2e.mails import parsed, said
from tests.e2e.world import World
from tests.support.wait import wait_for

GOOD = 12

BAD_ADDRESSES = {
    "": "empty",
    "a@b.example.test,c@d.example.test": "",
    "x@example.test\r\nBcc: victim@example.test": "",
    f"{'l' * 65}@example.test": "",
    "no-at-sign": "",
}


def test_bad_addresses_fail_alone_with_a_reason(world: World) -> None:
    people = world.site.add_users(1, GOOD)
    bad = [world.site.add_user(1, email=address) for address in BAD_ADDRESSES]
    manager = world.site.add_manager(1)
    world.site.queue("user_create", 1, [*people, *bad])
    world.drain()
    expected = {person.email: 1 for person in people}
    assert world.rcpts() == expected | {manager.email: GOOD + len(bad)}
    (job,) = world.jobs()
    assert job["status"] == "completed"
    assert job["emails_failed"] == len(bad)
    detail = json.loads(world.command("job", str(job["id"]), "--json"))
    assert all(recipient["error_message"] for recipient in detail["recipients"])
    assert {r["status"] for r in detail["recipients"]} == {"permanently_failed"}


def test_an_international_domain_is_punycode(world: World) -> None:
    people = [*world.site.add_users(1, GOOD), world.site.add_user(1, email="zoe@bücher.example")]
    world.site.queue("user_create", 1, people)
    world.drain()
    assert world.rcpts()["zoe@xn--bcher-kva.example"] == 1


def test_line_breaks_in_subject_and_names_inject_nothing(world: World) -> None:
    world.site.set_template(1, "user_create", emailfromothername="Evil\r\nBcc: victim@example.test")
    world.site.queue(
        "user_create",
        1,
        world.site.add_users(1, GOOD),
        subject="Hello\r\nBcc: victim@example.test",
    )
    world.drain()
    for message in world.sink.messages:
        assert parsed(message)["Bcc"] is None
        assert message.recipients[0] != "victim@example.test"
    states = world.states()
    assert sum(states.values()) == GOOD


@pytest.mark.parametrize(
    "headers",
    [
        'a:1:{s:8:"template";O:8:"stdClass":22:{s:2:"id"',
        'a:1:{s:8:"template";O:11:"SplFileInfo":0:{}}',
        "a:1:{i:0;R:1;}",
        "\x00\x01binary",
        "a:99999999:{}",
    ],
)
def test_hostile_headers_stay_with_moodle(world: World, headers: str) -> None:
    people = world.site.add_users(1, GOOD)
    world.site.queue("user_create", 1, people)
    world.site.queue("user_create", 1, [world.site.add_user(1)], headers=headers)
    world.drain()
    assert world.rcpts() == {person.email: 1 for person in people}
    assert world.unsent() == 1


def test_headers_that_are_null_use_the_stored_template(world: World) -> None:
    people = world.site.add_users(1, GOOD)
    world.site.queue("user_create", 1, people, headers=None)
    world.drain()
    assert world.rcpts() == {person.email: 1 for person in people}


def test_what_is_missing_stays_with_moodle(world: World) -> None:
    people = world.site.add_users(1, GOOD)
    world.site.queue("user_create", 1, people)
    ghost = world.site.add_user(1)
    world.site.queue("user_create", 1, [ghost])
    world.sql("UPDATE mdl_user SET deleted = 1 WHERE id = :id", id=ghost.id)
    frozen = world.site.add_user(1)
    world.site.queue("user_create", 1, [frozen])
    world.sql("UPDATE mdl_user SET suspended = 1 WHERE id = :id", id=frozen.id)
    lost = Attachment(str(world.tmp / "moodledata" / "gone.pdf"), "gone.pdf")
    world.site.queue("user_create", 1, [world.site.add_user(1)], attachment=lost)
    secret = Attachment("/etc/passwd", "passwd.txt")
    world.site.queue("user_create", 1, [world.site.add_user(1)], attachment=secret)
    world.drain()
    assert world.rcpts() == {person.email: 1 for person in people}
    assert world.unsent() == 4
    assert not any(b"root:" in message.data for message in world.sink.messages)


def test_a_missing_company_stays_with_moodle(world: World) -> None:
    world.command("company", "set", "0", "--enable")
    people = world.site.add_users(1, GOOD)
    world.site.queue("user_create", 1, people)
    world.sql("DELETE FROM mdl_company WHERE id = 1")
    world.drain()
    assert not world.sink.messages
    assert world.unsent() == GOOD


def test_a_disabled_template_stays_with_moodle(world: World) -> None:
    world.site.queue("user_create", 1, world.site.add_users(1, GOOD))
    world.sql("UPDATE mdl_email_template SET disabled = 1 WHERE name = 'user_create'")
    world.drain()
    assert not world.sink.messages
    assert world.unsent() == GOOD


def test_a_25_mb_body_stays_with_moodle(world: World) -> None:
    people = world.site.add_users(1, GOOD)
    world.site.queue("user_create", 1, people)
    world.sql("SET GLOBAL max_allowed_packet = 67108864")
    world.engine.dispose()
    world.sql(
        "UPDATE mdl_email SET body = REPEAT('<p>x</p>', 3200000) WHERE userid = :id",
        id=people[0].id,
    )
    world.drain()
    assert len(world.sink.messages) == GOOD - 1
    assert world.unsent() == 1


def test_bodies_arrive_unchanged(world: World) -> None:
    bodies = [
        "<p>.</p>\n.\n..\n. \nFrom here\n",
        "<p>\r\n.\r\nMAIL FROM:&lt;evil@example.test&gt;</p>",
        "<p>🎉 emoji 👩‍🎓 and مرحبا بالعالم and עברית</p>",
        "<p>" + "very long line " * 500 + "</p>",
        "<p>trailing spaces   \n\t\n end = equals =20</p>",
        "",
    ]
    people = world.site.add_users(1, len(bodies) * 2)
    texts = dict(zip((p.id for p in people), bodies * 2, strict=True))
    world.site.queue("user_create", 1, people, body=lambda person: texts[person.id])
    world.drain()
    by_address = {person.email: texts[person.id] for person in people}
    assert len(world.sink.messages) == len(people)
    for message in world.sink.messages:
        wanted = re.sub(r"\r\n?", "\n", by_address[message.recipients[0]]).rstrip()
        assert said(message).html == wanted
        assert not message.bare


def test_incomplete_facts_wait_and_then_go(world: World) -> None:
    people = world.site.add_users(1, GOOD)
    late = people[0]
    world.sql("UPDATE mdl_user SET password = '' WHERE id = :id", id=late.id)
    world.site.queue("user_create", 1, people)
    with world.start() as sidecar:
        sidecar.wait_for_line("claimed 11 rows")
        world.sql("UPDATE mdl_user SET password = 'x' WHERE id = :id", id=late.id)
        sidecar.wait_for_line("claimed 1 rows")
        wait_for(lambda: len(world.sink.messages) == GOOD, 30, "all mails")
        assert sidecar.stop() == 0
    assert world.rcpts() == {person.email: 1 for person in people}


def test_wrong_table_prefix(world: World) -> None:
    wrong = world.write_config(world.url, name="wrong", table_prefix="m_")
    world.config = wrong
    shown = world.command("check", ok=False)
    assert re.search(r"FAIL .*m_config.*table_prefix 'm_'", shown)


def test_an_attachment_of_the_file_pool_is_sent(world: World) -> None:
    digest = "058da386bf2f8e8de8a4d3ae0e5db1a4b5ec1f2a"
    pool = world.tmp / "moodledata" / "filedir" / digest[:2] / digest[2:4]
    pool.mkdir(parents=True)
    Path(pool / digest).write_bytes(b"Welcome pack\n")
    there = Attachment(f"/var/www/moodledata/filedir/05/8d/{digest}", "Füße.txt")
    world.site.queue("user_create", 1, world.site.add_users(1, GOOD), attachment=there)
    world.drain()
    assert {said(message).attachments[0][0] for message in world.sink.messages} == {"Füße.txt"}


def test_a_missing_template_stays_with_moodle(world: World) -> None:
    people = world.site.add_users(1, GOOD)
    world.site.queue("user_create", 1, people)
    world.site.queue("user_create", 1, [world.site.add_user(1)], headers=None)
    world.sql("DELETE FROM mdl_email_template")
    world.drain()
    assert world.rcpts() == {person.email: 1 for person in people}
    assert world.unsent() == 1
