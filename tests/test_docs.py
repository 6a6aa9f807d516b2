"""The pages are fresh: the references agree with the code, commands exist, links lead somewhere."""

import dataclasses
import re
import shlex
from pathlib import Path

import click
import pytest

from scripts import make_docs
from scripts.describe_settings import UNSETTABLE, WITHOUT, duration, filled
from sidecar.cli import cli
from sidecar.config import load
from sidecar.settings import Settings
from tests.support.commands import groups_and_leaves, leaves

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def test_the_references_are_fresh() -> None:
    again = "run python -m scripts.make_docs"
    assert page("metrics.md") == make_docs.page(), again
    assert page("configuration.md") == filled(page("configuration.md")), again


def described() -> dict[str, str]:
    """Key → default, as docs/configuration.md says."""
    text = page("configuration.md")
    return dict(re.findall(r"^\| `\[?([a-z_]+)\]?` \| (.*?) ?\|", text, re.MULTILINE))


def test_every_key_is_described_and_no_other() -> None:
    names = {field.name for field in dataclasses.fields(Settings)} - {UNSETTABLE}
    assert set(described()) == names


@pytest.mark.parametrize("name", sorted(described()))
def test_the_described_default_is_the_default(name: str, tmp_path: Path) -> None:
    """Written into the file as the page says it, with its unit, it is what the code has."""
    default = next(f for f in dataclasses.fields(Settings) if f.name == name).default
    told = described()[name]
    if default in (None, "", dataclasses.MISSING):
        assert told == WITHOUT.get(name, ""), "the code has no value of its own"
        return
    told = told.removeprefix("from config.php, ").strip("`")
    literal = told if re.fullmatch(r"\d+|true|false", told) else f'"{told}"'
    file = tmp_path / "s.toml"
    file.write_text(f'database_url = "mysql://a@b/c"\n{name} = {literal}\n')
    assert getattr(load(file, {}), name) == default


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.5, "500ms"), (1.0, "1s"), (30.0, "30s"), (90.0, "90s"), (1_800.0, "30m"), (86_400.0, "1d")],
)
def test_durations_in_their_largest_unit(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def commands() -> list[tuple[str, str]]:
    """(page, command line) of every command of ours in a block of the docs or in backticks."""
    found = []
    for path in PAGES:
        text = path.read_text("utf-8")
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
            lines = re.findall(
                r"^[$#] (?:sudo |.*\| )?manireports-sidecar (.*)$", block, re.MULTILINE
            )
            found += [(path.name, line) for line in lines]
        found += [(path.name, line) for line in re.findall(r"`manireports-sidecar ([^`]+)`", text)]
    return found


@pytest.mark.parametrize(("where", "line"), commands())
def test_every_command_and_option_of_the_docs_exists(where: str, line: str) -> None:
    plain = re.sub(r"\s#.*", "", line).replace("…", "")
    words = re.sub(r"^--config \S+ ", "", plain).split()
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


def anchors(text: str) -> set[str]:
    """What a page's titles are linked by."""
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
            assert anchor in anchors(there.read_text("utf-8")), f"{path.name}: {target}"


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
