"""The site's key and the settings under it, as Moodle makes and reads them."""

import base64
import os
import resource
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.errors import EncryptionError
from sidecar.moodle.encryption import Vault, key_path, make_key, read_key

from .php import run
from .test_encryption import PHP_DECRYPT, PHP_ENCRYPT

WEB_SERVER = 33


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def _sodium() -> None:
    if run("echo extension_loaded('sodium') ? 1 : 0;") != b"1":
        pytest.skip("this php has no sodium extension")


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow: what a full disk does to a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_first_secret_makes_the_key_as_moodle_does(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    stored = vault.conceal("secret")
    path = tmp_path / "secret" / "key" / "sodium.key"
    assert key_path(tmp_path) == path
    assert len(path.read_bytes()) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert [each.name for each in path.parent.iterdir()] == ["sodium.key"]
    assert stored.startswith("sodium:")
    assert vault.reveal(stored) == Vault(tmp_path).reveal(stored) == "secret"


def test_a_key_that_is_there_stays(tmp_path: Path) -> None:
    path = key_path(tmp_path)
    make_key(path)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    make_key(path)
    Vault(tmp_path).conceal("secret")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_every_site_has_a_key_of_its_own(tmp_path: Path) -> None:
    one, other = Vault(tmp_path / "one"), Vault(tmp_path / "other")
    stored = one.conceal("secret")
    other.conceal("secret")
    with pytest.raises(EncryptionError, match="another site's key"):
        other.reveal(stored)


def test_the_key_may_lie_apart_from_the_data(tmp_path: Path) -> None:
    data, apart = tmp_path / "data", tmp_path / "apart"
    data.mkdir()
    stored = Vault(data, apart).conceal("secret")
    assert key_path(data, apart) == apart / "key" / "sodium.key"
    assert key_path(data, apart).is_file()
    assert list(data.iterdir()) == []
    assert Vault(data, apart).reveal(stored) == "secret"


def test_two_who_make_the_key_at_the_same_time_have_the_same(tmp_path: Path) -> None:
    path = key_path(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make_key, [path] * 16))
    assert len(read_key(tmp_path)) == 32


def test_nothing_needs_no_key(tmp_path: Path) -> None:
    for vault in (Vault(tmp_path), Vault(None)):
        assert vault.conceal("") == ""
        assert vault.reveal("") == ""
    assert list(tmp_path.iterdir()) == []


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path: Path, text: str) -> None:
    vault = Vault(tmp_path)
    assert vault.reveal(vault.conceal(text)) == text


def test_reading_a_secret_never_makes_a_key(tmp_path: Path) -> None:
    with pytest.raises(EncryptionError, match="is missing"):
        Vault(tmp_path).reveal("sodium:AAAA")
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_moodle_makes_later_is_found(tmp_path: Path) -> None:
    stored = Vault(tmp_path / "there").conceal("secret")
    vault = Vault(tmp_path / "here")
    with pytest.raises(EncryptionError, match="missing"):
        vault.reveal(stored)
    (tmp_path / "there").rename(tmp_path / "here")
    assert vault.reveal(stored) == "secret"


def test_without_a_data_folder_there_is_no_vault() -> None:
    for use in (Vault(None).conceal, Vault(None).reveal):
        with pytest.raises(EncryptionError, match="set dataroot"):
            use("sodium:AAAA")


def test_a_full_disk_leaves_no_half_key(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    with full_disk(), pytest.raises(EncryptionError, match="cannot be made"):
        vault.conceal("secret")
    assert not key_path(tmp_path).exists()
    assert vault.reveal(vault.conceal("secret")) == "secret"


@pytest.mark.parametrize("broken", [b"", b"x" * 31, b"x" * 33])
def test_a_key_of_the_wrong_size_is_refused_and_stays(tmp_path: Path, broken: bytes) -> None:
    path = key_path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(broken)
    for use in (Vault(tmp_path).conceal, Vault(tmp_path).reveal):
        with pytest.raises(EncryptionError, match="bytes long, not 32"):
            use("sodium:AAAA")
    assert path.read_bytes() == broken


@pytest.mark.parametrize("where", ["secret", "secret/key", "secret/key/sodium.key"])
def test_a_place_where_no_key_can_be_is_an_error_of_its_own(tmp_path: Path, where: str) -> None:
    place = tmp_path / where
    place.parent.mkdir(parents=True, exist_ok=True)
    if where.endswith("sodium.key"):
        place.mkdir()
    else:
        place.write_text("a file")
    with pytest.raises(EncryptionError, match=r"sodium\.key cannot be (made|read)"):
        Vault(tmp_path).conceal("secret")


def test_a_folder_that_cannot_be_looked_into_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(EncryptionError, match="cannot be made"):
        Vault(tmp_path / ("x" * 300)).conceal("secret")


NOBODY = """
import os, sys
from pathlib import Path
from sidecar.errors import EncryptionError
from sidecar.moodle.encryption import Vault
os.setgid(65534)
os.setuid(65534)
try:
    getattr(Vault(Path(sys.argv[1])), sys.argv[2])("sodium:AAAA")
except EncryptionError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("use", ["conceal", "reveal"])
def test_who_is_not_the_web_server_is_told_so(use: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        Vault(root).conceal("secret")
        (root / "secret").chmod(0o700)
        command = [sys.executable, "-c", NOBODY, folder, use]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "run the sidecar as the web server's user" in done.stdout, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_roots_key_belongs_to_whom_the_folder_belongs(tmp_path: Path) -> None:
    os.chown(tmp_path, WEB_SERVER, WEB_SERVER)
    Vault(tmp_path).conceal("secret")
    path = key_path(tmp_path)
    for made in (path, path.parent, path.parent.parent):
        assert (made.stat().st_uid, made.stat().st_gid) == (WEB_SERVER, WEB_SERVER)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_folders_that_were_there_keep_their_owner(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    os.chown(secret, WEB_SERVER, WEB_SERVER)
    before = tmp_path.stat().st_uid
    Vault(tmp_path).conceal("secret")
    assert key_path(tmp_path).stat().st_uid == WEB_SERVER
    assert tmp_path.stat().st_uid == before


@pytest.mark.usefixtures("_sodium")
def test_moodle_reads_what_the_vault_stores_and_the_other_way_round(tmp_path: Path) -> None:
    vault, text = Vault(tmp_path), "søn 🎉 " * 20
    stored = vault.conceal(text)
    key = b64(key_path(tmp_path).read_bytes())
    assert run(PHP_DECRYPT, key, stored).decode() == text
    assert vault.reveal(run(PHP_ENCRYPT, key, b64(text.encode())).decode()) == text
