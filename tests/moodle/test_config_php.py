"""config.php: real files, with real PHP as the judge of what they set."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.errors import ConfigError
from sidecar.moodle import config_php
from sidecar.moodle.config_php import ConfigPhp, read, resolve_with_php

# What Moodle's own does to $CFG with ABORT_AFTER_CONFIG, shortened.
SETUP = r"""<?php
global $CFG;
$CFG->dirroot = dirname(__DIR__);
$CFG->dataroot = realpath($CFG->dataroot);
if ($CFG->dataroot === false || is_file("$CFG->dataroot/readonly")) {
    echo 'Fatal error: $CFG->dataroot is not configured properly';
    exit(1);
}
$CFG->libdir = $CFG->dirroot . '/lib';
if (!isset($CFG->config_php_settings)) {
    $CFG->config_php_settings = (array) $CFG;
    unset($CFG->config_php_settings['forced_plugin_settings']);
    if (!isset($CFG->forced_plugin_settings)) {
        $CFG->forced_plugin_settings = array();
    }
}
$CFG->debug = (int) ($CFG->debug ?? 0);
if (defined('ABORT_AFTER_CONFIG')) {
    return;
}
throw new Exception('the database would be opened here');
"""
OPENING = (
    "<?php  // Moodle configuration file\nunset($CFG);\nglobal $CFG;\n$CFG = new stdClass();\n"
)
CLOSING = "\nrequire_once(__DIR__ . '/lib/setup.php');\n// There is no php closing tag\n"
ENV = {"PATH": os.environ["PATH"], "SET": "from env"}

MoodleDir = Callable[[str], Path]


@pytest.fixture
def moodle_dir(tmp_path: Path) -> MoodleDir:
    """``moodle_dir(statements)`` makes a Moodle folder whose config.php has them."""

    def make(statements: str) -> Path:
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / "setup.php").write_text(SETUP)
        (tmp_path / "data").mkdir()
        (tmp_path / "config.php").write_text(OPENING + statements + CLOSING)
        return tmp_path

    return make


def test_a_usual_file(moodle_dir: MoodleDir) -> None:
    folder = moodle_dir(r"""
        $CFG->dbtype    = 'mariadb';      // 'pgsql', 'mariadb', 'mysqli', 'sqlsrv' or 'oci'
        $CFG->dblibrary = 'native';       # 'native' only at the moment
        $CFG->dbname    = getenv('NOTHING') ?: 'moodle';
        $CFG->dbuser    = "moodle\x21";   /* $CFG->dbuser = 'not this'; */
        $CFG->dbpass    = 'p\'\\\n"ss';
        $CFG->prefix    = 'mdl_';
        $CFG->dboptions = array(
            'dbpersist' => false,
            'dbport' => '',
            'readonly' => ['instance' => ['one', 'two']],
        );
        $CFG->dboptions['dbport'] = 3307;
        $CFG->wwwroot   = 'https://learn.example.test';
        $CFG->dataroot  = __DIR__ . '/data';
        $CFG->tempdir   = "$CFG->dataroot/temp/{$CFG->prefix}";
        $CFG->directorypermissions = 02777;
        $CFG->divertallemailsto = (string) getenv('SET');
        $CFG->passwordpeppers = [1 => 'a', 2 => 'b'];
        $CFG->forced_plugin_settings = array('auth_ldap' => array('host' => 'x'), 'empty' => []);
        $CFG->forced_plugin_settings['local_email']['on'] = true;
    """)
    found = read(folder, ENV)
    assert found == ConfigPhp(
        path=folder / "config.php",
        values={
            "dbtype": "mariadb",
            "dblibrary": "native",
            "dbname": "moodle",
            "dbuser": "moodle!",
            "dbpass": "p'\\\\n\"ss",
            "prefix": "mdl_",
            "dboptions": {
                "dbpersist": False,
                "dbport": 3307,
                "readonly": {"instance": ["one", "two"]},
            },
            "wwwroot": "https://learn.example.test",
            "dataroot": f"{folder}/data",
            "tempdir": f"{folder}/data/temp/mdl_",
            "directorypermissions": 0o2777,
            "divertallemailsto": "from env",
            "passwordpeppers": {"1": "a", "2": "b"},
        },
        forced={"auth_ldap": {"host": "x"}, "empty": {}, "local_email": {"on": True}},
    )
    assert "ss" not in repr(found)
    assert resolve_with_php(found, php="/nonexistent") is found


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    text = "<?php // Søn\n$CFG->a = 'a'; $CFG->b = 'Søn';"
    (tmp_path / "config.php").write_bytes(text.encode("latin-1"))
    found = read(tmp_path, ENV)
    assert (dict(found.values), found.unread) == ({"a": "a"}, frozenset({"b"}))


def test_the_public_folder_of_a_newer_tree(tmp_path: Path) -> None:
    (tmp_path / "config.php").write_text("<?php $CFG->dataroot = __DIR__;")
    public = tmp_path / "public"
    public.mkdir()
    (public / "config.php").write_text("<?php require_once(__DIR__ . '/../config.php');")
    assert read(public, ENV).values == read(tmp_path, ENV).values == {"dataroot": str(tmp_path)}
    (tmp_path / "config.php").unlink()
    (public / "config.php").write_text("<?php $CFG->a = 1;")
    assert read(public, ENV).values == {"a": 1}


def test_no_config_php_that_we_can_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no .*/nowhere/config.php; set moodle_dir"):
        read(tmp_path / "nowhere", ENV)
    (tmp_path / "config.php").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path, ENV)
    (tmp_path / "config.php").rmdir()
    (tmp_path / "config.php").write_text("<?php $db = 'wordpress';")
    with pytest.raises(ConfigError, match="is not Moodle's"):
        read(tmp_path, ENV)
    (tmp_path / "config.php").write_text("no php here: $CFG->a = 1;")
    with pytest.raises(ConfigError, match="is not Moodle's"):
        read(tmp_path, ENV)


BASE = "$CFG->dataroot = __DIR__ . '/data';\n$CFG->dbpass = 'hunter2';\n"


def test_php_answers_what_is_unread(moodle_dir: MoodleDir) -> None:
    folder = moodle_dir(
        BASE + "if (PHP_SAPI === 'cli') { $CFG->noemailever = true; }\n"
        "$CFG->smtphosts = strtolower(getenv('SET'));\n"
        "$CFG->forced_plugin_settings['a']['b'] = str_repeat('x', 2);\n"
    )
    static = read(folder, ENV)
    assert static.unread == {"noemailever", "smtphosts", "forced_plugin_settings"}
    found = resolve_with_php(static, env=ENV)
    assert found.values["noemailever"] is True
    assert found.values["smtphosts"] == "from env"
    assert found.values["dataroot"] == f"{folder}/data"
    assert found.forced == {"a": {"b": "xx"}}
    assert "forced_plugin_settings" not in found.values
    assert (found.unread, found.incomplete) == (frozenset(), False)


def test_php_follows_includes_and_relative_paths(moodle_dir: MoodleDir) -> None:
    folder = moodle_dir(BASE + "echo 'noise {'; require 'secret.php';\n")
    (folder / "secret.php").write_text("<?php $CFG->dbpass = 'other'; $CFG->list = [1, [2]];")
    found = resolve_with_php(read(folder, ENV), env=ENV)
    assert found.values["dbpass"] == "other"
    assert found.values["list"] == [1, [2]]


def test_nothing_is_run_when_all_is_read(moodle_dir: MoodleDir) -> None:
    static = read(moodle_dir(BASE + "file_put_contents(__DIR__ . '/ran', '');"), ENV)
    assert resolve_with_php(static, env=ENV) is static
    assert not (static.path.parent / "ran").exists()


def test_a_dataroot_that_this_user_may_not_write_is_no_hindrance(moodle_dir: MoodleDir) -> None:
    folder = moodle_dir(BASE + "$CFG->a = strtoupper('x');\n$CFG->forced_plugin_settings = [];")
    (folder / "data" / "readonly").touch()
    found = resolve_with_php(read(folder, ENV), env=ENV)
    assert found.values["a"] == "X"
    assert "forced_plugin_settings" not in found.values


def test_a_dataroot_that_php_does_not_find(moodle_dir: MoodleDir) -> None:
    folder = moodle_dir(BASE + "$CFG->a = strtoupper('x');")
    (folder / "data").rmdir()
    found = resolve_with_php(read(folder, ENV), env=ENV)
    assert (found.values["a"], found.values["dataroot"]) == ("X", f"{folder}/data")
    (folder / "config.php").write_text(
        OPENING + "$CFG->dataroot = strtolower('/nowhere');" + CLOSING
    )
    found = resolve_with_php(read(folder, ENV), env=ENV)
    assert "dataroot" not in found.values
    assert found.unread == {"dataroot"}


@pytest.mark.parametrize(
    "statement",
    [
        "die('no: hunter2');",
        "throw new Exception('hunter2');",
        "$CFG->b = 'syntax' error;",
        "$CFG->b = fopen('php://memory', 'r');",
        "$CFG->forced_plugin_settings = strtoupper('x');",
        "sleep(60);",
    ],
)
def test_without_an_answer_the_names_stay_unread(
    moodle_dir: MoodleDir,
    statement: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config_php, "_PHP_TIMEOUT", 2.0)
    static = read(
        moodle_dir(BASE + f"$CFG->a = strtoupper('x');\nif (true) {{ {statement} }}"), ENV
    )
    assert "a" in static.unread
    with caplog.at_level(logging.WARNING):
        assert resolve_with_php(static, env=ENV) is static
    assert "hunter2" not in caplog.text


def test_without_php_the_names_stay_unread(
    moodle_dir: MoodleDir, caplog: pytest.LogCaptureFixture
) -> None:
    static = read(moodle_dir(BASE + "$CFG->a = strtoupper('x');"), ENV)
    assert resolve_with_php(static, "/nonexistent/php", ENV) is static
    assert "php cannot be run (No such file or directory)" in caplog.text
