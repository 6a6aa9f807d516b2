"""The Containerfile: what it copies is here and enough to pack, what it starts exists, and it
agrees with the code and the Debian package. No image is built: that needs a registry."""

import re
import shutil
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from sidecar.cli import COMMANDS
from sidecar.settings import Settings
from tests.packaging.release import ROOT

FILE = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", " ")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def lines(word: str) -> list[list[str]]:
    """The arguments of each line that begins with a word."""
    return [line.split() for line in re.findall(rf"^{word} (.*)$", FILE, re.MULTILINE)]


COPIES = [(line[:-1], line[-1]) for line in lines("COPY") if not line[0].startswith("--from=")]


def found(source: str) -> list[Path]:
    """What a source of COPY means here."""
    return sorted(ROOT.glob(source))


@pytest.mark.parametrize("source", [source for sources, _ in COPIES for source in sources])
def test_every_path_that_is_copied_is_here_and_ours(source: str) -> None:
    assert found(source)
    known = subprocess.run(
        ["git", "ls-files", "--error-unmatch", *map(str, found(source))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert known.returncode == 0, known.stderr


def copied(place: Path) -> Path:
    """The folder that the build stage installs, made as COPY makes it."""
    for sources, target in COPIES:
        assert target.startswith("/source/")
        for path in (path for source in sources for path in found(source)):
            to = place / target.lstrip("/")
            if path.is_dir():
                shutil.copytree(path, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, to)
    return place / "source"


def test_what_is_copied_has_every_package_and_its_data(tmp_path: Path) -> None:
    source = copied(tmp_path)
    settings = PROJECT["tool"]["setuptools"]
    for package in settings["packages"]["find"]["include"]:
        assert (source / package.removesuffix(".*").replace(".", "/")).is_dir(), package
    for package, patterns in settings["package-data"].items():
        for pattern in patterns:
            assert list((source / package.replace(".", "/")).glob(pattern)), f"{package}: {pattern}"
    named = {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"], "constraints.txt"}
    assert named <= {path.name for path in source.iterdir()}


def test_it_starts_the_daemon_of_the_environment_that_it_made() -> None:
    ((entry,),) = lines("ENTRYPOINT")
    ((start,),) = lines("CMD")
    name = entry.strip('[]"')
    assert name in PROJECT["project"]["scripts"]
    assert start.strip('[]"') in COMMANDS
    assert "RUN python3 -m venv /opt/manireports-sidecar " in FILE
    assert "COPY --from=build /opt/manireports-sidecar /opt/manireports-sidecar\n" in FILE
    variables = dict(pair.split("=", 1) for line in lines("ENV") for pair in line)
    assert variables.pop("PATH").startswith("/opt/manireports-sidecar/bin:")
    known = {f"MANIREPORTS_{field.name.upper()}" for field in fields(Settings)}
    assert variables.keys() <= known
    assert lines("USER") == [["manireports-sidecar"]]


def test_its_health_is_asked_where_the_daemon_answers() -> None:
    assert f"http://127.0.0.1:{Settings().metrics_port}/healthz" in FILE
    assert "MANIREPORTS_METRICS_HOST=127.0.0.1" in FILE


def test_it_has_the_libraries_that_the_debian_package_asks_for() -> None:
    control = (ROOT / "packaging" / "debian" / "control.in").read_text("utf-8")
    (depends,) = re.findall(r"^Depends: (.*)$", control, re.MULTILINE)
    wanted = {entry.split()[0] for entry in depends.split(", ")} - {"adduser"}
    assert wanted <= set(FILE.rpartition("\nFROM ")[2].split())
