"""``grants`` prints what docs/install.md says; ``upgrade-check`` refuses what does not fit;
all parts are of one release."""

import re
import tomllib
from pathlib import Path

import pytest

from sidecar import __version__
from sidecar.store.grants import mysql_grants, postgres_grants
from sidecar.versions import OLDEST_PLUGIN, judge

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "install.md"


def granted(statements: list[str]) -> dict[str, set[str]]:
    """Table, schema or sequence → rights, however they are spread over statements."""
    found: dict[str, set[str]] = {}
    for statement in statements:
        match = re.match(r"GRANT (.+?) ON (?:SEQUENCE )?(.+) TO ", " ".join(statement.split()))
        if match:
            for target in match[2].split(", "):
                name = target.removeprefix("moodle.").removeprefix("public.")
                found.setdefault(name, set()).update(match[1].split(", "))
    return found


def blocks() -> list[str]:
    return re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def statements_of(block: str) -> list[str]:
    return re.sub(r"--[^\n]*", "", block).split(";")


def test_the_documented_grants_are_those_that_are_printed() -> None:
    printed = mysql_grants("moodle", "mdl_", "sidecar", "localhost", iomad=True, record_lock=False)
    assert granted(statements_of(blocks()[0])) == granted(printed)


def test_the_same_on_postgresql() -> None:
    printed = postgres_grants("public", "mdl_", "sidecar", iomad=True, record_lock=False)
    assert granted(statements_of(blocks()[1])) == granted(printed)


def test_names_cannot_break_out_of_a_statement() -> None:
    printed = mysql_grants("moo`dle", "mdl_", "o'neil\\", "%", iomad=False, record_lock=True)
    assert printed[0] == "GRANT SELECT ON `moo``dle`.* TO 'o''neil\\\\'@'%'"
    assert "GRANT INSERT, UPDATE ON `moo``dle`.mdl_lock_db TO 'o''neil\\\\'@'%'" in printed
    assert not any("mdl_email" in statement for statement in printed)
    printed = postgres_grants("Moodle", "mdl_", 'a"b', iomad=False, record_lock=False)
    assert printed[0] == 'GRANT USAGE ON SCHEMA "Moodle" TO "a""b"'


@pytest.mark.parametrize(
    ("tables", "plugin", "leader", "says"),
    [
        (3, "2026", "", "newer than this daemon"),
        (1, "2026", "", "upgrade the plugin in Moodle"),
        (1, "", "", "schema --create"),
    ],
)
def test_tables_of_another_version_are_a_problem(
    tables: int, plugin: str, leader: str, says: str
) -> None:
    assert says in judge("1.0", 2, tables, plugin, leader).problem


def test_another_daemon_that_leads_is_only_told() -> None:
    fit = judge("1.0", 2, 2, "", "0.9")
    assert fit.problem == ""
    assert "0.9: restart it" in fit.advice


@pytest.mark.parametrize("plugin", ["2024111704", str(OLDEST_PLUGIN - 1), f"{OLDEST_PLUGIN - 1}.5"])
def test_a_plugin_that_is_too_old_is_told_with_what_to_do(plugin: str) -> None:
    fit = judge("1.0", 2, 2, plugin, "0.9")
    assert fit.problem == "", "mail goes out without a plugin too"
    assert "0.9: restart it" in fit.advice
    assert f"the plugin is version {plugin}, too old for this daemon (1.0)" in fit.advice
    assert f"needs {OLDEST_PLUGIN}" in fit.advice
    assert "install local_manireports-1.0.zip in Moodle" in fit.advice


@pytest.mark.parametrize("plugin", ["", str(OLDEST_PLUGIN), "2099010100.00", "odd"])
def test_a_plugin_that_fits_or_is_not_there_is_not_told(plugin: str) -> None:
    assert judge("1.0", 2, 2, plugin, "1.0").advice == ""


def test_all_parts_are_of_one_release() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    plugin = (ROOT / "moodle_plugin" / "version.php").read_text("utf-8")
    released = re.search(r"\$plugin->release = '(.*)';", plugin)
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert released
    assert newest
    assert {project["version"], released[1], newest[1]} == {__version__}
    named = re.findall(r"manireports\w*-(?:[a-z]+[-_])*(\d+\.\d+\.\d+)", PAGE.read_text("utf-8"))
    assert set(named) == {__version__}, "the files that docs/install.md names"


def test_the_plugin_beside_this_daemon_is_new_enough_for_it() -> None:
    plugin = (ROOT / "moodle_plugin" / "version.php").read_text("utf-8")
    version = re.search(r"\$plugin->version = (\d+);", plugin)
    assert version
    assert int(version[1]) >= OLDEST_PLUGIN
