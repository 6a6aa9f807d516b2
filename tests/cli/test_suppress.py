"""`suppress`: add, list and remove, while no leader is alive."""

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from sidecar.cli import cli
from tests.conftest import ConfigFile

Run = Callable[..., str]


@pytest.fixture
def run(iomad_db: str, config_file: ConfigFile) -> Run:
    """Runs a command on a site with our tables; its output."""
    path = config_file(iomad_db)

    def command(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli, ["--config", str(path), *arguments])
        assert done.exit_code == code, done.output
        return done.output

    command("schema", "--create")
    return command


def test_suppress_add_list_remove(run: Run) -> None:
    assert "is suppressed" in run("suppress", "add", "Anna@X.test", "--scope", "campaigns")
    assert "was suppressed already" in run("suppress", "add", "anna@x.test", "--scope", "campaigns")
    run("suppress", "add", "anna@x.test", "--company", "3", "--reason", "bounce")
    entries = json.loads(run("suppress", "list", "--json"))
    assert [(e["email"], e["company_id"], e["scope"], e["reason"]) for e in entries] == [
        ("anna@x.test", 0, "campaigns", "manual"),
        ("anna@x.test", 3, "all", "bounce"),
    ]
    assert "was not suppressed there" in run("suppress", "remove", "anna@x.test", "--scope", "all")
    assert "gets mail again" in run("suppress", "remove", "ANNA@x.test")
    assert "company 3" in run("suppress", "list")
    assert "No address" in run("suppress", "list", "--company", "0")
    assert "address" in run("suppress", "add", "no address", code=1)
