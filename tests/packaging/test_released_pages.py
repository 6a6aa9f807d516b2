"""What the release files say and lead to: pages whose links resolve as installed, alerts whose
runbooks are there, units for those without the Debian package."""

import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from sidecar import __version__
from tests.packaging.release import ROOT, build
from tests.test_docs import anchors

INSTALLED = "/usr/share/doc/manireports-sidecar/docs/runbooks.md"
RULES = "alerts/manireports.rules.yml"


@pytest.fixture(scope="module")
def package(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the Debian package, as they will lie on a host."""
    (packed,) = dist.glob("*.deb")
    tree = tmp_path_factory.mktemp("package")
    subprocess.run(["dpkg-deb", "--extract", str(packed), str(tree)], check=True)
    return tree


@pytest.fixture(scope="module")
def monitoring(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The monitoring zip, unpacked."""
    tree = tmp_path_factory.mktemp("monitoring")
    with zipfile.ZipFile(dist / f"manireports-monitoring-{__version__}.zip") as packed:
        packed.extractall(tree)
    return tree


def broken_links(folder: Path) -> list[str]:
    """The relative links of all pages below, pictures too, that lead nowhere."""
    broken = []
    for page in folder.rglob("*.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
            name, _, anchor = target.partition("#")
            there = (page.parent / name).resolve() if name else page
            if "://" not in target and not (
                there.is_relative_to(folder)
                and there.is_file()
                and (not anchor or anchor in anchors(there.read_text("utf-8")))
            ):
                broken.append(f"{page.name}: {target}")
    return broken


def runbook_urls(rules: str) -> list[str]:
    return re.findall(r"runbook_url: (\S+)", rules)


def test_every_link_of_the_installed_pages_leads_somewhere(package: Path) -> None:
    pages = package / "usr" / "share" / "doc" / "manireports-sidecar"
    assert (pages / "docs" / "images" / "jobs.png").is_file()
    assert {p.name for p in (ROOT / "docs").glob("*.md")} <= {p.name for p in pages.glob("docs/*")}
    assert broken_links(pages) == []


def test_the_installed_units_name_a_page_that_is_there(package: Path) -> None:
    units = list((package / "lib" / "systemd" / "system").iterdir())
    assert len(units) == 2
    for unit in units:
        found = re.search(r"^Documentation=file://(\S+)$", unit.read_text("utf-8"), re.MULTILINE)
        assert found, unit.name
        assert (package / found[1].removeprefix("/")).is_file()


def test_every_installed_alert_leads_to_its_chapter(package: Path) -> None:
    rules = (package / "usr/share/manireports-sidecar" / RULES).read_text("utf-8")
    urls = runbook_urls(rules)
    assert len(urls) == rules.count("- alert:")
    chapters = anchors((package / INSTALLED.removeprefix("/")).read_text("utf-8"))
    for url in urls:
        page, _, chapter = url.partition("#")
        assert page == f"file://{INSTALLED}"
        assert chapter in chapters


def test_the_monitoring_files_bring_their_runbooks(dist: Path, monitoring: Path) -> None:
    urls = runbook_urls((monitoring / RULES).read_text("utf-8"))
    assert all(url.startswith(f"file://{INSTALLED}#") for url in urls)
    assert (monitoring / "docs" / "runbooks.md").is_file()
    assert broken_links(monitoring) == []
    with zipfile.ZipFile(dist / f"manireports_sidecar-{__version__}-py3-none-any.whl") as wheel:
        assert runbook_urls(wheel.read(f"sidecar/metrics/{RULES}").decode()) == urls


def test_the_runbooks_may_be_in_ones_own_wiki(tmp_path: Path) -> None:
    build(tmp_path, "watching", RUNBOOK_BASE="https://wiki.example.org/mail?page=7")
    (packed,) = tmp_path.glob("*.zip")
    with zipfile.ZipFile(packed) as monitoring:
        (first, *_) = runbook_urls(monitoring.read(RULES).decode())
    assert first == "https://wiki.example.org/mail?page=7#manireportsdown"


def test_a_base_that_is_no_url_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ROOT / "scripts" / "build.sh"), "watching"],
        env=os.environ | {"DIST": str(tmp_path), "RUNBOOK_BASE": "wiki#top"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "RUNBOOK_BASE" in done.stderr


def test_the_units_are_a_release_file(dist: Path) -> None:
    with zipfile.ZipFile(dist / f"manireports-systemd-{__version__}.zip") as units:
        there = {name: units.read(name) for name in units.namelist()}
    wanted = {f"systemd/{path.name}": path.read_bytes() for path in (ROOT / "systemd").iterdir()}
    assert there == wanted
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    named = set(re.findall(r"\bmanireports-sidecar@?\.(?:service|sysusers|tmpfiles)\b", page))
    assert {Path(name).name for name in there} == named | {"environment.example"}
