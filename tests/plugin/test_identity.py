"""The plugin tells a site from its copy just as the sidecar does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar import config
from sidecar.identity import fingerprint
from sidecar.store.database import Database
from tests.moodle.php import Php

CODE = Path(__file__).parents[2] / "moodle_plugin" / "classes" / "cloud" / "identity.php"

STANDIN = f"""
require {str(CODE)!r};
class db {{ public $family; function get_dbfamily() {{ return $this->family; }} }}
$CFG = new stdClass(); $DB = new db();
function answer($in) {{
    global $CFG, $DB;
    $CFG = (object)$in['cfg'];
    $DB->family = $in['family'];
    return local_manireports\\cloud\\identity::fingerprint();
}}
"""
"""What fingerprint() asks of Moodle: $CFG, and the family of $DB."""


@pytest.fixture(scope="module")
def php() -> Iterator[Php]:
    with Php(STANDIN) as process:
        yield process


@pytest.mark.parametrize(
    ("kind", "host", "options"),
    [
        ("mariadb", "127.0.0.1", {}),
        ("mariadb", "db.example.test", {"dbport": 3307}),
        ("mysqli", "localhost", {"dbport": "", "dbsocket": "/run/mysqld/mysqld.sock"}),
        ("mysqli", "", {"dbsocket": ""}),
        ("auroramysql", "db.example.test", {"dbport": "3310", "dbsocket": False}),
        ("pgsql", "db.example.test", {}),
        ("pgsql", "localhost", {"dbport": 5433}),
        ("pgsql", "localhost", {"dbsocket": "/run/postgresql", "dbport": "5434"}),
        ("pgsql", "127.0.0.1", {"dbsocket": True}),
    ],
)
def test_the_same_fingerprint(
    php: Php, tmp_path: Path, kind: str, host: str, options: dict[str, object]
) -> None:
    cfg: dict[str, object] = {
        "dbtype": kind,
        "dbhost": host,
        "dbname": "moodle",
        "dbuser": "u",
        "dbpass": "p",
        "prefix": "mdl_",
        "wwwroot": "https://moodle.example.test/learn",
        "dataroot": str(tmp_path),
        "dboptions": options,
    }
    lines = [f"$CFG->{name} = {_php(value)};" for name, value in cfg.items()]
    text = "\n".join(["<?php", "$CFG = new stdClass();", *lines])
    (tmp_path / "config.php").write_text(text, "utf-8")
    settings = config.load(None, {"MANIREPORTS_MOODLE_DIR": str(tmp_path)})
    assert settings.database_url is not None
    url = Database(settings.database_url, "mdl_").url
    family = "postgres" if kind == "pgsql" else "mysql"
    assert php.ask({"cfg": cfg, "family": family}) == fingerprint(settings, url).encode()


def _php(value: object) -> str:
    if isinstance(value, dict):
        return "[" + ", ".join(f"{_php(k)} => {_php(v)}" for k, v in value.items()) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)
