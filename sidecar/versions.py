"""Whether daemon, tables and plugin fit together."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from sidecar import __version__
from sidecar.context import Context
from sidecar.errors import SchemaMissingError
from sidecar.moodle.tables import MoodleTables
from sidecar.store.site import read_site
from sidecar.store.tables import SCHEMA_VERSION

COMPONENT = "local_manireports"
OLDEST_PLUGIN = 2026112602
"""The first version of the plugin whose pages and callbacks this daemon knows."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What is where. tables: None if there are none; plugin: '' if it is not installed; leader: the
    version of the daemon that leads now, '' if none does. problem: why not to start; advice: what
    to do although it may be started."""

    daemon: str
    needs: int
    tables: int | None
    plugin: str
    leader: str
    problem: str = ""
    advice: str = ""


def compare(context: Context) -> Fit:
    """The versions of a site; raises DatabaseError."""
    with context.database.read() as conn:
        plugin = _plugin(conn, context.tables)
    try:
        site = read_site(context.database)
    except SchemaMissingError as missing:
        return Fit(__version__, SCHEMA_VERSION, None, plugin, "", str(missing))
    there = site.state.get("schema", SCHEMA_VERSION)
    tables = there if isinstance(there, int) else 0
    leader = site.version if site.leader_alive else ""
    return judge(__version__, SCHEMA_VERSION, tables, plugin, leader)


def judge(daemon: str, needs: int, tables: int, plugin: str, leader: str) -> Fit:
    """What the versions mean. Pure."""
    problem = advice = ""
    if tables > needs:
        problem = (
            f"our tables are version {tables}, newer than this daemon ({daemon}), which knows"
            f" {needs}: upgrade the daemon, or restore the tables from before the upgrade"
        )
    elif tables < needs:
        how = "upgrade the plugin in Moodle" if plugin else "run `schema --create`"
        problem = f"our tables are version {tables}, this daemon ({daemon}) needs {needs}: {how}"
    else:
        advice = "; ".join(_advice(daemon, plugin, leader))
    return Fit(daemon, needs, tables, plugin, leader, problem, advice)


def _advice(daemon: str, plugin: str, leader: str) -> Iterator[str]:
    """What is better changed. An old plugin is no reason to stop: mail goes out without any."""
    if leader and leader != daemon:
        yield f"the daemon that leads is version {leader}: restart it"
    # Moodle's versions may have a fraction; what is no number says nothing.
    number = re.match(r"\d+", plugin)
    if number and int(number[0]) < OLDEST_PLUGIN:
        yield (
            f"the plugin is version {plugin}, too old for this daemon ({daemon}), which needs"
            f" {OLDEST_PLUGIN} for its pages and callbacks: install"
            f" local_manireports-{daemon}.zip in Moodle and run its upgrade; if it is an earlier"
            " ManiReports, docs/plugin-merge.md says how"
        )


def _plugin(conn: Connection, tables: MoodleTables) -> str:
    t = tables.config_plugins
    query = select(t.c.value).where(t.c.plugin == COMPONENT, t.c.name == "version")
    return str(conn.execute(query).scalar() or "")
