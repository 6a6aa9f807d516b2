"""TOML and the environment above it; errors are one line that names the key."""

import contextlib
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import config
from sidecar.config import load
from sidecar.errors import ConfigError
from sidecar.settings import Settings

URL = "mysql://moodle:hunter2@db.example.test/moodle"

WriteToml = Callable[[str], Path]


@pytest.fixture
def toml(tmp_path: Path) -> WriteToml:
    def write(text: str) -> Path:
        path = tmp_path / "sidecar.toml"
        path.write_text(text)
        path.chmod(0o640)
        return path

    return write


def test_defaults_need_only_a_database(toml: WriteToml) -> None:
    found = load(toml(f'database_url = "{URL}"'), {})
    assert found == Settings(database_url=URL)
    assert "hunter2" not in repr(found)


def test_every_key_can_be_set(toml: WriteToml) -> None:
    found = load(
        toml(
            """
            database_url = "sqlite:////tmp/site.db"
            table_prefix = ""
            wwwroot = "http://other.example.test/moodle"
            dataroot = "/data"
            state_dir = "/state"
            poll_interval = 2
            min_age = 0
            max_age = "2d"
            quiet_period = "1.5m"
            flush_after = "250ms"
            batch_size = 50
            max_job_size = 1
            max_body_size = 1_000
            bulk_threshold = 3
            give_up_after = "1h"
            smtp_connections = 8
            smtp_timeout = " 10 s "
            lease_seconds = 15.5
            metrics_host = "::1"
            metrics_port = 0
            only_sidecar_sends = true
            log_format = "json"
            log_level = "DEBUG"
            [job_types]
            my_template = "reengagement"
            [moodle_config]
            noemailever = false
            """
        ),
        {},
    )
    assert found == Settings(
        database_url="sqlite:////tmp/site.db",
        table_prefix="",
        wwwroot="http://other.example.test/moodle",
        dataroot=Path("/data"),
        state_dir=Path("/state"),
        poll_interval=2.0,
        min_age=0.0,
        max_age=172_800.0,
        quiet_period=90.0,
        flush_after=0.25,
        batch_size=50,
        max_job_size=1,
        max_body_size=1_000,
        bulk_threshold=3,
        give_up_after=3_600.0,
        smtp_connections=8,
        smtp_timeout=10.0,
        lease_seconds=15.5,
        metrics_host="::1",
        metrics_port=0,
        only_sidecar_sends=True,
        log_format="json",
        log_level="DEBUG",
        job_types={"my_template": "reengagement"},
        moodle_config={"noemailever": False},
    )


def test_the_environment_is_above_the_file(toml: WriteToml) -> None:
    env = {
        "MANIREPORTS_BATCH_SIZE": "7",
        "MANIREPORTS_MIN_AGE": "5m",
        "MANIREPORTS_ONLY_SIDECAR_SENDS": "Yes",
        "MANIREPORTS_DATABASE_URL": URL,
        "MANIREPORTS_TABLE_PREFIX": "",
        "OTHER": "x",
    }
    found = load(toml('batch_size = 5\nlog_format = "json"'), env)
    assert found == Settings(
        batch_size=7,
        min_age=300.0,
        only_sidecar_sends=True,
        database_url=URL,
        table_prefix="",
        log_format="json",
    )


