"""Moodle's config.php: read without running it, and what that leaves open answered by PHP itself.

Source: config-dist.php, lib/setup.php, lib/dml/mysqli_native_moodle_database.php and
lib/dml/pgsql_native_moodle_database.php of Moodle 4.3;
public/config.php of Moodle 5.1, where config.php lies one folder above the code.
"""

import json
import logging
import os
import secrets
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import URL

from sidecar.errors import ConfigError
from sidecar.moodle.php_source import find_settings
from sidecar.moodle.php_values import is_empty, to_string
from sidecar.systemd import CONFIG_PHP, credential

log = logging.getLogger(__name__)

_PHP_TIMEOUT = 10.0
_FORCED = "forced_plugin_settings"
_MYSQL_TYPES = ("mariadb", "mysqli", "auroramysql")
_SSL_MODES = {"require": "REQUIRED", "verify-full": "VERIFY_IDENTITY"}
_PG_SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

_ASK_PHP = r"""
define('ABORT_AFTER_CONFIG', true);
define('CLI_SCRIPT', true);
register_shutdown_function(function () {
    global $CFG, $argv;
    // Without lib/setup.php, config.php did not reach its end.
    if (!preg_grep('~[/\\\\]lib[/\\\\]setup\.php$~', get_included_files())) {
        exit(1);
    }
    $all = (array) $CFG;
    $set = $all['config_php_settings'] ?? $all;
    $forced = $all['forced_plugin_settings'] ?? [];
    unset($set['forced_plugin_settings']);
    echo $argv[2], json_encode(['values' => (object) $set, 'forced' => $forced]);
});
require $argv[1];
"""


@dataclass(frozen=True, slots=True)
class ConfigPhp:
    """What config.php fixes. values: ``$CFG`` names; forced: plugin → name → value.

    unread: names that are set to something that could not be read (``forced_plugin_settings``
    stands for all of these). incomplete: any other name may be set as well. PHP arrays are lists
    if their keys are 0, 1, 2 …, else dicts with keys as text.
    """

    path: Path
    values: Mapping[str, object] = field(repr=False)
    forced: Mapping[str, Mapping[str, object]] = field(repr=False)
    unread: frozenset[str] = frozenset()
    incomplete: bool = False


def read(moodle_dir: Path, env: Mapping[str, str] = os.environ) -> ConfigPhp:
    """What config.php sets for certain; nothing of it is run.

    moodle_dir: the folder of config.php, or the ``public/`` of a newer tree. env: what getenv()
    answers. Raises ConfigError when there is no config.php of Moodle's that we may read.
    """
    path = moodle_dir / "config.php"
    try:
        path = config_path(moodle_dir)
        source = _bytes_of(path, env).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"moodle_dir: there is no {path}; set moodle_dir to the folder of Moodle's config.php"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"moodle_dir: {path} cannot be read ({error.strerror}); "
            "let this user read it, or run `setup`, which has systemd hand it over"
        ) from None
    found = find_settings(source, path, env)
    if not (found.values or found.unread or found.incomplete):
        raise ConfigError(f"moodle_dir: {path} is not Moodle's: it sets no $CFG")
    forced = _forced_settings(found.values.pop(_FORCED, None))
    unread = found.unread if forced is not None else {*found.unread, _FORCED}
    return ConfigPhp(path, found.values, forced or {}, frozenset(unread), found.incomplete)


def _bytes_of(path: Path, env: Mapping[str, str]) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError:
        handed = credential(CONFIG_PHP, env)
        if handed is None:
            raise
        return handed.read_bytes()


def resolve_with_php(
    config: ConfigPhp, php: str = "php", env: Mapping[str, str] = os.environ
) -> ConfigPhp:
    """The same with PHP's answer, if anything is unread; unchanged when PHP gives none.

    One run of config.php with ABORT_AFTER_CONFIG: lib/setup.php then stops before the database.
    """
    if not (config.unread or config.incomplete):
        return config
    answer = _ask_php(config.path, php, env)
    if answer is None:
        return config
    values, forced = answer
    unread: set[str] = set()
    # lib/setup.php has put false here when it found no such folder.
    if values.get("dataroot") is False:
        del values["dataroot"]
        if "dataroot" in config.values:
            values["dataroot"] = config.values["dataroot"]
        else:
            unread.add("dataroot")
    return replace(config, values=values, forced=forced, unread=frozenset(unread), incomplete=False)


