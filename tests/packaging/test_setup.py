"""``setup`` on sites as they are: config.php 0640, the key 0400, moodledata 02770; read afterwards
by the very user that the service runs as."""

import os
import pwd
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar import site_setup
from sidecar.config import load
from sidecar.errors import ConfigError
from sidecar.site_setup import Account
from tests.support.processes import clean_environment

SERVICE, WEB = "nobody", "www-data"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand files over")

READ = """
import sys
from pathlib import Path
from sidecar.moodle import config_php
from sidecar.moodle.encryption import Vault
from sidecar.systemd import MOODLE_KEY, credential
config = config_php.read(Path(sys.argv[1]))
dataroot = Path(config.values["dataroot"])
print(config.values["dbname"], len(Vault(dataroot, None, credential(MOODLE_KEY)).key()))
print((dataroot / "filedir" / "file").read_text())
"""


@pytest.fixture
def site() -> Iterator[Path]:
    """A Moodle of which only root and the web server may read what matters."""
    web = pwd.getpwnam(WEB)
    with tempfile.TemporaryDirectory(prefix="manireports-setup-", dir="/var/lib") as name:
        root = Path(name)
        root.chmod(0o755)
        code, data = root / "moodle", root / "moodledata"
        (data / "filedir").mkdir(parents=True)
        (data / "secret" / "key").mkdir(parents=True)
        code.mkdir()
        (code / "lib").mkdir()
        (code / "config.php").write_text(
            "<?php\n$CFG = new stdClass();\n$CFG->dbtype = 'mariadb';\n$CFG->dbname = 'moodle';\n"
            f"$CFG->dataroot = '{data}';\n$CFG->wwwroot = 'https://m.example.test';\n"
            "require_once(__DIR__ . '/lib/setup.php');\n"
        )
        (data / "secret" / "key" / "sodium.key").write_bytes(b"k" * 32)
        (data / "filedir" / "file").write_text("attached")
        for path in (data, *data.rglob("*")):
            os.chown(path, web.pw_uid, web.pw_gid)
            path.chmod(0o2770 if path.is_dir() else 0o660)
        (data / "secret" / "key" / "sodium.key").chmod(0o400)
        (data / "secret" / "key").chmod(0o2700)
        os.chown(code / "config.php", 0, web.pw_gid)
        (code / "config.php").chmod(0o640)
        yield root


