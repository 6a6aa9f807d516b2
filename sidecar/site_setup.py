"""What a real site needs beside the unit: which of its files the service may read, and how.

Moodle's config.php is often for root and the web server's group only, the key of its encryption
for the web server's user only. systemd, which may read both, hands them over as credentials; for
what the service must read in place it gets the group.
"""

import contextlib
import grp
import os
import pwd
import re
import socket
import stat
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.errors import ConfigError
from sidecar.moodle import config_php
from sidecar.moodle.encryption import key_path
from sidecar.moodle.php_values import to_string
from sidecar.settings import Settings
from sidecar.systemd import CONFIG_PHP, MOODLE_KEY

HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - never written to
"""What the unit's sandbox hides: a site there is shown to it read-only."""

GROWING_PAUSE = 254
"""The systemd from which on a pause between restarts can grow."""

STATE = Path("/var/lib")
"""systemd's %S, where the units keep their state."""

_PORT = re.compile(r"^MANIREPORTS_METRICS_PORT=[\"']?(\d{1,5})", re.MULTILINE)


@dataclass(slots=True)
class Needs:
    """What the drop-in has to say. notes: what an admin should know or do."""

    credentials: dict[str, Path] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    read_only: list[Path] = field(default_factory=list)
    writable: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the system with all groups."""

    name: str
    uid: int
    gids: frozenset[int]

    @classmethod
    def find(cls, name: str) -> "Account":
        """By name; raises ConfigError if there is no such user."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise ConfigError(
                f"there is no user {name}: install the package, or run systemd-sysusers"
            ) from None
        return cls(name, entry.pw_uid, frozenset(os.getgrouplist(name, entry.pw_gid)))

    def may(self, path: Path, bits: int, more: Sequence[int] = ()) -> bool:
        """Whether the modes of a file and of the folders above let this user do ``bits`` (4 read, 1
        enter) with it. more: further groups."""
        if not all(self._allows(parent, 1, more) for parent in path.parents):
            return False
        return self._allows(path, bits, more)

    def _allows(self, path: Path, bits: int, more: Sequence[int]) -> bool:
        found = path.stat()
        if found.st_uid == self.uid:
            mode = found.st_mode >> 6
        elif found.st_gid in self.gids or found.st_gid in more:
            mode = found.st_mode >> 3
        else:
            mode = found.st_mode
        return mode & bits == bits


def find_needs(moodle_dir: Path, account: Account, dataroot: Path | None = None) -> Needs:
    """What this user lacks for this site; to be asked as root. Raises ConfigError.

    config.php is only read, never run: whoever may write it must not become root by this. dataroot:
    where it cannot be read from there.
    """
    needs = Needs()
    config = config_php.read(moodle_dir)
    dataroot = dataroot or Path(to_string(config.values.get("dataroot")) or "/nonexistent")
    if not dataroot.is_dir():
        raise ConfigError(
            f"{config.path}: $CFG->dataroot is no folder that can be found: say --dataroot"
        )
    code = config.path.parent
    for folder in (code, dataroot):
        _reach(needs, account, folder)
    more = [grp.getgrnam(group).gr_gid for group in needs.groups]
    if not account.may(config.path, 4, more):
        needs.credentials[CONFIG_PHP] = config.path
        needs.notes.append(f"after a change of {config.path}: restart the service")
    secret_root = config.values.get("secretdataroot")
    key = key_path(dataroot, Path(to_string(secret_root)) if secret_root else None)
    if not key.is_file():
        needs.notes.append(
            "Moodle has no encryption key yet: `php admin/cli/generate_key.php` as the web"
            " server's user, then run setup again"
        )
    elif not _can(account, key, 4, more):
        needs.credentials[MOODLE_KEY] = key
    if "file_lock_factory" in to_string(config.values.get("lock_factory")):
        root = to_string(config.values.get("file_lock_root"))
        locks = Path(root) if root else dataroot / "lock"
        needs.writable.append(locks)
        if locks.is_dir():
            _reach(needs, account, locks)
    return needs


def _can(account: Account, path: Path, bits: int, more: Sequence[int]) -> bool:
    with contextlib.suppress(OSError):
        return account.may(path, bits, more)
    return False


