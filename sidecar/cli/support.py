"""``support-bundle``: what somebody who helps needs to see, and nothing that he must not."""

import io
import json
import os
import platform
import re
import sys
import tarfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import distributions
from pathlib import Path
from typing import TextIO

import click
from sqlalchemy import inspect

from sidecar import __version__
from sidecar.cli.common import App, pass_app
from sidecar.context import Context
from sidecar.errors import ConfigError, SidecarError
from sidecar.store import facts, results
from sidecar.store import jobs as store
from sidecar.store.site import read_site
from sidecar.versions import compare

LOG_LINES = 5_000
FAILURES = 50

_ADDRESS = re.compile(r"[^\s<>\"'()\[\],;:=/…]+@[^\s<>\"'()\[\],;:/]+")
_SECRET = re.compile(
    r"(?i)((?:password|passwd|pass|secret|token|api[_-]?key|access[_-]?key|authorization)"
    r"[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|\S+)"
)
_URL_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^\s/@]*@", re.IGNORECASE)
_LONG = re.compile(r"\b[A-Za-z0-9+/_-]{32,}={0,2}")


def redacted(text: str) -> str:
    """A text without addresses, passwords, keys, and what looks like one."""
    text = _URL_USER.sub(r"\1…@", text)
    text = _SECRET.sub(r"\1…", text)
    text = _ADDRESS.sub("…@…", text)
    return _LONG.sub("…", text)


@click.command("support-bundle")
@click.option(
    "--log",
    "source",
    type=click.File("r", encoding="utf-8", errors="replace"),
    help="Log to put in, - for standard input; only its last lines.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The archive to write; a name with the time in it if it is not given.",
)
@pass_app
def support_bundle(app: App, source: TextIO | None, output: Path | None) -> None:
    """Pack versions, settings, tables and the last failures for somebody who helps.

    Addresses, passwords, keys and mail texts are left out or blackened; look into it before you
    send it. Nothing is sent anywhere.

    \b
    Example:
      journalctl -u manireports-sidecar -o short-iso | manireports-sidecar support-bundle --log -
    """
    path = output or Path(time.strftime("manireports-support-%Y%m%d-%H%M%S.tar.gz"))
    parts: dict[str, Callable[[], str]] = {
        "versions.json": lambda: _versions(app),
        "settings.txt": lambda: _settings(app),
        "site.json": lambda: _site(app.context),
        "tables.txt": lambda: _tables(app.context),
        "failures.txt": lambda: _failures(app.context),
    }
    if source is not None:
        tail = deque(source, LOG_LINES)
        parts["log.txt"] = lambda: "".join(tail)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, part in parts.items():
            _add(archive, name, _or_why_not(part))
    click.echo(f"{path}: {', '.join(parts)}")


def _or_why_not(part: Callable[[], str]) -> str:
    try:
        return redacted(part())
    except SidecarError as error:
        return redacted(f"not to be had: {error}\n")


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(f"manireports-support/{name}")
    entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
    archive.addfile(entry, io.BytesIO(content))


def _versions(app: App) -> str:
    found: dict[str, object] = {
        "sidecar": __version__,
        "python": sys.version,
        "system": platform.platform(),
        "packages": {dist.name: dist.version for dist in distributions()},
    }
    try:
        fit = compare(app.context)
        found |= {"tables": fit.tables, "plugin": fit.plugin, "leader": fit.leader}
        found["database"] = app.context.database.engine.dialect.name
    except SidecarError as error:
        found["database"] = str(error)
    return _json(found)


def _settings(app: App) -> str:
    """Every setting that is shown at all; of config.php only the names."""
    settings = app.settings
    shown = [f for f in fields(settings) if f.repr]
    lines = [f"{each.name} = {getattr(settings, each.name)}" for each in shown]
    lines.append(f"set in config.php: {', '.join(sorted(settings.moodle_config))}")
    return "\n".join(lines) + "\n"


def _site(context: Context) -> str:
    database, site = context.database, read_site(context.database)
    with database.read() as conn:
        now = database.now(conn)
        found = {
            "site": site.site_uid[:8],
            "instance": site.instance,
            "version": site.version,
            "lease_expires_in": site.lease_expires - site.now,
            "state": dict(site.state),
            "ledger_difference": results.ledger_difference(conn, database),
            "jobs": _flat(facts.jobs_by_status(conn, database, now)),
            "companies": [
                {"id": row.company_id, "enabled": row.enabled, "provider": row.provider}
                for row in context.companies()
            ],
        }
    return _json(found)


def _tables(context: Context) -> str:
    """The columns and indexes of our tables as they are."""
    lines: list[str] = []
    with context.database.read() as conn:
        known = inspect(conn)
        for table in context.database.tables.metadata.sorted_tables:
            if not known.has_table(table.name):
                lines.append(f"{table.name}: missing")
                continue
            columns = [f"{c['name']} {c['type']}" for c in known.get_columns(table.name)]
            indexes = [str(index["name"]) for index in known.get_indexes(table.name)]
            lines.append(f"{table.name}: {', '.join(columns)}")
            lines.append(f"  indexes: {', '.join(sorted(indexes))}")
    return "\n".join(lines) + "\n"


def _failures(context: Context) -> str:
    with context.database.read() as conn:
        found = store.last_troubles(conn, context.database, FAILURES)
    return "".join(f"job {job}: {reason}\n" for job, reason in found)


def _flat(counts: facts.Counts) -> dict[str, float]:
    return {" ".join(labels): number for labels, number in sorted(counts.items())}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