def read_as_service(needs: site_setup.Needs, root: Path) -> str:
    """What the service's user reads of the site, started as systemd would start it."""
    credentials = root / "credentials"
    credentials.mkdir(exist_ok=True)
    user = pwd.getpwnam(SERVICE)
    for name, source in needs.credentials.items():
        copy = credentials / name
        copy.write_bytes(source.read_bytes())
        copy.chmod(0o400)
        os.chown(copy, user.pw_uid, user.pw_gid)
    here = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory(prefix="manireports-code-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        subprocess.run(["cp", "-r", str(here / "sidecar"), name], check=True)
        subprocess.run(["chmod", "-R", "a+rX", name], check=True)
        done = subprocess.run(
            [*as_user(user, needs.groups), sys.executable, "-c", READ, str(root / "moodle")],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=clean_environment()
            | {
                "PYTHONPATH": name,
                "PYTHONDONTWRITEBYTECODE": "1",
                "CREDENTIALS_DIRECTORY": str(credentials),
            },
        )
    if "ermission denied" in done.stderr and "python" in done.stderr.split("\n")[0]:
        pytest.skip("this Python is where only its owner may run it")
    assert done.returncode == 0, done.stderr
    return done.stdout


def as_user(user: pwd.struct_passwd, groups: list[str]) -> list[str]:
    more = f"--groups={','.join(groups)}" if groups else "--clear-groups"
    return [
        *("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", more),
        *("--no-new-privs", "--inh-caps=-all", "--"),
    ]


def test_a_site_that_only_the_web_server_reads(site: Path) -> None:
    needs = site_setup.find_needs(site / "moodle", Account.find(SERVICE))
    assert needs.groups == [WEB]
    assert list(needs.credentials) == ["moodle-key"], "the group reads config.php"
    text = site_setup.drop_in(needs, 252)
    assert f"SupplementaryGroups={WEB}\n" in text
    assert f"LoadCredential=moodle-key:{site}/moodledata/secret/key/sodium.key\n" in text
    assert f"ReadOnlyPaths={site}/moodledata\n" in text
    assert "RestartSteps" not in text
    assert "RestartSteps=6" in site_setup.drop_in(needs, 254)
    assert read_as_service(needs, site) == "moodle 32\nattached\n"


def test_config_php_that_only_root_reads(site: Path) -> None:
    (site / "moodle" / "config.php").chmod(0o400)
    needs = site_setup.find_needs(site / "moodle", Account.find(SERVICE))
    assert sorted(needs.credentials) == ["config.php", "moodle-key"]
    assert any("restart the service" in note for note in needs.notes)
    assert read_as_service(needs, site) == "moodle 32\nattached\n"


def test_a_site_that_everybody_reads_needs_nothing(site: Path) -> None:
    subprocess.run(["chmod", "-R", "a+rX", str(site)], check=True)
    needs = site_setup.find_needs(site / "moodle", Account.find(SERVICE))
    assert (needs.credentials, needs.groups, needs.notes) == ({}, [], [])
    assert read_as_service(needs, site) == "moodle 32\nattached\n"


def test_no_key_yet_is_told(site: Path) -> None:
    (site / "moodledata" / "secret" / "key" / "sodium.key").unlink()
    needs = site_setup.find_needs(site / "moodle", Account.find(SERVICE))
    assert any("generate_key.php" in note for note in needs.notes)


def test_config_php_is_not_run_by_root(site: Path) -> None:
    config = site / "moodle" / "config.php"
    text = config.read_text()
    config.write_text(text.replace("$CFG = new", "touch('/tmp/manireports-was-run'); $CFG = new"))
    site_setup.find_needs(site / "moodle", Account.find(SERVICE))
    assert not Path("/tmp/manireports-was-run").exists()
    config.write_text("<?php $CFG->dataroot = getenv('X') . strrev('x');")
    with pytest.raises(ConfigError, match="--dataroot"):
        site_setup.find_needs(site / "moodle", Account.find(SERVICE))
    data = site / "moodledata"
    needs = site_setup.find_needs(site / "moodle", Account.find(SERVICE), data)
    assert data in needs.read_only


def test_a_site_at_home_is_bound_into_the_sandbox(site: Path) -> None:
    needs = site_setup.Needs(read_only=[Path("/home/anna/moodle"), Path("/homes/moodle")])
    text = site_setup.drop_in(needs, 252)
    assert "ProtectHome=tmpfs\nBindReadOnlyPaths=/home/anna/moodle\n" in text
    assert "ReadOnlyPaths=/homes/moodle\n" in text
    with pytest.raises(ConfigError, match="blanks"):
        site_setup.drop_in(site_setup.Needs(read_only=[Path("/srv/my moodle")]), 252)


def set_up(site: Path, instance: str, *more: str) -> str:
    """What the command says, into an image of a host."""
    command = [sys.executable, "-m", "sidecar", "setup", "--moodle-dir", str(site / "moodle")]
    command += ["--user", SERVICE, "--root", str(site / "image"), *more]
    if instance:
        command += ["--instance", instance]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=clean_environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_writes_both_files_and_shows_them_before(site: Path) -> None:
    root = site / "image"
    assert "LoadCredential=" in set_up(site, "", "--dry-run")
    assert not root.exists()
    assert "enable --now manireports-sidecar," in set_up(site, "")
    config = root / "etc" / "manireports-sidecar" / "sidecar.toml"
    assert config.read_text() == f'moodle_dir = "{site}/moodle"\n'
    assert config.stat().st_mode & 0o777 == 0o640
    config.write_text("# mine\n")
    set_up(site, "")
    assert config.read_text() == "# mine\n", "a configuration that is there stays"
    drop_in = root / "etc/systemd/system/manireports-sidecar.service.d/10-site.conf"
    assert drop_in.read_text().startswith("# Written by")


def test_two_sites_of_a_host_share_neither_state_nor_port(site: Path) -> None:
    folder = site / "image" / "etc" / "manireports-sidecar"
    set_up(site, "")
    (folder / "third.environment").write_text('MANIREPORTS_METRICS_PORT="9470"\n')
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 9471))
        other.listen()
        said = [set_up(site, name) for name in ("school", "college")]
    one, two, unnamed = (
        load(folder / f"{name}.toml", {"MANIREPORTS_DATABASE_URL": "mysql://a@b/c"})
        for name in ("school", "college", "sidecar")
    )
    assert (one.state_dir, two.state_dir) == (
        Path("/var/lib/manireports-sidecar-school"),
        Path("/var/lib/manireports-sidecar-college"),
    )
    assert unnamed.state_dir == Path("/var/lib/manireports-sidecar")
    assert one.metrics_port not in {9470, 9471}, "which are taken"
    assert len({one.metrics_port, two.metrics_port, unnamed.metrics_port}) == 3
    assert f"its metrics are at port {one.metrics_port}" in said[0]
    assert "manireports-sidecar --config /etc/manireports-sidecar/college.toml status" in said[1]
    unit = Path(__file__).parents[2] / "systemd" / "manireports-sidecar@.service"
    assert "STATE_DIR=%S/manireports-sidecar-%i\n" in unit.read_text(), "as the file says"


def test_a_site_that_was_set_up_without_them_is_told(site: Path) -> None:
    config = site / "image" / "etc" / "manireports-sidecar" / "school.toml"
    config.parent.mkdir(parents=True)
    config.write_text('moodle_dir = "/srv/moodle"\nmetrics_port = 9999\n')
    said = set_up(site, "school")
    assert 'add `state_dir = "/var/lib/manireports-sidecar-school"`' in said
    assert "metrics_port" not in said
    assert config.read_text() == 'moodle_dir = "/srv/moodle"\nmetrics_port = 9999\n'