def _reach(needs: Needs, account: Account, folder: Path) -> None:
    """Note the folder, and the group without which it cannot be read."""
    needs.read_only.append(folder)
    more = [grp.getgrnam(group).gr_gid for group in needs.groups]
    for path in (folder, *folder.parents):
        if account.may(path, 5 if path == folder else 1, more):
            continue
        found = path.stat()
        if not found.st_mode & stat.S_IXGRP or found.st_gid == 0:
            needs.notes.append(
                f"{path} is closed to every group but root's:"
                f" `setfacl -m u:{account.name}:rx {path}`"
            )
            return
        group = _group_name(found.st_gid)
        if group not in needs.groups:
            needs.groups.append(group)
            more.append(found.st_gid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        raise ConfigError(f"group {gid} has no name on this system") from None


def drop_in(needs: Needs, systemd: int) -> str:
    """The text of the drop-in. systemd: its version."""
    lines = [
        "# Written by `manireports-sidecar setup`; run it again after the site has moved.",
        "[Service]",
    ]
    lines += [f"LoadCredential={name}:{path}" for name, path in needs.credentials.items()]
    if needs.groups:
        lines.append(f"SupplementaryGroups={' '.join(needs.groups)}")
    every = (*needs.read_only, *needs.writable)
    hidden = [path for path in every if any(path.is_relative_to(top) for top in HIDDEN)]
    if hidden:
        lines.append("ProtectHome=tmpfs")
    for path in needs.read_only:
        kind = "BindReadOnlyPaths" if path in hidden else "ReadOnlyPaths"
        lines.append(f"{kind}={_escaped(path)}")
    for path in needs.writable:
        kind = "BindPaths" if path in hidden else "ReadWritePaths"
        lines.append(f"{kind}=-{_escaped(path)}")
    if systemd >= GROWING_PAUSE:
        lines += ["RestartSteps=6", "RestartMaxDelaySec=300"]
    return "\n".join(lines) + "\n"


def instance_settings(instance: str, folder: Path) -> dict[str, str | int]:
    """What one of several sites on a host may share with no other, for its file in ``folder``.

    The unit says the same of the state; but a command that is typed with --config knows the file
    alone, and in another site's state it would find itself to be a copy.
    """
    state = STATE / f"manireports-sidecar-{instance}"
    return {"state_dir": str(state), "metrics_port": _free_port(folder, instance)}


def missing_settings(config: Path, wanted: Mapping[str, str | int]) -> list[str]:
    """The keys of ``wanted`` that a file which is there does not set; none if it is no TOML."""
    try:
        there = tomllib.loads(config.read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [key for key in wanted if key not in there]


def _free_port(folder: Path, instance: str) -> int:
    """The first port above the default that no other site of the host serves its metrics on; the
    default is for the site without a name."""
    first = Settings().metrics_port + 1
    taken = set(_ports(folder, instance))
    for port in range(first, first + 1000):
        if port not in taken and not _is_used(port):
            return port
    raise ConfigError("setup: no port is free for the metrics; set metrics_port yourself")


def _ports(folder: Path, instance: str) -> Iterator[int]:
    """What the other sites' files name."""
    for path in folder.glob("*.toml"):
        if path.stem == instance:
            continue
        with contextlib.suppress(OSError, ValueError):
            port = tomllib.loads(path.read_text("utf-8")).get("metrics_port")
            if isinstance(port, int):
                yield port
    for path in (folder / "environment", *folder.glob("*.environment")):
        if path.stem == instance:
            continue
        with contextlib.suppress(OSError, ValueError):
            yield from map(int, _PORT.findall(path.read_text("utf-8")))


def _is_used(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _escaped(path: Path) -> str:
    text = str(path).replace("%", "%%")
    if re.search(r"[\s\"'\\:]", text):
        raise ConfigError(f"{path}: a path with blanks, quotes or colons cannot be set up")
    return text


def systemd_version() -> int:
    """Of the systemd on this host; 0 if there is none."""
    try:
        done = subprocess.run(
            ["systemctl", "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except OSError:
        return 0
    found = re.match(r"systemd (\d+)", done.stdout)
    return int(found[1]) if found else 0


def write(path: Path, text: str, mode: int, group: int = 0) -> None:
    """Write a file as a whole or not at all, for root and one group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchown(file.fileno(), 0, group)
        os.fchmod(file.fileno(), mode)
        file.write(text)
    new.replace(path)
