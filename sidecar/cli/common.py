"""What the commands share: the configured site, requests to the leader, and printing."""

import getpass
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from sidecar.config import DEFAULT_FILE, load, source_of_database_url
from sidecar.context import Context
from sidecar.errors import ConfigError, LeaseLostError, SidecarError
from sidecar.moodle import config_php
from sidecar.pollers.requests import Actions, answer_requests
from sidecar.settings import Settings
from sidecar.store import requests
from sidecar.store.pauses import unfinished_batches
from sidecar.store.site import read_site

log = logging.getLogger(__name__)

ANSWER_SECONDS = 60.0
DRAIN_SECONDS = 300.0


class App:
    """The configured site, made when a command first needs it."""

    def __init__(self, config: Path | None, environment: Mapping[str, str]) -> None:
        self._config = config
        self._environment = environment

    @cached_property
    def settings(self) -> Settings:
        """What is configured; raises ConfigError."""
        return load(self._config, self._environment)

    @cached_property
    def context(self) -> Context:
        """The site."""
        return Context(self.settings)

    def close(self) -> None:
        """Let go of the database, if it was needed."""
        if "context" in self.__dict__:
            self.context.close()

    def configuration_files(self) -> list[Path]:
        """The files that say how the sidecar works: our TOML, and Moodle's config.php."""
        files = [self._config or DEFAULT_FILE]
        if self.settings.moodle_dir is not None:
            files.append(config_php.config_path(self.settings.moodle_dir))
        return files

    def can_be_read_again(self) -> bool:
        """Whether the configuration, as it is now, could be started with."""
        try:
            load(self._config, self._environment)
        except ConfigError as error:
            log.warning("the changed configuration is not used: %s", error)
            return False
        return True

    def source_of_database_url(self) -> str:
        """Where the database was named, for messages."""
        return source_of_database_url(self._config, self._environment)

    def perform(self, action: str, params: Mapping[str, object]) -> dict[str, object]:
        """Have the leader do something, or do it here when no leader is alive."""
        context = self.context
        context.database.require_schema()
        site = context.identify()
        if site.leader_alive:
            return self._ask(action, params)
        if not context.lease.acquire():
            raise LeaseLostError("another command is at work: try again in a moment")
        try:
            return self._perform_here(site.site_uid, action, params)
        finally:
            context.lease.release()

    def _perform_here(
        self, site_uid: str, action: str, params: Mapping[str, object]
    ) -> dict[str, object]:
        with self._actions(site_uid) as actions:
            return actions.perform(action, params)

    @contextmanager
    def _actions(self, site_uid: str) -> Iterator[Actions]:
        context = self.context
        pollers = context.pollers(site_uid)
        routes = context.routes(context.lease.guard)
        routes.site_uid = site_uid
        try:
            yield context.actions(pollers, routes)
        finally:
            routes.close(1.0)

    def wait_until_drained(self) -> None:
        """Wait for the leader to finish what is in flight; raises SidecarError when it does not."""
        database = self.context.database
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline:
            with database.read() as conn:
                left = unfinished_batches(conn, database)
            if not left:
                return
            time.sleep(0.5)
        raise SidecarError(
            f"{left} batches cannot be finished or handed back: see `jobs` and `job ID`"
        )

    def _ask(self, action: str, params: Mapping[str, object]) -> dict[str, object]:
        database = self.context.database
        request_id = requests.ask(database, action, params, getpass.getuser())
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            request = requests.read_request(database, request_id)
            if request is not None and request.status == "done":
                return dict(request.answer)
            if request is not None and request.status == "failed":
                raise SidecarError(str(request.answer.get("error", "the leader refused")))
            site = read_site(database)
            if not site.leader_alive and self.context.lease.acquire():
                try:  # the leader has died meanwhile
                    with self._actions(site.site_uid) as actions:
                        answer_requests(database, self.context.lease.token, actions)
                finally:
                    self.context.lease.release()
                continue
            time.sleep(0.2)
        leader = read_site(database).instance
        raise SidecarError(f"the leader ({leader}) has not answered; the request stays with it")


pass_app = click.make_pass_decorator(App)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: object) -> None:
    """Print a value as JSON for programs."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


LONG_TEXT = ("reason", "note", "why not", "sample", "plan")
"""Columns that may wrap."""

FOLDED = {"address": 46, "what": 46}
"""Columns that are folded at a width."""


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print a plain table; columns whose name ends in # are numbers."""
    table = Table(title=title or None, title_justify="left", box=None, header_style="bold")
    for column in columns:
        table.add_column(
            column.rstrip("#"),
            justify="right" if column.endswith("#") else "left",
            no_wrap=column not in (*LONG_TEXT, *FOLDED),
            overflow="fold",
            max_width=FOLDED.get(column),
        )
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    width = None if sys.stdout.isatty() else 140
    Console(width=width, highlight=False, markup=False).print(table)


def when(unix: int | None) -> str:
    """A moment in local time, the date only if it is not today; '' for none."""
    if not unix:
        return ""
    moment = datetime.fromtimestamp(unix)
    today = moment.date() == datetime.now().date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")
