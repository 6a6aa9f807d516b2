"""A secret that every user of the host can read is refused, with what to do about it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.config import load
from sidecar.errors import ConfigError
from sidecar.secret_files import refuse_if_public

URL = "mysql://moodle:hunter2@db.example.test/moodle"


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody on the host may enter, as /etc is."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def secret(folder: Path, mode: int, text: str = "x", name: str = "secret") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o660, 0o641])
def test_what_only_some_can_read_passes(public: Path, mode: int) -> None:
    refuse_if_public(secret(public, mode), "a key")


@pytest.mark.parametrize(("mode", "verb"), [(0o644, "read"), (0o606, "read"), (0o602, "change")])
def test_the_message_names_file_mode_and_cure(public: Path, mode: int, verb: str) -> None:
    path = secret(public, mode)
    with pytest.raises(ConfigError) as caught:
        refuse_if_public(path, "a key")
    assert str(caught.value) == (
        f"{path} holds a key and everybody on this host can {verb} it (mode {mode:04o}):"
        f" chmod o-rw {path}"
    )


def test_a_folder_that_others_cannot_enter_is_enough(public: Path) -> None:
    path = secret(public, 0o644)
    public.chmod(0o750)
    refuse_if_public(path, "a key")


def test_a_link_is_as_open_as_what_it_leads_to(public: Path) -> None:
    link = public / "link"
    link.symlink_to(secret(public, 0o644))
    with pytest.raises(ConfigError, match=r"link holds a key .*mode 0644"):
        refuse_if_public(link, "a key")


def test_a_file_that_is_not_there_is_for_its_reader(public: Path) -> None:
    refuse_if_public(public / "nowhere", "a key")
    refuse_if_public(public / "no\0where", "a key")


def test_the_configuration_with_a_password(public: Path) -> None:
    path = secret(public, 0o644, f'database_url = "{URL}"')
    load(path, {"MANIREPORTS_DATABASE_URL": URL})  # the file's password is not the one in use
    with pytest.raises(ConfigError, match="holds the database password and everybody") as caught:
        load(path, {})
    assert "hunter2" not in str(caught.value)
    path.chmod(0o640)
    load(path, {})


@pytest.mark.parametrize("name", ["smtppass", "passwordpeppers", "local_x/apisecret"])
def test_the_configuration_with_a_secret_of_moodle(public: Path, name: str) -> None:
    text = f'database_url = "mysql://a@b/c"\n[moodle_config]\n"{name}" = "hunter2"'
    path = secret(public, 0o644, text)
    with pytest.raises(ConfigError, match="holds the secret moodle_config value") as caught:
        load(path, {})
    assert name in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_configuration_without_a_secret_may_be_public(public: Path) -> None:
    text = 'database_url = "mysql://a@b/c"\n[moodle_config]\nnoemailever = true\nsmtppass = ""'
    load(secret(public, 0o644, text), {})


@pytest.mark.parametrize(
    ("key", "others"),
    [
        ("metrics_password_file", 'metrics_user = "p"'),
        ("metrics_tls_key", 'metrics_tls_cert = "/etc/ssl/cert.pem"'),
    ],
)
def test_the_files_that_settings_name(public: Path, key: str, others: str) -> None:
    named = secret(public, 0o644, name="named")
    text = f'database_url = "mysql://a@b/c"\n{key} = "{named}"\n{others}'
    path = secret(public, 0o644, text)
    with pytest.raises(ConfigError, match=rf"named holds the secret that {key} names .*chmod o-rw"):
        load(path, {})
    named.chmod(0o640)
    load(path, {})
