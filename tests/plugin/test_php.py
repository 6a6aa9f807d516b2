"""The plugin's PHP: syntax, strings, and the tests of the classes that need no Moodle."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "moodle_plugin"
OURS = [*sorted(PLUGIN.rglob("*.php")), *sorted(Path(__file__).parent.rglob("*.php"))]
STRINGS = PLUGIN / "lang" / "en" / "local_manireports.php"


def lint(file: Path) -> str:
    """What is wrong with a file; empty if nothing is."""
    command = ["php", "-d", "display_errors=1", "-d", "error_reporting=-1", "-l", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    good = done.returncode == 0 and done.stdout.startswith("No syntax errors")
    return "" if good else done.stdout + done.stderr


def test_every_file_is_correct_php() -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wrong = [text for text in pool.map(lint, OURS) if text]
    assert not wrong


def test_classes_that_need_no_moodle() -> None:
    folder = Path(__file__).parent / "phpunit"
    done = subprocess.run(
        [
            *(
                "phpunit",
                "--bootstrap",
                str(folder / "bootstrap.php"),
                "--test-suffix",
                "_test.php",
            ),
            *("--fail-on-warning", "--fail-on-risky", "--do-not-cache-result", str(folder)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OK (" in done.stdout


def test_strings_are_in_order_and_those_that_are_asked_for_exist() -> None:
    names = re.findall(r"^\$string\['([^']+)'\]", STRINGS.read_text("utf-8"), re.MULTILINE)
    assert names == sorted(set(names))
    asked = re.compile(r"(?:get_string|lang_string)\(\s*'([^']+)',\s*'local_manireports'")
    for file in PLUGIN.rglob("*.php"):
        missing = set(asked.findall(file.read_text("utf-8"))) - set(names)
        assert not missing, file


def test_every_file_of_the_plugin_says_its_licence_and_ends_in_php() -> None:
    for file in PLUGIN.rglob("*.php"):
        text = file.read_text("utf-8")
        assert text.startswith("<?php\n// This file is part of Moodle"), file
        assert "?>" not in text, file