def test_the_default_file_is_optional(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    default = tmp_path / "sidecar.toml"
    monkeypatch.setattr(config, "DEFAULT_FILE", default)
    assert load(None, {"MANIREPORTS_DATABASE_URL": URL}).batch_size == 100
    default.write_text("batch_size = 9")
    assert load(None, {"MANIREPORTS_DATABASE_URL": URL}).batch_size == 9


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("batchsize = 5", "unknown key 'batchsize'; did you mean 'batch_size'?"),
        ("moodle_config_unread = []", "unknown key 'moodle_config_unread'"),
        ("xyzzy = 5", "unknown key 'xyzzy'$"),
        ('batch_size = "5"', "batch_size must be a whole number, from 1 to 1000"),
        ("batch_size = 0", "batch_size must be a whole number, from 1 to 1000"),
        ("batch_size = true", "batch_size must be a whole number"),
        ("batch_size = 5.0", "batch_size must be a whole number"),
        ("max_job_size = -1", "max_job_size must be a whole number, at least 1"),
        ("metrics_port = 65536", "metrics_port must be a whole number, from 0 to 65535"),
        ("min_age = -1", "min_age must be a duration"),
        ("min_age = nan", "min_age must be a duration"),
        ("min_age = inf", "min_age must be a duration"),
        ("min_age = false", "min_age must be a duration"),
        ('min_age = "5 weeks"', "min_age must be a duration"),
        ('max_age = "-5m"', "max_age must be a duration"),
        (f"max_age = {10**400}", "max_age must be a duration"),
        ('poll_interval = "0s"', "poll_interval must be a duration longer than 0"),
        ("only_sidecar_sends = 1", "only_sidecar_sends must be true or false"),
        ("state_dir = 5", "state_dir must be the path of a folder"),
        ('moodle_dir = ""', "moodle_dir must be the path of a folder"),
        ("log_level = 5", "log_level must be text"),
        ('log_format = "xml"', "log_format must be one of text, json"),
        ('table_prefix = "mdl; DROP"', "table_prefix must be letters, digits and underscores"),
        ('wwwroot = "learn.example.test"', "wwwroot must be a URL that starts with http"),
        ('job_types = "x"', r"job_types must be a table, \[job_types\], in the file"),
        ('[job_types]\nx = "import"', "job_types must be template = one of csv_import"),
        ("[job_types]\nx = []", "job_types must be template = one of csv_import"),
        ("[moodle_config]\nx = []", "moodle_config must be name = text, number, true or false"),
        ("database_url = 5", "database_url must be a URL"),
        ('database_url = "hunter2"', "database_url must be a URL"),
        ('database_url = "mysql://u:hunter2@host"', "database_url must be a URL"),
        ('database_url = "mysql://u:hunter2@host:x/db"', "database_url must be a URL"),
        ('database_url = "oracle://u:hunter2@h/db"', "or postgresql:// URL"),
        ("batch_size =", "is not TOML"),
        (f"batch_size = {'9' * 5000}", "is not TOML"),
        ("", 'set moodle_dir = "/var/www/moodle"'),
    ],
)
def test_one_line_names_the_key_and_the_file(toml: WriteToml, text: str, complaint: str) -> None:
    path = toml(text)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: .*{complaint}") as caught:
        load(path, {})
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("MANIREPORTS_BATCHSIZE", "5", "unknown key 'batchsize'; did you mean 'batch_size'"),
        ("MANIREPORTS_BATCH_SIZE", "many", "batch_size must be a whole number"),
        ("MANIREPORTS_BATCH_SIZE", "", "batch_size must be a whole number"),
        ("MANIREPORTS_ONLY_SIDECAR_SENDS", "maybe", "only_sidecar_sends must be true or false"),
        ("MANIREPORTS_MIN_AGE", "soon", "min_age must be a duration"),
        ("MANIREPORTS_JOB_TYPES", "a=b", r"job_types must be a table, \[job_types\], in the file"),
        ("MANIREPORTS_DATABASE_URL", "hunter2", "database_url must be a URL"),
    ],
)
def test_one_line_names_the_variable(
    toml: WriteToml, name: str, value: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=f"^environment variable {name}: {complaint}") as caught:
        load(toml(""), {name: value})
    assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "nowhere.toml", {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {})
    path = tmp_path / "latin.toml"
    path.write_bytes("# Søn".encode("latin-1"))
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(path, {})


def test_a_password_in_the_environment_is_told(
    toml: WriteToml, caplog: pytest.LogCaptureFixture
) -> None:
    path = toml("")
    with caplog.at_level(logging.WARNING):
        load(path, {"MANIREPORTS_DATABASE_URL": URL})
    assert "the database password is in the environment" in caplog.text
    assert f"put database_url into {path}" in caplog.text
    assert "hunter2" not in caplog.text


@given(
    st.dictionaries(
        st.sampled_from(sorted(config._TYPES)) | st.text("abc_", min_size=1),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    )
)
def test_any_environment_is_refused_or_taken(values: dict[str, object]) -> None:
    env = {f"MANIREPORTS_{key.upper()}": json.dumps(value) for key, value in values.items()}
    env["MANIREPORTS_DATABASE_URL"] = URL
    env.pop("MANIREPORTS_MOODLE_DIR", None)
    with contextlib.suppress(ConfigError):
        assert isinstance(load(Path("/dev/null"), env), Settings)
