"""Where the metrics are served, as the settings say."""

from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.config import load
from sidecar.errors import ConfigError
from sidecar.metrics.door import door
from sidecar.settings import Settings
from tests.conftest import ConfigFile


@pytest.fixture
def settings(iomad_db: str, config_file: ConfigFile) -> Settings:
    """Those of a site with nothing set for the metrics."""
    return load(config_file(iomad_db), {})


def test_the_password_is_read_from_its_file(settings: Settings, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    opened = door(replace(settings, metrics_user="prometheus", metrics_password_file=password))
    assert (opened.user, opened.password) == ("prometheus", "s3cret")
    assert "s3cret" not in repr(opened)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "is empty"), (b"\xff", "not UTF-8"), (None, "cannot be read")]
)
def test_a_password_that_cannot_be_had_is_an_error(
    settings: Settings, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    password = tmp_path / "password"
    if content is not None:
        password.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as error:
        door(replace(settings, metrics_password_file=password))
    assert str(password) in str(error.value)


@pytest.mark.parametrize(
    ("host", "user", "warned"),
    [("127.0.0.1", "", False), ("0.0.0.0", "", True), ("0.0.0.0", "prometheus", True)],
)
def test_a_door_that_is_open_to_others_is_warned_of(
    settings: Settings, caplog: pytest.LogCaptureFixture, host: str, user: str, warned: bool
) -> None:
    door(replace(settings, metrics_host=host, metrics_user=user))
    assert bool(caplog.messages) == warned
