"""Every command that the pages show is run here as it is written, or is marked as an example."""

import re
import shlex
from pathlib import Path

import pytest

from tests.e2e.world import World
from tests.support.wait import wait_for

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
OURS = "manireports-sidecar "
OF_TESTS_OF_THEIR_OWN = ("scripts/demo.sh", "scripts/test.sh", "scripts/build.sh")


def shown(path: Path) -> list[str]:
    """The commands of a page that are not marked as examples, with their comments.

    A word ``example`` in the comment behind a command marks it, one in the lines before a block
    marks the whole block.
    """
    text = path.read_text("utf-8").replace("\\\n", " ")
    found: list[str] = []
    for before, block in re.findall(r"((?:[^\n]*\n){2})```console\n(.*?)```", text, re.DOTALL):
        found += _unmarked(before, block)
    return found


def _unmarked(before: str, block: str) -> list[str]:
    if re.search(r"\bexample\b", before):
        return []
    lines = re.findall(r"^[$#] (?:sudo )?(.*)$", block, re.MULTILINE)
    return [line for line in lines if not re.search(r"#.*\bexample\b", line)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_is_no_command_of_ours_is_marked_as_an_example(path: Path) -> None:
    for line in shown(path):
        assert line.startswith((OURS, "cat ", *OF_TESTS_OF_THEIR_OWN)), line


@pytest.mark.parametrize("name", ["README.md", "docs/companies.md", "docs/install.md"])
def test_a_page_works_as_it_is_written(world: World, name: str) -> None:
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    for line in shown(ROOT / name):
        if line.startswith(OURS):
            run(world, shlex.split(line, comments=True)[1:])


def test_the_other_pages_have_no_command_that_nobody_runs() -> None:
    pages = {"README.md", "companies.md", "install.md"}
    for path in PAGES:
        if path.name not in pages:
            assert not [line for line in shown(path) if line.startswith(OURS)], path.name


def run(world: World, arguments: list[str]) -> None:
    """Run a command to its end; the daemon until its twelve mails are sent."""
    if arguments != ["run"]:
        world.command(*arguments)
        return
    with world.start() as sidecar:
        wait_for(lambda: world.states() == {"sent": 12}, 30, "the mails are sent")
        assert sidecar.stop() == 0
