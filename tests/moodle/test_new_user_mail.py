"""Who gets core's mail with a new password, from whom, as email_to_user makes it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine

from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.names import full_name
from sidecar.moodle.new_user_mail import NewUserMail, refuses
from sidecar.moodle.new_user_text import MailText
from sidecar.moodle.new_users import NewUser
from sidecar.moodle.tables import EXTRA_NAMES, moodle_tables
from sidecar.settings import Settings
from tests.moodle.php import run

NAMES = dict.fromkeys(EXTRA_NAMES, "") | {"firstname": "Anna", "lastname": "O'Rig"}
USER = NewUser(
    id=7, auth="manual", username="anna", password="", email="anna@a.test", lang="de",
    mailformat=1, maildisplay=2, mnethostid=1, created=1, deleted=False, suspended=False,
    names=NAMES,
)  # fmt: skip
TEXT = MailText("New account", "{username} {newpassword} {link} {fullname}")
SUPPORT = {"supportname": "Rig Support", "supportemail": "help@desk.test", "siteadmins": "2"}


def config(**core: str) -> MoodleConfig:
    return MoodleConfig({**SUPPORT, "lang": "en", "emailfromvia": "1", **core}, {}, frozenset())


@pytest.fixture
def conn() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as made:
        tables = moodle_tables("mdl_")
        tables.metadata.create_all(made)
        made.execute(tables.course.insert(), [{"id": 1, "fullname": "Rig <b>&</b> Co"}])
        made.execute(tables.user.insert(), [{"id": 2, "firstname": "Ada", "lastname": "Min"}])
        yield made


def about(conn: Connection, **core: str) -> NewUserMail:
    settings = Settings(wwwroot="https://learn.test")
    return NewUserMail(conn, moodle_tables("mdl_"), config(**core), settings, 0)


@pytest.mark.parametrize(
    ("core", "sender", "reply_to"),
    [
        ({}, ("noreply@learn.test", "Rig Support  (via )"), "noreply@learn.test"),
        ({"emailfromvia": "0"}, ("noreply@learn.test", "Rig Support "), "noreply@learn.test"),
        ({"supportemail": ""}, ("noreply@learn.test", "Ada Min (via )"), "noreply@learn.test"),
        ({"allowedemaildomains": "x.test\n*.test", "emailfromvia": "2"},
         ("help@desk.test", "Rig Support "), "help@desk.test"),
        ({"allowedemaildomains": "other.test"},
         ("noreply@learn.test", "Rig Support  (via )"), "noreply@learn.test"),
    ],
)  # fmt: skip
def test_in_whose_name(
    conn: Connection, core: dict[str, str], sender: tuple[str, str], reply_to: str
) -> None:
    found = about(conn, **core).envelope
    assert (found.sender.email, found.sender.name) == sender
    assert found.reply_to.endswith(f" <{reply_to}>")


def test_headers_of_the_site_but_none_that_a_mail_has_already(conn: Connection) -> None:
    lines = "Precedence: bulk\r\nFrom: x@y.test\nnonsense\n\nX-A:b: c\nContent-Type: text/evil"
    found = about(conn, emailheaders=lines).envelope.headers
    assert found == (("Precedence", "bulk"), ("X-A", "b: c"))


def test_what_the_mail_says(conn: Connection) -> None:
    made = about(conn, emailsubjectprefix="[T]").fill(TEXT, USER, "p<w")
    assert made.subject == "[T] Rig & Co: New account"
    assert made.text.split() == [
        "anna",
        "p<w",
        "https://learn.test/login/?lang=de",
        "Anna",
        "O'Rig",
    ]
    assert "p&lt;w https://learn.test/login/?lang=de Anna O&#x27;Rig" in made.html


def test_an_address_for_bounces_as_php_makes_it(conn: Connection) -> None:
    code = (
        "$m = 'B'.base64_encode(pack('V', 7)).substr(md5('a@b.test'), 0, 16);"
        "$h = 'mdl+'.substr(base64_encode(pack('C', 0)), 0, 2).$m;"
        "echo $h.substr(md5($h.'site'), 0, 16).'@bounce.test';"
    )
    core = {"handlebounces": "1", "mailprefix": "mdl+", "maildomain": "bounce.test"}
    found = about(conn, **core, siteidentifier="site").envelope_from(7, "a@b.test")
    assert found == run(code).decode()
    assert about(conn).envelope_from(7, "a@b.test") == "noreply@learn.test"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"auth": "ldap"}, "password_kept_elsewhere"),
        ({"mnethostid": 3}, "user_of_another_site"),
        ({"email": "anna"}, "bad_address"),
        ({"email": " anna@a.test"}, "bad_address"),
        ({"email": "anna@grün.test"}, "bad_address"),
        ({"email": "anna@a.invalid"}, "address_is_invalid_on_purpose"),
    ],
)
def test_who_stays_with_moodle(change: dict[str, Any], reason: str) -> None:
    assert refuses(replace(USER, **change), config(mnet_localhost_id="1"), {}) == reason


@pytest.mark.parametrize(
    ("bounces", "over"), [((9, 9), False), ((10, 50), True), ((10, 51), False), ((10, 0), True)]
)
def test_the_bounce_threshold(bounces: tuple[int, int], over: bool) -> None:
    reason = "over_bounce_threshold" if over else ""
    assert refuses(USER, config(handlebounces="1"), {USER.id: bounces}) == reason
    assert not refuses(USER, config(), {USER.id: bounces})


TIDY = (
    "foreach (json_decode(stream_get_contents(STDIN)) as $s) { foreach"
    " (['/[[:punct:]「」]*EMPTY[[:punct:]「」]*/u', '/\\s{2,}/u'] as $p)"
    " $s = preg_replace($p, ' ', $s); $o[] = trim($s); } echo json_encode($o);"
)


def test_names_are_tidied_as_php_does() -> None:
    templates = [
        "lastname, firstname (middlename)",
        "firstname 「alternatename」 lastname",
        "middlename",
    ]
    raw = ["O'Rig, Anna (EMPTY)", "Anna 「EMPTY」 O'Rig", "EMPTY"]
    wanted = json.loads(run(TIDY, stdin=json.dumps(raw).encode()))
    found = [full_name(config(fullnamedisplay=each), NAMES) for each in templates]
    assert found == [each or "Anna" for each in wanted]


def test_names_that_the_site_forces_are_for_everybody_but_the_user() -> None:
    forced = config(forcefirstname="Learner", forcelastname="Ltd", fullnamedisplay="language")
    assert full_name(forced, NAMES) == "Learner Ltd"
    assert full_name(forced, NAMES, override=True) == "Anna O'Rig"
