"""The site builder writes what IOMAD writes, and other programs read it so."""

import json
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, select

from sidecar.demo.row_headers import Attachment
from sidecar.demo.site import Site

# The form in which IOMAD 4.3.9 wrote a customised template, with short texts.
REAL = (
    'a:7:{s:10:"attachment";O:8:"stdClass":2:{s:8:"filepath";s:13:"/data/ab/cdef";'
    's:8:"filename";s:11:"welcome.txt";}i:0;s:25:"To:hr@globex.example.test";'
    'i:1;s:32:"To:reception@globex.example.test";i:2;s:28:"Cc:audit@globex.example.test";'
    'i:3;s:30:"Cc:archive@globex.example.test";i:4;s:37:"reply-to:helpdesk@globex.example.test";'
    's:8:"template";O:8:"stdClass":22:{s:2:"id";s:1:"1";s:9:"companyid";s:1:"2";'
    's:4:"name";s:11:"user_create";s:4:"lang";s:2:"en";s:7:"subject";s:11:"Grüß Gott";'
    's:4:"body";s:9:"<p>ø</p>";s:9:"signature";s:6:"Søn &";s:8:"disabled";i:0;'
    's:15:"disabledmanager";s:1:"1";s:18:"disabledsupervisor";i:0;s:7:"emailto";s:1:"3";'
    's:12:"emailtoother";s:29:"reception@globex.example.test";s:7:"emailcc";s:1:"4";'
    's:12:"emailccother";s:43:"archive@globex.example.test, not-an-address";'
    's:9:"emailfrom";s:0:"";s:14:"emailfromother";s:28:"training@globex.example.test";'
    's:12:"emailreplyto";s:0:"";s:17:"emailreplytoother";s:28:"helpdesk@globex.example.test";'
    's:12:"repeatperiod";i:0;s:11:"repeatvalue";i:0;s:9:"repeatday";i:0;'
    's:18:"emailfromothername";s:14:"{Company_Name}";}}'
)


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """An installed site on the database that the test's parameter names."""
    if request.param == "mariadb":
        return Site(request.getfixturevalue("iomad_db"))
    made = Site(f"sqlite:///{tmp_path / 'site.db'}")
    made.install()
    return made


both = pytest.mark.parametrize("site", ["sqlite", "mariadb"], indirect=True)


def unserialized(text: str) -> object:
    """What PHP itself makes of a serialized value."""
    code = "echo json_encode(unserialize(stream_get_contents(STDIN)));"
    done = subprocess.run(["php", "-r", code], input=text.encode(), capture_output=True, check=True)
    return json.loads(done.stdout)


def customised(site: Site) -> None:
    """Company 2 with everything set on its welcome mail, as in REAL."""
    site.add_company(2, "Globex & Søn")
    site.add_user(2, email="hr@globex.example.test")
    site.add_user(2, email="audit@globex.example.test")
    site.set_template(
        2,
        "user_create",
        subject="Grüß Gott",
        body="<p>ø</p>",
        signature="Søn &",
        disabledmanager="1",
        emailto="3",
        emailtoother="reception@globex.example.test",
        emailcc="4",
        emailccother="archive@globex.example.test, not-an-address",
        emailfromother="training@globex.example.test",
        emailreplytoother="helpdesk@globex.example.test",
        emailfromothername="{Company_Name}",
    )


@both
def test_headers_are_byte_for_byte_those_of_iomad(site: Site) -> None:
    customised(site)
    attachment = Attachment("/data/ab/cdef", "welcome.txt")
    assert site.headers("user_create", 2, attachment) == REAL


@both
def test_php_reads_the_headers(site: Site) -> None:
    customised(site)
    read = unserialized(site.headers("user_create", 2))
    assert isinstance(read, dict)
    assert read["3"] == "Cc:archive@globex.example.test"
    assert read["template"]["signature"] == "Søn &"


