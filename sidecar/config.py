"""Fills the one Settings object: TOML, the environment above it, then what config.php says."""

import dataclasses
import difflib
import logging
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from sidecar.errors import ConfigError
from sidecar.grouping import JOB_TYPES
from sidecar.moodle import config_php
from sidecar.moodle.config import SAFETY
from sidecar.moodle.lock_factory import LOCK_KEYS
from sidecar.moodle.php_values import to_string
from sidecar.secret_files import refuse_if_public
from sidecar.settings import Settings
from sidecar.store.engines import FAMILIES

log = logging.getLogger(__name__)

DEFAULT_FILE = Path("/etc/manireports-sidecar/sidecar.toml")
ENVIRONMENT = "MANIREPORTS_"

_TYPES: Mapping[str, object] = {
    name: kind for name, kind in get_type_hints(Settings).items() if name != "moodle_config_unread"
}
_LONGEST = 1e9
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s|m|h|d)?")
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_MAY_BE_ZERO = {"min_age", "quiet_period", "flush_after", "metrics_port"}
_HIGHEST = {
    "metrics_port": 65_535,
    "smtp_connections": 100,
    "smtp_max_connections": 100,
    "batch_size": 1_000,
}
_CHOICES = {
    "log_format": ("text", "json"),
    "log_level": ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
}
_PATTERNS = {
    "table_prefix": (re.compile(r"[A-Za-z0-9_]*"), "letters, digits and underscores"),
    "wwwroot": (re.compile(r"https?://\S+"), "a URL that starts with http:// or https://"),
    "unsubscribe_url": (re.compile(r"https://[!-~]+"), "a URL that starts with https://"),
    "metrics_user": (re.compile(r"[^:\x00-\x1f\x7f]*"), "text without a colon"),
    "metrics_host": (re.compile(r"\S+"), "a host name or IP address"),
}
_FILES = {"metrics_tls_cert", "metrics_tls_key", "metrics_password_file"}
_SECRET_FILES = ("metrics_tls_key", "metrics_password_file")
_SECRET = re.compile(r"pass|secret|pepper|token|key")
_PAIRS = (
    ("metrics_tls_cert", "metrics_tls_key"),
    ("metrics_user", "metrics_password_file"),
)
_FROM_MOODLE = {"table_prefix": "prefix", "wwwroot": "wwwroot", "dataroot": "dataroot"}
_DATABASE = {"dbtype", "dbhost", "dbname", "dbuser", "dbpass", "dboptions"}
_DOUBTFUL = frozenset({*SAFETY, *LOCK_KEYS, "passwordpeppers"})
"""On these depends who gets mail, whose lock is taken and which passwords are right: not knowing
them must not pass."""


class _WrongValueError(Exception):
    """The message says what the value must be, never what it is."""


class _Given(NamedTuple):
    value: object
    source: str


def load(path: Path | None, env: Mapping[str, str]) -> Settings:
    """The settings; raises ConfigError, whose one line names the key and where it was set.

    path: the file of ``--config``; None: DEFAULT_FILE, if there is one.
    """
    given = _from_file(path) | _from_environment(env)
    values = {key: _checked(key, *entry) for key, entry in given.items()}
    settings = Settings(**values)
    _check_pairs(values)
    _refuse_public_secrets(path or DEFAULT_FILE, given, settings)
    _warn_of_environment(path or DEFAULT_FILE, given.get("database_url"))
    if settings.moodle_dir is not None:
        return _with_moodle(settings, settings.moodle_dir, given, env)
    if settings.database_url is None:
        file = path or DEFAULT_FILE
        raise ConfigError(f'{file}: set moodle_dir = "/var/www/moodle" (or database_url)')
    return settings


def _check_pairs(values: Mapping[str, object]) -> None:
    """What is worth nothing, or worse, without the other."""
    for one, other in _PAIRS:
        if bool(values.get(one)) != bool(values.get(other)):
            missing, there = (other, one) if values.get(one) else (one, other)
            raise ConfigError(f"{missing} must be set too, because {there} is")


def source_of_database_url(path: Path | None, env: Mapping[str, str]) -> str:
    """Where the database was named: a file, a variable, or Moodle's config.php."""
    given = _from_file(path) | _from_environment(env)
    return given["database_url"].source if "database_url" in given else "Moodle's config.php"


def _from_file(path: Path | None) -> dict[str, _Given]:
    file = path or DEFAULT_FILE
    try:
        table = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        if path is None:
            return {}
        raise ConfigError(f"{file}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8") from None
    except ValueError as error:  # tomllib.TOMLDecodeError is one
        raise ConfigError(f"{file}: is not TOML: {error}") from None
    for key in table:
        _refuse_unknown(key, f"{file}: unknown key {key!r}")
    return {key: _Given(value, str(file)) for key, value in table.items()}


def _from_environment(env: Mapping[str, str]) -> dict[str, _Given]:
    given = {}
    for name in sorted(name for name in env if name.startswith(ENVIRONMENT)):
        key = name.removeprefix(ENVIRONMENT).lower()
        source = f"environment variable {name}"
        _refuse_unknown(key, f"{source}: unknown key {key!r}")
        given[key] = _Given(_from_text(key, env[name]), source)
    return given


def _refuse_unknown(key: str, complaint: str) -> None:
    if key not in _TYPES:
        near = difflib.get_close_matches(key, _TYPES, 1)
        raise ConfigError(complaint + (f"; did you mean {near[0]!r}?" if near else ""))


