"""The database's URL from config.php, as Moodle's own drivers would connect."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from sidecar.errors import ConfigError
from sidecar.moodle.config_php import ConfigPhp, database_url

DATABASE = {
    "dbtype": "mariadb",
    "dbhost": "db.example.test",
    "dbname": "moodle",
    "dbuser": "moodle",
    "dbpass": "hunter2",
}


def config_of(**changes: object) -> ConfigPhp:
    values = {**DATABASE, **changes}
    return ConfigPhp(Path("/moodle/config.php"), values, {})


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_passwords_of_any_characters(password: str) -> None:
    url = database_url(config_of(dbpass=password))
    assert url.password == password
    assert make_url(url.render_as_string(hide_password=False)) == url


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "mysql+mysqldb://moodle:***@db.example.test/moodle?charset=utf8mb4"),
        ({"dbtype": "mysqli", "dboptions": []}, "//moodle:***@db.example.test/moodle?"),
        ({"dbtype": "auroramysql", "dboptions": {"dbport": "3307"}}, "@db.example.test:3307/"),
        ({"dboptions": {"dbport": ""}}, "@db.example.test/"),
        ({"dboptions": {"dbport": 0}}, "@db.example.test/"),
        ({"dbhost": "localhost"}, "@localhost/moodle?charset=utf8mb4"),
        ({"dbhost": ""}, "@localhost/moodle?charset=utf8mb4"),
        ({"dbhost": "localhost", "dboptions": {"dbsocket": True}}, "/moodle?charset=utf8mb4"),
        (
            {"dbhost": "localhost", "dboptions": {"dbsocket": "/run/db.sock"}},
            "&unix_socket=%2Frun%2Fdb.sock",
        ),
        ({"dboptions": {"dbsocket": "/run/db.sock"}}, "/moodle?charset=utf8mb4"),
        ({"dboptions": {"ssl": "require"}}, "&ssl_mode=REQUIRED"),
        ({"dboptions": {"ssl": "verify-full"}}, "&ssl_mode=VERIFY_IDENTITY"),
        ({"dbpass": ""}, "//moodle@db.example.test/"),
        ({"dbtype": "pgsql"}, "postgresql+psycopg://moodle:***@db.example.test/moodle"),
        (
            {"dbtype": "pgsql", "dboptions": {"dbport": 6432, "ssl": "verify-ca"}},
            "@db.example.test:6432/moodle?sslmode=verify-ca",
        ),
        (
            {"dbtype": "pgsql", "dboptions": {"dbschema": "lms"}},
            "?options=-c+search_path%3Dlms",
        ),
        (
            {"dbtype": "pgsql", "dbhost": "localhost", "dboptions": {"dbsocket": True}},
            "postgresql+psycopg://moodle:***@/moodle",
        ),
        (
            {"dbtype": "pgsql", "dbhost": "127.0.0.1", "dboptions": {"dbsocket": "/run/pg"}},
            "@/moodle?host=%2Frun%2Fpg",
        ),
    ],
)
def test_the_way_to_the_database(changes: dict[str, object], expected: str) -> None:
    url = str(database_url(config_of(**changes)))
    assert expected in url
    assert ("unix_socket" in url) == ("unix_socket" in expected)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dbtype": "pgsql", "dboptions": {"ssl": "maybe"}}, "ssl"),
        ({"dbtype": "pgsql", "dboptions": {"dbport": "x"}}, "dbport"),
        ({"dbtype": "oci"}, "'oci' is not supported"),
        ({"dbname": None}, r"\$CFG->dbname is not set; set database_url"),
        ({"dbpass": False}, "lack an environment variable"),
        ({"dbhost": ["a"]}, "is no text"),
        ({"dboptions": {"dbport": "x"}}, "dbport"),
        ({"dboptions": {"ssl": "maybe"}}, "ssl"),
    ],
)
def test_a_database_that_cannot_be_reached_so(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        database_url(config_of(**changes))
    assert "hunter2" not in str(caught.value)


def test_an_unread_database_is_named() -> None:
    unread = ConfigPhp(Path("/moodle/config.php"), {}, {}, frozenset({"dbtype"}))
    with pytest.raises(ConfigError, match="dbtype is set in a way that could not be read"):
        database_url(unread)