@both
def test_a_queued_mail_reads_as_iomad_leaves_it(site: Site) -> None:
    customised(site)
    user = site.add_user(2, firstname="Zoë")
    (row_id,) = site.queue("user_create", 2, [user], due=5)
    email = site.tables.email
    with site.engine.connect() as conn:
        row = conn.execute(select(email).where(email.c.id == row_id)).one()
    assert (row.templatename, row.companyid, row.courseid, row.userid) == (
        "user_create",
        2,
        1,
        user.id,
    )
    assert (row.sent, row.due, row.senderid, row.varsreplaced) == (None, 5, -20, 1)
    assert row.subject == "Grüß Gott"
    assert row.body == "<p>ø</p><p>--</p>Søn &"


@both
def test_default_texts_carry_the_users_own_facts(site: Site) -> None:
    site.add_company(1, "Acme")
    site.add_course(2, "Fire Safety")
    users = site.add_users(1, 2)
    site.queue("user_create", 1, users)
    site.queue("license_allocated", 1, users, course=2)
    email = site.tables.email
    with site.engine.connect() as conn:
        rows = conn.execute(select(email).order_by(email.c.id)).all()
    assert users[1].username in rows[1].body
    assert "password: " in rows[1].body
    assert rows[2].subject == "A licence for Fire Safety is yours"
    assert "{" not in "".join(row.subject + row.body for row in rows)
    assert len({row.body for row in rows}) == 4


@both
def test_what_the_caller_gives_is_written_as_it_is(site: Site) -> None:
    site.add_company(1, "Acme")
    users = site.add_users(1, 2)
    first = site.queue("user_create", 1, users, headers=None, body=lambda user: user.email)
    second = site.queue("approval", 1, users[:1], headers="a:1:{", subject="s\r\nx", body="b")
    email = site.tables.email
    with site.engine.connect() as conn:
        rows = {row.id: row for row in conn.execute(select(email))}
    assert [rows[i].body for i in first] == [user.email for user in users]
    assert rows[first[0]].headers is None
    row = rows[second[0]]
    assert (row.headers, row.subject, row.body) == ("a:1:{", "s\r\nx", "b")


@both
def test_managers_departments_and_settings(site: Site) -> None:
    site.add_company(1, "Acme")
    below = site.add_department(1, "Sales", parent=site.top_department(1))
    user = site.add_user(1, department=below)
    promoted = site.add_manager(1, user)
    made = site.add_manager(1)
    site.set_config("smtphosts", "127.0.0.1:25")
    site.set_config("smtphosts", "127.0.0.1:26")
    site.set_config("noemailever", "1", plugin="local_x")
    t = site.tables
    with site.engine.connect() as conn:
        members = conn.execute(select(t.company_users)).all()
        hosts = conn.execute(select(t.config.c.value).filter_by(name="smtphosts")).scalars().all()
        plugin = conn.execute(select(t.config_plugins.c.value).filter_by(plugin="local_x")).scalar()
    assert promoted == user
    assert {(m.userid, m.departmentid, m.managertype) for m in members} == {
        (user.id, below, 1),
        (made.id, site.top_department(1), 1),
    }
    assert hosts == ["127.0.0.1:26"]
    assert plugin == "1"


def test_the_small_fixture_is_what_it_says(small_iomad_db: str) -> None:
    site = Site(small_iomad_db)
    email = site.tables.email
    query = select(email.c.companyid, email.c.templatename, func.count()).group_by(
        email.c.companyid, email.c.templatename
    )
    engine = create_engine(small_iomad_db)
    with engine.connect() as conn:
        counts = {(row[0], row[1]): row[2] for row in conn.execute(query)}
        headers = conn.execute(select(email.c.headers).distinct()).scalars().all()
    engine.dispose()
    assert counts == {
        (1, "user_create"): 12,
        (1, "license_allocated"): 12,
        (1, "course_not_started_warning"): 10,
        (1, "completion_warn_user"): 3,
        (1, "approval"): 2,
        (2, "user_create"): 12,
        (2, "user_added_to_course"): 10,
        (2, "expiry_warn_user"): 3,
    }
    for text in headers:
        read = unserialized(text or "")
        assert isinstance(read, dict), text
        assert len(read["template"]) == 22