def _from_text(key: str, text: str) -> object:
    """A variable's text as TOML would have given it; what does not fit is refused later."""
    if _TYPES[key] is bool:
        return _BOOLEANS.get(text.lower(), text)
    if _TYPES[key] is int and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return text


def _checked(key: str, value: object, source: str) -> Any:
    try:
        return _READERS[_TYPES[key]](key, value)
    except _WrongValueError as error:
        raise ConfigError(f"{source}: {key} must be {error}") from None


def _flag(_key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _WrongValueError("true or false")
    return value


def _count(key: str, value: object) -> int:
    lowest = 0 if key in _MAY_BE_ZERO else 1
    highest = _HIGHEST.get(key, 10**18)
    if type(value) is int and lowest <= value <= highest:
        return value
    limit = f"from {lowest} to {highest}" if key in _HIGHEST else f"at least {lowest}"
    raise _WrongValueError(f"a whole number, {limit}")


def _duration(key: str, value: object) -> float:
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        value = float(found[1]) * _UNITS[found[2] or "s"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST:
        raise _WrongValueError('a duration: seconds, or text such as "30s", "5m", "24h"')
    if value == 0 and key not in _MAY_BE_ZERO:
        raise _WrongValueError("a duration longer than 0")
    return float(value)


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise _WrongValueError("text")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise _WrongValueError("one of " + ", ".join(_CHOICES[key]))
    pattern, meaning = _PATTERNS.get(key, (None, ""))
    if pattern is not None and not pattern.fullmatch(value):
        raise _WrongValueError(meaning)
    return value


def _path(key: str, value: object) -> Path:
    if not isinstance(value, str) or not value:
        what = "file" if key in _FILES else "folder"
        raise _WrongValueError(f"the path of a {what}")
    return Path(value)


def _url(_key: str, value: object) -> str:
    expected = _WrongValueError("a URL such as mysql://user:password@host/database")
    try:
        url = make_url(value) if isinstance(value, str) else None
    except (ArgumentError, ValueError):
        raise expected from None
    if url is None or not url.database:
        raise expected
    if url.get_backend_name() not in FAMILIES:
        raise _WrongValueError("a mysql://, mariadb:// or postgresql:// URL")
    return str(value)


def _table(key: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _WrongValueError(f"a table, [{key}], in the file")
    if key == "job_types" and not all(kind in JOB_TYPES for kind in value.values()):
        raise _WrongValueError("template = one of " + ", ".join(JOB_TYPES))
    if not all(isinstance(entry, str | int | float) for entry in value.values()):
        raise _WrongValueError("name = text, number, true or false")
    return value


_READERS: Mapping[object, Callable[[str, object], object]] = {
    bool: _flag,
    int: _count,
    float: _duration,
    str: _text,
    Path: _path,
    Path | None: _path,
    str | None: _url,
    Mapping[str, str]: _table,
    Mapping[str, object]: _table,
}


def _warn_of_environment(file: Path, database_url: _Given | None) -> None:
    if database_url is None or database_url.source == str(file):
        return
    if make_url(str(database_url.value)).password:
        log.warning(
            "the database password is in the environment, which every child process and whoever"
            " may inspect a container sees: put database_url into %s",
            file,
        )


def _refuse_public_secrets(file: Path, given: Mapping[str, _Given], settings: Settings) -> None:
    """Raises ConfigError for a secret, in ``file`` or in one that it names, open to everybody."""

    def in_file(key: str) -> bool:
        return key in given and given[key].source == str(file)

    if in_file("database_url") and make_url(settings.database_url or "").password:
        refuse_if_public(file, "the database password")
    if in_file("moodle_config"):
        for name, value in settings.moodle_config.items():
            if value and _SECRET.search(name):
                refuse_if_public(file, f"the secret moodle_config value {name}")
    for key in _SECRET_FILES:
        named: Path | None = getattr(settings, key)
        if named is not None:
            refuse_if_public(named, f"the secret that {key} names")


def _with_moodle(
    settings: Settings, moodle_dir: Path, given: Collection[str], env: Mapping[str, str]
) -> Settings:
    """What config.php says, where neither the file nor the environment said it."""
    config = config_php.resolve_with_php(config_php.read(moodle_dir, env), env=env)
    found: dict[str, Any] = {}
    if "database_url" not in given:
        url = config_php.database_url(config)
        found["database_url"] = url.render_as_string(hide_password=False)
    if "prefix" not in config.values and "table_prefix" not in given:
        if config.incomplete or "prefix" in config.unread:
            raise ConfigError(
                f"{config.path}: $CFG->prefix could not be read; set table_prefix in sidecar.toml"
            )
        found["table_prefix"] = ""
    for key, name in _FROM_MOODLE.items():
        if key not in given and name in config.values:
            value = to_string(config.values[name])
            found[key] = _checked(key, value, f"{config.path}: $CFG->{name}")
    forced = {
        f"{plugin}/{name}": value
        for plugin, names in config.forced.items()
        for name, value in names.items()
    }
    says = {**config.values, **forced, **settings.moodle_config}
    doubtful = _DOUBTFUL if config.incomplete else frozenset()
    answered = {_FROM_MOODLE.get(key) for key in given}
    if "database_url" in given:
        answered |= _DATABASE
    return dataclasses.replace(
        settings,
        **found,
        moodle_config={name: value for name, value in says.items() if name != "dbpass"},
        moodle_config_unread=(config.unread | doubtful) - answered - says.keys(),
    )
