"""The pages are fresh: the references agree with the code, commands exist, links lead somewhere."""

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sidecar.cli import cli
from sidecar.config import load
from sidecar.settings import Settings
from tests.support.commands import groups_and_leaves, leaves

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
TABLES = ("moodle_config", "job_types")
UNSETTABLE = ("moodle_config_unread",)


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def test_the_reference_of_metrics_is_fresh() -> None:
    code = (
        "import sys; sys.path.insert(0, 'scripts');"
        " import make_docs; print(make_docs.page(), end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert page("metrics.md") == done.stdout, "run scripts/make_docs.py"


def described() -> dict[str, str]:
    """Key → default, as docs/configuration.md says."""
    rows = re.findall(r"^\| `\[?([a-z_]+)\]?` \| (.*?) \|", page("configuration.md"), re.MULTILINE)
    return dict(rows)


def test_every_key_is_described_and_no_other() -> None:
    names = {field.name for field in dataclasses.fields(Settings)} - {*UNSETTABLE}
    assert set(described()) == names


@pytest.mark.parametrize("name", sorted(f.name for f in dataclasses.fields(Settings)))
def test_the_described_default_is_the_default(name: str, tmp_path: Path) -> None:
    if name in (*TABLES, *UNSETTABLE):
        return
    default = next(f for f in dataclasses.fields(Settings) if f.name == name).default
    told = described()[name].strip().strip("`").removeprefix("from config.php, ").strip("`")
    if default in (None, "") or told.startswith(("from ", "the ", "<")):
        return
    if isinstance(default, bool):
        assert told == str(default).lower()
        return
    file = tmp_path / "s.toml"
    literal = told if re.fullmatch(r"[\d.]+", told) and told.count(".") < 2 else f'"{told}"'
    file.write_text(f'database_url = "mysql://a@b/c"\n{name} = {literal}\n')
    if name in {"metrics_tls_cert", "metrics_tls_key"}:
        return
    assert getattr(load(file, {}), name) == default


def commands() -> list[tuple[str, str]]:
    """(page, command line) of every command of ours in a block of the docs or in backticks."""
    found = []
    for path in PAGES:
        text = path.read_text("utf-8")
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
            lines = re.findall(r"^[$#] (?:.*\| )?manireports-sidecar (.*)$", block, re.MULTILINE)
            found += [(path.name, line) for line in lines]
        found += [(path.name, line) for line in re.findall(r"`manireports-sidecar ([^`]+)`", text)]
    return found


@pytest.mark.parametrize(("where", "line"), commands())
def test_every_command_and_option_of_the_docs_exists(where: str, line: str) -> None:
    words = re.sub(r"\s#.*", "", line).replace("…", "").split()
    current: click.Command = cli
    context = click.Context(cli)
    while words and isinstance(current, click.Group):
        name = words.pop(0)
        command = current.get_command(context, name)
        assert command, f"{where}: {line}"
        current = command
    known = {option for parameter in current.params for option in parameter.opts} | {"--help"}
    used = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert used <= known, f"{where}: {line}"


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    return set(plain)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in _anchors(there.read_text("utf-8")), f"{path.name}: {target}"


def test_every_command_has_help_with_a_first_sentence() -> None:
    for name, command in groups_and_leaves():
        assert command.help, name
        assert command.help.splitlines()[0].endswith("."), name


def examples(command: click.Command) -> list[list[str]]:
    """The examples in a command's help: the words behind our name, up to a pipe."""
    text = (command.help or "").replace("\\\n", " ")
    _, _, shown = re.sub(r"Examples?:\n", "\0", text).partition("\0")
    lines = [line.rpartition("manireports-sidecar ")[2] for line in shown.strip().splitlines()]
    found = []
    for line in lines:
        words = shlex.split(line)
        end = min((words.index(mark) for mark in ("|", ">") if mark in words), default=len(words))
        found.append(words[:end])
    return found


@pytest.mark.parametrize(("name", "command"), leaves().items(), ids=lambda value: str(value)[:20])
def test_every_command_has_examples_that_are_command_lines(
    name: str, command: click.Command
) -> None:
    found = examples(command)
    assert found, f"{name}: no Example: in its help"
    for words in found:
        own = words[2:] if words[0] == "--config" else words
        length = len(name.split())
        assert own[:length] == name.split(), words
        assert complaint(command, own[length:]) == "", words


def complaint(command: click.Command, words: list[str]) -> str:
    """Why click refuses a command line; a file or folder that is not here is no reason."""
    try:
        command.make_context(command.name, words).close()
    except click.UsageError as error:
        told = error.format_message()
        return "" if "does not exist" in told else told
    return ""
