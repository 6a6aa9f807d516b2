"""What config.php says, below the file and the environment."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.config import load
from sidecar.errors import ConfigError
from sidecar.moodle.lock_factory import LOCK_KEYS

URL = "mysql://moodle:hunter2@db.example.test/moodle"
ENV = {"PATH": os.environ["PATH"]}

WriteToml = Callable[[str], Path]
Moodle = Callable[[str], Path]


@pytest.fixture
def toml(tmp_path: Path) -> WriteToml:
    def write(text: str) -> Path:
        path = tmp_path / "sidecar.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def moodle(tmp_path: Path) -> Callable[[str], Path]:
    """``moodle(statements)`` makes a folder with a config.php that ends with them."""

    def make(statements: str) -> Path:
        folder = tmp_path / "moodle"
        (folder / "lib").mkdir(parents=True)
        (folder / "lib" / "setup.php").write_text("<?php\n")
        (folder / "config.php").write_text(
            f"""<?php
            unset($CFG); global $CFG; $CFG = new stdClass();
            $CFG->dbtype = 'mariadb'; $CFG->dbhost = 'localhost'; $CFG->dbname = 'iomad';
            $CFG->dbuser = 'moodle'; $CFG->dbpass = 'hunter2:@/%'; $CFG->prefix = 'io_';
            $CFG->wwwroot = 'https://learn.example.test'; $CFG->dataroot = '/var/moodledata';
            {statements}
            require_once(__DIR__ . '/lib/setup.php');
            """
        )
        return folder

    return make


def test_moodle_dir_alone_is_enough(toml: WriteToml, moodle: Moodle) -> None:
    folder = moodle(
        "$CFG->noemailever = true; $CFG->passwordpeppers = [1 => 'hunter3'];"
        "$CFG->forced_plugin_settings = ['local_email' => ['x' => '1']];"
    )
    found = load(toml(f'moodle_dir = "{folder}"'), ENV)
    assert found.database_url == (
        "mysql+mysqldb://moodle:hunter2%3A%40%2F%25@localhost/iomad?charset=utf8mb4"
    )
    assert found.table_prefix == "io_"
    assert found.wwwroot == "https://learn.example.test"
    assert found.dataroot == Path("/var/moodledata")
    assert found.moodle_config["noemailever"] is True
    assert found.moodle_config["local_email/x"] == "1"
    assert found.moodle_config["passwordpeppers"] == {"1": "hunter3"}
    assert "dbpass" not in found.moodle_config
    assert found.moodle_config_unread == frozenset()
    assert "hunter" not in repr(found)


def test_the_file_is_above_config_php(toml: WriteToml, moodle: Moodle) -> None:
    folder = moodle("$CFG->divertallemailsto = 'a@b.example'; $CFG->prefix = 5; $CFG->dbtype = 7;")
    found = load(
        toml(
            f"""
            moodle_dir = "{folder}"
            database_url = "{URL}"
            table_prefix = "mine_"
            wwwroot = "https://mine.example.test"
            dataroot = "/mine"
            [moodle_config]
            divertallemailsto = "c@d.example"
            "local_email/x" = true
            """
        ),
        ENV,
    )
    assert found.database_url == URL
    assert found.table_prefix == "mine_"
    assert found.wwwroot == "https://mine.example.test"
    assert found.dataroot == Path("/mine")
    assert found.moodle_config["divertallemailsto"] == "c@d.example"
    assert found.moodle_config["local_email/x"] is True


def test_php_is_asked_for_what_is_unread(toml: WriteToml, moodle: Moodle) -> None:
    folder = moodle("if (true) { $CFG->noemailever = 1; } $CFG->wwwroot .= '/moodle';")
    found = load(toml(f'moodle_dir = "{folder}"'), ENV)
    assert found.wwwroot == "https://learn.example.test/moodle"
    assert found.moodle_config["noemailever"] == 1
    assert found.moodle_config_unread == frozenset()


WITHOUT_PHP = {"PATH": "/nonexistent"}


def test_without_php_the_file_has_to_say_it(toml: WriteToml, moodle: Moodle) -> None:
    folder = moodle("$CFG->noemailever = strtolower(''); $CFG->wwwroot .= '/moodle';")
    start = f'moodle_dir = "{folder}"\n'
    found = load(toml(start), WITHOUT_PHP)
    assert found.moodle_config_unread == {"noemailever", "wwwroot"}
    assert found.wwwroot == ""
    found = load(
        toml(start + 'wwwroot = "https://x.example"\n[moodle_config]\nnoemailever = false'),
        WITHOUT_PHP,
    )
    assert found.moodle_config_unread == frozenset()
    assert found.moodle_config["noemailever"] is False


def test_without_php_an_include_leaves_every_safety_key_in_doubt(
    toml: WriteToml, moodle: Moodle
) -> None:
    folder = moodle("require 'more.php'; $CFG->divertallemailsto = '';")
    start = f'moodle_dir = "{folder}"\n'
    with pytest.raises(ConfigError, match="could not be read; set database_url in"):
        load(toml(start), WITHOUT_PHP)
    start += f'database_url = "{URL}"\n'
    with pytest.raises(ConfigError, match=r"prefix could not be read; set table_prefix"):
        load(toml(start), WITHOUT_PHP)
    start += 'table_prefix = "mdl_"\n'
    found = load(toml(start), WITHOUT_PHP)
    assert found.moodle_config_unread == {
        "noemailever",
        "divertallemailsexcept",
        "passwordpeppers",
        *LOCK_KEYS,
        "wwwroot",
        "dataroot",
    }
    assert found.moodle_config == {"divertallemailsto": ""}
    start += '[moodle_config]\nlock_factory = "auto"\n'
    assert "lock_factory" not in load(toml(start), WITHOUT_PHP).moodle_config_unread


def test_a_prefix_is_not_needed(toml: WriteToml, tmp_path: Path) -> None:
    (tmp_path / "config.php").write_text("<?php $CFG->wwwroot = 'https://x.example';")
    text = f'moodle_dir = "{tmp_path}"\ndatabase_url = "{URL}"'
    assert load(toml(text), ENV).table_prefix == ""


def test_config_php_with_values_that_cannot_be_used(toml: WriteToml, moodle: Moodle) -> None:
    folder = moodle("$CFG->wwwroot = 'learn.example.test';")
    with pytest.raises(ConfigError, match=r"config.php: \$CFG->wwwroot: wwwroot must be a URL"):
        load(toml(f'moodle_dir = "{folder}"'), ENV)


def test_a_moodle_dir_without_moodle(toml: WriteToml, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="moodle_dir: there is no"):
        load(toml(f'moodle_dir = "{tmp_path}"'), ENV)
