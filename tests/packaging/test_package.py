"""The release files: made by one command, and the Debian package installed, upgraded, removed and
purged on this Debian, in a copy of its file system that is thrown away."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from sidecar import __version__
from sidecar.demo.site import Site
from tests.packaging.release import ROOT, build
from tests.support.config import write_config
from tests.support.processes import Sidecar, call_sidecar

SCRIPT = r"""
set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t proc proc "$1/root/proc" 2>/dev/null || mount --rbind /proc "$1/root/proc"
cp "$2" "$1/root/package.deb"
cp "$3" "$1/root/steps.sh"
mkdir -p "$1/root$SITE"
cp -r "$SITE/." "$1/root$SITE"
exec chroot "$1/root" /bin/bash /steps.sh
"""
"""Installs in a mount namespace of its own: this system stays as it is."""

STEPS = Path(__file__).with_name("steps.sh")


@pytest.fixture
def claimed(tmp_path: Path) -> Path:
    """A folder with the database of a site whose sidecar was killed with 12 claimed mails in its
    hands, and ``environment``, the whole configuration of that sidecar."""
    folder = tmp_path / "site"
    folder.mkdir()
    site = Site(f"sqlite:///{folder / 'site.db'}")
    site.install(smtphosts="127.0.0.1:9")
    site.add_company(1, "Acme Training Ltd")
    config = write_config(folder, str(site.engine.url), lease_seconds=1)
    for command in (
        ("schema", "--create"),
        ("company", "set", "1", "--provider", "smtp", "--enable"),
    ):
        done = call_sidecar(config, *command)
        assert done.returncode == 0, done.stderr
    site.queue("user_create", 1, site.add_users(1, 12))
    with Sidecar(config) as sidecar:
        sidecar.wait_for_line("claimed 12 rows")
    site.engine.dispose()
    values = tomllib.loads(config.read_text("utf-8"))
    lines = [
        f"MANIREPORTS_{key.upper()}=" + (f'"{value}"\n' if isinstance(value, str) else f"{value}\n")
        for key, value in values.items()
        if key != "state_dir"
    ]
    (folder / "environment").write_text("".join(lines), "utf-8")
    return folder


def test_the_same_commit_gives_the_same_files(dist: Path, tmp_path: Path) -> None:
    parts = ("python_packages", "plugin", "workers", "watching", "units")
    build(tmp_path, *parts)
    again = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name != "SHA256SUMS"}
    assert len(again) >= 5
    assert [name for name, content in again.items() if (dist / name).read_bytes() != content] == []
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=dist, check=True)


def test_what_is_in_the_files(dist: Path) -> None:
    assert all(__version__ in path.name for path in dist.iterdir() if path.name != "SHA256SUMS")
    with zipfile.ZipFile(dist / f"local_manireports-{__version__}.zip") as plugin:
        names = plugin.namelist()
    assert {name.split("/")[0] for name in names} == {"manireports"}, "as Moodle's installer wants"
    assert "manireports/version.php" in names
    with zipfile.ZipFile(dist / f"manireports-worker-aws-{__version__}.zip") as worker:
        assert "lambda_handler.py" in worker.namelist()
    with zipfile.ZipFile(dist / f"manireports_sidecar-{__version__}-py3-none-any.whl") as wheel:
        assert "sidecar/metrics/alerts/manireports.rules.yml" in wheel.namelist()
        assert not any(name.startswith(("tests/", "benchmarks/")) for name in wheel.namelist())
    with tarfile.open(dist / f"manireports_sidecar-{__version__}.tar.gz") as source:
        assert {member.uname for member in source.getmembers()} == {""}


def test_what_is_installed_can_deploy_its_workers(dist: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(dist / f"manireports_sidecar-{__version__}-py3-none-any.whl") as wheel:
        wheel.extractall(tmp_path)
    code = (
        "from pathlib import Path; from sidecar.cli.wrangler import configuration;"
        " from sidecar.connectors.aws_stack import FILES, packed_handler;"
        " packed_handler(); print(FILES); print(configuration('x', 'y', {})['main'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    aws, worker = map(Path, done.stdout.split())
    assert aws == tmp_path / "cloud_workers" / "aws"
    ours = ROOT / "cloud_workers" / "cloudflare"
    wanted = {path.relative_to(ours) for path in (*ours.glob("*.js"), *ours.glob("senders/*.js"))}
    there = {path.relative_to(worker.parent) for path in worker.parent.rglob("*.js")}
    assert there == wanted


def test_the_package_names_somebody_who_can_be_asked(dist: Path) -> None:
    (package,) = dist.glob("*.deb")
    named = subprocess.run(
        ["dpkg-deb", "--field", str(package), "Maintainer"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.fullmatch(r"ManiReports maintainers <\S+@\S+>\n", named)
    assert "localhost" not in named


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="installing a package needs root")
def test_the_package_installs_upgrades_and_goes(dist: Path, tmp_path: Path, claimed: Path) -> None:
    (package,) = dist.glob("*.deb")
    place = tmp_path / "place"
    place.mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", SCRIPT, "-", str(place), str(package), str(STEPS)],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "BUILD_ROOT": str(ROOT),
            "SITE": str(claimed),
        },
    )
    if "overlay" in done.stderr and "mount:" in done.stderr:
        pytest.skip("this system lets nobody mount an overlay")
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(re.findall(r"^== (\w+) (.*)$", done.stdout, re.MULTILINE))
    assert __version__ in said["version"]
    assert said["user"].endswith(":/usr/sbin/nologin")
    assert said["etc"] == "750 root manireports-sidecar"
    assert said["state"] == "700 manireports-sidecar"
    assert said["enabled"] == "1"
    assert said["foreign"] == "0 writable 0"
    assert said["imports"].startswith("/opt/manireports-sidecar/lib/")
    assert "/cloud_workers/cloudflare/worker.js" in said["workers"]
    assert said["workers"].startswith("worker/")
    assert said["rules"] == "manireports.rules.yml"
    assert said["completes"] == "yes"
    assert said["leaks"] == "0"
    assert said["kept"] == "# mine"
    assert said["mode"] == "640 root manireports-sidecar"
    by_environment, by_file = done.stdout.split("remove: manireports-sidecar: drain (")[1:]
    assert by_environment.startswith("/etc/manireports-sidecar/environment)")
    assert "remove: drained: no mail is left with the sidecar" in by_environment
    assert "not everything" not in by_environment
    assert (said["claimed"], said["unsent"]) == ("0", "12 state site.json")
    assert by_file.startswith("/etc/manireports-sidecar/school.toml)")
    assert "not everything could be handed back" in by_file
    assert said["gone"] == "0 config 2"
    assert said["purged"] == "0"