def database_url(config: ConfigPhp) -> URL:
    """How to reach Moodle's database, as its own driver does; raises ConfigError."""
    kind = _text(config, "dbtype")
    makers = {"pgsql": _pgsql, **dict.fromkeys(_MYSQL_TYPES, _mysqli)}
    if kind not in makers:
        raise ConfigError(f"{config.path}: dbtype {kind!r} is not supported")
    options = config.values.get("dboptions")
    options = options if isinstance(options, dict) else {}
    port = options.get("dbport")
    if not is_empty(port) and not to_string(port).strip().isdecimal():
        raise ConfigError(f"{config.path}: dboptions dbport is not a number")
    return makers[kind](config, options).set(
        username=_text(config, "dbuser"),
        password=_text(config, "dbpass") or None,
        port=None if is_empty(port) else int(to_string(port)),
        database=_text(config, "dbname"),
    )


def _mysqli(config: ConfigPhp, options: Mapping[str, object]) -> URL:
    query = {"charset": "utf8mb4"}
    host = _text(config, "dbhost") or "localhost"
    socket = to_string(options.get("dbsocket"))
    if host == "localhost" and "/" in socket:
        query["unix_socket"] = socket
    ssl = options.get("ssl")
    if ssl is not None:
        query["ssl_mode"] = _SSL_MODES[_ssl(config, ssl, _SSL_MODES)]
    return URL.create("mysql+mysqldb", host=host, query=query)


def _pgsql(config: ConfigPhp, options: Mapping[str, object]) -> URL:
    query: dict[str, str] = {}
    host: str | None = _text(config, "dbhost")
    socket = options.get("dbsocket")
    if host in {"localhost", "127.0.0.1"} and not is_empty(socket):
        host = None
        if "/" in to_string(socket):
            query["host"] = to_string(socket)
    schema = options.get("dbschema")
    if not is_empty(schema):
        query["options"] = f"-c search_path={to_string(schema)}"
    ssl = options.get("ssl")
    if ssl is not None:
        query["sslmode"] = _ssl(config, ssl, _PG_SSL_MODES)
    return URL.create("postgresql+psycopg", host=host, query=query)


def _ssl(config: ConfigPhp, mode: object, known: Collection[str]) -> str:
    if str(mode) not in known:
        raise ConfigError(f"{config.path}: dboptions ssl is not one that Moodle knows")
    return str(mode)


def config_path(moodle_dir: Path) -> Path:
    """Where the site's config.php is, for the root or the ``public/`` folder of a tree."""
    folder = moodle_dir.absolute()
    above = folder.parent / "config.php"
    # The public/config.php of a newer tree only includes the one above.
    path = above if folder.name == "public" and above.is_file() else folder / "config.php"
    return path.resolve()


def _text(config: ConfigPhp, name: str) -> str:
    value = config.values.get(name)
    if isinstance(value, str | int) and value is not False:
        return to_string(value)
    if name in config.unread or (config.incomplete and value is None):
        problem = "is set in a way that could not be read"
    elif value is False:
        problem = "is false: the sidecar may lack an environment variable that PHP has"
    else:
        problem = "is not set" if value is None else "is no text"
    raise ConfigError(f"{config.path}: $CFG->{name} {problem}; set database_url in sidecar.toml")


def _forced_settings(value: object) -> Mapping[str, Mapping[str, object]] | None:
    """plugin → name → value; None if it is something else."""
    if is_empty(value):
        return {}
    if not isinstance(value, dict):
        return None
    forced = {plugin: {} if is_empty(names) else names for plugin, names in value.items()}
    return forced if all(isinstance(names, dict) for names in forced.values()) else None


def _ask_php(
    path: Path, php: str, env: Mapping[str, str]
) -> tuple[dict[str, object], Mapping[str, Mapping[str, object]]] | None:
    """PHP's values and forced settings. What PHP prints is not logged: it may show passwords."""
    marker = secrets.token_hex(16)
    command = [php, "-d", "display_errors=stderr", "-r", _ASK_PHP, "--", str(path), marker]
    try:
        run = subprocess.run(
            command,
            cwd=path.parent,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PHP_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        log.warning("%s: php did not finish within %d s", path, _PHP_TIMEOUT)
        return None
    except OSError as error:
        log.warning("%s: php cannot be run (%s)", path, error.strerror)
        return None
    _, found, text = run.stdout.rpartition(marker.encode())
    try:
        answer, _ = json.JSONDecoder().raw_decode(text.decode())
    except ValueError:
        found = b""
    if not found:
        log.warning("%s: php ended with code %d and no answer", path, run.returncode)
        return None
    forced = _forced_settings(answer["forced"])
    return None if forced is None else (answer["values"], forced)
