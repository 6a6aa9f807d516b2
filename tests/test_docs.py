"""The pages are fresh: the references agree with the code, commands exist, links lead somewhere."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sidecar.cli import cli
from sidecar.config import load
from sidecar.settings import Settings

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
    context = click.Context(cli)

    def walk(group: click.Group) -> None:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command, name
            assert command.help, name
            assert command.help.splitlines()[0].endswith("."), name
            if isinstance(command, click.Group):
                walk(command)

    walk(cli)
