# ruff: noqa: E501 - lines of PHP and XML stay whole
"""The merge of an earlier ManiReports and ours, on made-up trees."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.merging import php
from scripts.merging.errors import MergeError
from scripts.merging.halves import strings
from scripts.merging.merge import merge, write
from scripts.merging.tree import MARK

from .earlier import FILES, GUARD, INSTALL, UPGRADE, VERSION, php_variables, plant

ROOT = Path(__file__).parents[2]
OURS = ROOT / "moodle_plugin"


def merged(tmp_path: Path, changes: dict[str, str] | None = None, **options: int) -> Path:
    old = plant(tmp_path / "old", {**FILES, **(changes or {})})
    out = tmp_path / "out"
    write(merge(old, OURS, **options), out, keep=old)
    return out


def refused(tmp_path: Path, changes: dict[str, str]) -> str:
    with pytest.raises(MergeError) as refusal:
        merged(tmp_path, changes)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".merge-*"))
    return str(refusal.value)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return merged(tmp_path_factory.mktemp("merged"))


def test_nothing_of_either_is_lost(out: Path) -> None:
    for path, variable in {
        "db/access.php": "capabilities",
        "db/tasks.php": "tasks",
        "db/services.php": "functions",
        "db/messages.php": "messageproviders",
    }.items():
        whole = php_variables(out / path)[variable]
        assert isinstance(whole, dict | list)
        for half in ("earlier", "cloud"):
            place = out / "db" / half / Path(path).name
            if place.exists():
                part = php_variables(place)[variable]
                assert isinstance(part, dict | list)
                if isinstance(part, dict):
                    assert isinstance(whole, dict)
                    assert part.items() <= whole.items()
                else:
                    assert all(entry in whole for entry in part)
    capabilities = php_variables(out / "db/access.php")["capabilities"]
    assert isinstance(capabilities, dict)
    assert {"local/manireports:viewadmindashboard", "local/manireports:viewcloudjobs"} <= set(
        capabilities
    )


def test_every_string_of_both_is_there(out: Path) -> None:
    whole = php_variables(out / "lang/en/local_manireports.php")["string"]
    ours = php_variables(OURS / "lang/en/local_manireports.php")["string"]
    assert isinstance(whole, dict)
    assert isinstance(ours, dict)
    assert ours.items() <= whole.items()
    assert whole["dashboard"] == 'It\'s; a "dashboard"'
    assert "ghost" not in whole
    assert whole["cloudearliersettings"]
    assert php_variables(out / "lang/da/local_manireports.php")["string"] == {
        "pluginname": "ManiReports"
    }


def test_the_tables_are_theirs_and_ours(out: Path) -> None:
    names = [table.get("NAME") for table in ET.parse(out / "db/install.xml").iter("TABLE")]
    ours = [table.get("NAME") for table in ET.parse(OURS / "db/install.xml").iter("TABLE")]
    assert names == ["manireports_schedules", *ours]


def test_mail_is_no_longer_sent_by_their_observers(out: Path) -> None:
    observers = str(php_variables(out / "db/events.php")["observers"])
    assert "tracker::seen" in observers
    assert "EmailOffloadHandler" not in observers
    for gone in ("classes/api/EmailOffloadHandler.php", "classes/api/connectors", "cloud_workers"):
        assert not (out / gone).exists()
    assert "410" in (out / "cloud_callback.php").read_text()


def test_no_page_shows_or_stores_keys(out: Path) -> None:
    page = (out / "designs/dashboard.php").read_text()
    assert "insert_record" not in page
    assert "$secret" not in page
    assert '<form method="get">' in page
    assert "settings_summary" in page


def test_the_version_is_above_both(out: Path, tmp_path: Path) -> None:
    def version(folder: Path) -> int:
        found = re.search(r"\$plugin->version = (\d+)", (folder / "version.php").read_text())
        assert found
        return int(found[1])

    assert version(out) == max(version(OURS), 2024111704) + 1
    newer = VERSION.replace("2024111704", "2033010100")
    assert version(merged(tmp_path, {"version.php": newer}, after=2033010105)) == 2033010106


def test_all_of_it_is_php(out: Path) -> None:
    for path in out.rglob("*.php"):
        done = subprocess.run(["php", "-l", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_same_trees_give_the_same_result(out: Path, tmp_path: Path) -> None:
    again = merged(tmp_path)
    assert {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()} == {
        p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()
    }


def test_both_upgrades_run_under_names_of_their_own(out: Path) -> None:
    theirs = (out / "db/earlier/upgrade.php").read_text()
    assert "function local_manireports_earlier_upgrade(" in theirs
    assert "// upgrade_plugin_savepoint() in a comment stays." in theirs
    assert " local_manireports_earlier_savepoint(true, 2024111701" in theirs
    whole = (out / "db/upgrade.php").read_text()
    assert whole.index("local_manireports_earlier_upgrade(") < whole.index(
        "local_manireports_cloud_upgrade("
    )
    assert "'manireports_schedules'" in whole
    assert "earlierversion" in (out / "db/install.php").read_text()


def test_callbacks_of_both_are_called(out: Path) -> None:
    text = (out / "lib/earlier.php").read_text() + (out / "lib.php").read_text()
    assert "function local_manireports_extend_navigation(" in text
    hooks = (out / "classes/earlier/hooks.php").read_text()
    assert "before_footer_html_generation" in hooks
    assert (
        php.functions((OURS / "lib.php").read_text())[0].name in (out / "lib/cloud.php").read_text()
    )


CALLS = r"""
define('MOODLE_INTERNAL', true);
class navigation {}
require($argv[1]);
echo json_encode([local_manireports_before_footer(), local_manireports_pluginfile('a', 'b'), $seen ?? null]);
local_manireports_extend_navigation(new navigation());
echo json_encode($GLOBALS['calls']);
"""


def test_a_callback_of_both_asks_both(tmp_path: Path) -> None:
    half = (
        GUARD
        + "function local_manireports_before_footer() { return '{half} '; }\n"
        + "function local_manireports_pluginfile($course, $cm, array $options = array()) { return '{half}' === 'ours'; }\n"
        + "function local_manireports_extend_navigation(navigation $n) { $GLOBALS['calls'][] = '{half}'; }\n"
    )
    ours = tmp_path / "ours"
    plant(ours, {str(p.relative_to(OURS)): p.read_text() for p in OURS.rglob("*") if p.is_file()})
    plant(ours, {"lib.php": half.replace("{half}", "ours")})
    old = plant(tmp_path / "old", {**FILES, "lib.php": half.replace("{half}", "theirs")})
    write(merge(old, ours), tmp_path / "out", keep=old)
    done = subprocess.run(
        ["php", "-r", CALLS, "--", str(tmp_path / "out/lib.php")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == '["theirs ours ",true,null]["theirs","ours"]', done.stdout + done.stderr


def test_a_broken_upgrade_keeps_its_whole_functions(tmp_path: Path) -> None:
    broken = UPGRADE + "\nfunction never_called($x) {\n    if ($x) {\n        return 1;\n    }\n"
    text = (merged(tmp_path, {"db/upgrade.php": broken}) / "db/earlier/upgrade.php").read_text()
    assert "never_called" not in text
    assert "local_manireports_earlier_upgrade" in text


def test_an_upgrade_that_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, {"db/upgrade.php": UPGRADE.rsplit("}", 1)[0]})
    assert "db/upgrade.php" in said


def test_faults_that_kept_pages_from_opening_are_mended(tmp_path: Path) -> None:
    early = (
        "<?php\nnamespace local_manireports\\api;\nclass engine {\n    public function one() {\n    }\n}\n\n"
        "    /**\n     * Two.\n     */\n    public function two() {\n        return '}';\n    }\n}\n"
    )
    out = merged(tmp_path, {"classes/api/engine.php": early})
    assert (
        "require_once(__DIR__ . '/../../../config.php');"
        in (out / "ui/broken_path.php").read_text()
    )
    assert (out / "classes/api/engine.php").read_text().count("\n}") == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"version.php": VERSION.replace("local_manireports", "local_other")}, "no ManiReports"),
        ({"version.php": "<?php\n"}, "no ManiReports"),
        ({"version.php": VERSION.replace("2024111704", "'x'")}, "version.php"),
        ({"ui/x.php": "<?php $DB->get_record('manireports_cloud_recip', []);"}, "ui/x.php, line 1"),
        ({"classes/x.php": "<?php\n\nnew EmailOffloadHandler();"}, "classes/x.php, line 3"),
        ({"ui/x.php": "<?php $DB->insert_record('manireports_cloud_jobs', $x);"}, "ui/x.php, line 1"),
        ({"db/install.xml": INSTALL.replace("manireports_schedules", "manireports_cloud_outbox")}, "manireports_cloud_outbox"),
        ({"db/install.xml": INSTALL.replace('NAME="type"', 'NAME="colour"')}, "colour"),
        ({"db/install.xml": INSTALL.replace("</XMLDB>", "")}, "db/install.xml"),
        ({"db/install.xml": "<!DOCTYPE x>" + INSTALL}, "document type"),
        ({"db/access.php": FILES["db/access.php"].replace("viewadmindashboard", "viewcloudjobs")}, "viewcloudjobs"),
        ({"lang/en/local_manireports.php": GUARD + "$string['cloudjobs'] = 'Rain';\n"}, "cloudjobs"),
        ({"classes/cloud/sidecar.php": "<?php\n"}, "classes/cloud/sidecar.php"),
        ({"classes/Cloud/Sidecar.php": "<?php\n"}, "case"),
        ({"db/earlier/access.php": "<?php\n"}, "db/earlier/access.php"),
        ({"classes/cloud": "a file"}, "classes/cloud"),
        ({MARK: "{}"}, "already"),
    ],
)  # fmt: skip
def test_what_cannot_be_merged_is_refused_by_name(
    tmp_path: Path, changes: dict[str, str], named: str
) -> None:
    assert named in refused(tmp_path, changes)


def test_what_was_broken_before_is_told(tmp_path: Path) -> None:
    old = plant(tmp_path / "old", {**FILES, "ui/broken.php": "<?php\nif (\n"})
    result = merge(old, OURS)
    write(result, tmp_path / "out", keep=old)
    assert any("ui/broken.php" in warning for warning in result.warnings)


def test_symbolic_links_are_refused(tmp_path: Path) -> None:
    old = plant(tmp_path / "old", FILES)
    (old / "ui/link.php").symlink_to("/etc/passwd")
    with pytest.raises(MergeError, match="symbolic link"):
        merge(old, OURS)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts/merge_plugin.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


def test_the_command(tmp_path: Path) -> None:
    old = plant(tmp_path / "old", FILES)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in old.rglob("*") if p.is_file()}
    done = run(old, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "capabilities" in done.stdout
    assert "observer of core\\event\\user_created" in done.stdout
    assert {
        p: (p.read_bytes(), p.stat().st_mtime_ns) for p in old.rglob("*") if p.is_file()
    } == before
    again = run(old, tmp_path / "out")
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert "exists already" in again.stderr
    assert "only read" in run(old, old / "inside").stderr
    assert "no folder" in run(old, tmp_path / "no" / "out").stderr
    assert "no folder" in run(tmp_path / "nothing", tmp_path / "other").stderr
    assert "holds no Moodle plugin" in run(tmp_path, tmp_path / "other").stderr
    assert "already" in run(tmp_path / "out", tmp_path / "twice").stderr


TEXT = st.text(alphabet="ab {}()[]'\"\\/*#?<>$;\n", max_size=60)


@given(TEXT)
def test_taking_php_apart_keeps_every_position(text: str) -> None:
    masked = php.code("<?php\n" + text)
    assert len(masked) == len(text) + 6
    assert masked.count("\n") == text.count("\n") + 1


@given(st.text(alphabet="ab'\\;{}$\"", min_size=0, max_size=20))
def test_a_string_is_read_as_it_was_written(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    text = f"<?php\n$string['a'] = '{quoted}';\n$string['b'] = 'B';\n"
    found = strings(text)
    assert list(found) == ["a", "b"]
    assert found["b"] == "$string['b'] = 'B';"
