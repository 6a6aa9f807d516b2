"""``check``: every precondition, one line each, with what to do."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import click
from sqlalchemy import inspect, text
from sqlalchemy.exc import SQLAlchemyError

from sidecar.cli.common import App, json_option, pass_app, print_json
from sidecar.connectors.base import Probe
from sidecar.connectors.dkim import DkimKeys
from sidecar.context import Context
from sidecar.errors import SidecarError, SigningKeyError
from sidecar.moodle.lock_check import lock_doubts
from sidecar.moodle.mail_settings import MailSettingsError, noreply_address
from sidecar.moodle.people import company_names
from sidecar.pollers.new_users import why_not
from sidecar.routes import Route, SmtpRoute
from sidecar.store.database import translated
from sidecar.store.engines import PORTS, reason_of
from sidecar.store.site import read_site
from sidecar.store.tables import SCHEMA_VERSION

OK, WARN, FAIL, INFO = "ok", "warn", "FAIL", "info"

STAYS = (
    ("forum and message mail, mod_reengagement", "sent inside their own tasks, cannot be claimed"),
    ("IOMAD's direct supervisor mail", "sent inside its own tasks, cannot be claimed"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One precondition. level: ok, info, warn or FAIL."""

    level: str
    what: str
    detail: str


@click.command()
@json_option
@pass_app
def check(app: App, as_json: bool) -> None:
    """Check every precondition; exit 1 if one of them keeps mail from being taken over.

    \b
    Examples:
      manireports-sidecar check
      manireports-sidecar check --json | jq '.[] | select(.level == "FAIL")'
    """
    lines = list(_lines(app))
    if as_json:
        print_json([asdict(line) for line in lines])
    else:
        width = max(len(line.what) for line in lines)
        for line in lines:
            click.echo(f"{line.level:<5} {line.what:<{width}}  {line.detail}")
    if any(line.level == FAIL for line in lines):
        raise SystemExit(1)


def _lines(app: App) -> Iterator[Line]:
    settings = app.settings
    where = f", Moodle in {settings.moodle_dir}" if settings.moodle_dir else ""
    yield Line(OK, "configuration", f"{settings.wwwroot or 'wwwroot is not set'}{where}")
    if settings.moodle_config_unread:
        names = ", ".join(sorted(settings.moodle_config_unread))
        yield Line(WARN, "config.php", f"cannot be read for: {names}; set what matters in our TOML")
    context = app.context
    steps: list[Callable[[Context], Iterator[Line]]] = [
        _database,
        _privileges,
        _identity,
        _switches,
        _lock,
        _dataroot,
        _new_users,
        _companies,
    ]
    for step in steps:
        try:
            yield from step(context)
        except SidecarError as error:
            yield Line(FAIL, step.__name__.strip("_"), str(error))
            if step is _database:
                return
    for what, why in STAYS:
        yield Line(INFO, "stays with Moodle", f"{what}: {why}")


def _database(context: Context) -> Iterator[Line]:
    database = context.database
    with database.read() as conn:
        if database.is_sqlite:
            yield Line(WARN, "database", "SQLite: for the demo only, it proves nothing about locks")
        else:
            version = conn.execute(text("SELECT VERSION()")).scalar()
            port = database.url.port or PORTS[database.url.get_backend_name()]
            yield Line(OK, "database", f"{database.url.host or 'local'}:{port}, {version}")
        there = set(inspect(conn).get_table_names())
    tables = context.tables
    wanted = set(tables.metadata.sorted_tables)
    if not context.has_iomad:
        wanted -= set(tables.iomad)
    missing = sorted(table.name for table in wanted if table.name not in there)
    if context.tables.config.name in missing:
        raise SidecarError(
            f"there is no table {context.tables.config.name}: is table_prefix"
            f" {database.prefix!r} right?"
        )
    if missing:
        raise SidecarError(f"tables of Moodle are missing: {', '.join(missing)}")
    kind = "IOMAD" if context.has_iomad else "Moodle without IOMAD"
    yield Line(OK, "Moodle's tables", f"all there, {kind}, prefix {database.prefix}")


def _privileges(context: Context) -> Iterator[Line]:
    t = context.tables
    written = [
        (t.user, t.user.update().where(t.user.c.id == 0).values(password=t.user.c.password)),
        (t.user_preferences, t.user_preferences.delete().where(t.user_preferences.c.id == 0)),
    ]
    if context.has_iomad:
        written.append((t.email, t.email.update().where(t.email.c.id == 0).values(sent=None)))
    denied = False
    for table, statement in written:
        try:
            with context.database.connection_for_writing() as conn, conn.begin():
                conn.execute(statement)
        except SQLAlchemyError as error:
            denied, reason = True, reason_of(error)
            yield Line(
                FAIL, "privileges", f"the database user may not change {table.name}: {reason}"
            )
    if not denied:
        yield Line(OK, "privileges", f"may change {', '.join(table.name for table, _ in written)}")


def _identity(context: Context) -> Iterator[Line]:
    if not context.database.has_schema():
        yield Line(
            FAIL, "our tables", "missing: install the plugin or run `schema --create`; observing"
        )
        return
    site = context.identify()
    yield Line(OK, "our tables", f"version {SCHEMA_VERSION}")
    yield Line(OK, "site", f"{site.site_uid[:8]}, ours")
    if site.leader_alive:
        yield Line(OK, "leader", f"{site.instance}, version {site.version}")
    else:
        yield Line(INFO, "leader", "no daemon is running")


def _switches(context: Context) -> Iterator[Line]:
    observation = context.observe()
    reasons = [*observation.blocked, *observation.off.values()]
    for reason in reasons:
        yield Line(FAIL, "off switch", reason)
    if not reasons:
        yield Line(OK, "off switches", "cron, its mail tasks, maintenance, upgrade, noemailever")


def _lock(context: Context) -> Iterator[Line]:
    doubts: set[str] = set()
    for task in context.tasks:
        lock = context.lock(task)
        with translated(), context.database.connection_for_writing() as conn:
            doubts.update(lock_doubts(conn, context.tables, lock, task))
    for doubt in sorted(doubts):
        yield Line(FAIL, "cron lock", doubt)
    if not doubts:
        yield Line(OK, "cron lock", f"shared with cron ({type(lock).__name__})")


def _dataroot(context: Context) -> Iterator[Line]:
    dataroot = context.settings.dataroot
    if dataroot is None or not dataroot.is_dir():
        yield Line(FAIL, "dataroot", f"{dataroot} cannot be read: attachments and maintenance mode")
    else:
        yield Line(OK, "dataroot", str(dataroot))


def _new_users(context: Context) -> Iterator[Line]:
    reason = why_not(context.observe().config, context.settings, context.vault)
    if reason:
        yield Line(WARN, "new users", f"stay with Moodle: {reason}")
    else:
        yield Line(
            OK, "new users", "passwords can be made, and kept encrypted until they are mailed"
        )


def _companies(context: Context) -> Iterator[Line]:
    if not context.database.has_schema():
        return
    settings = context.companies()
    config = context.observe().config
    routes = context.routes(lambda: None)
    routes.site_uid = read_site(context.database).site_uid  # whether it is ours, _identity says
    with context.database.read() as conn:
        names = company_names(conn, context.tables)
    enabled = [row for row in settings if row.enabled]
    if not enabled:
        yield Line(WARN, "companies", "none is enabled: observing; `company set ID --enable`")
    probed: dict[Route, Probe] = {}
    for row in enabled:
        what = f"company {row.company_id}"
        name = names.get(row.company_id, "mail without a company")
        try:
            route = routes.find(config, row, row.provider)
        except MailSettingsError as error:
            yield Line(FAIL, what, f"{name}: {error}")
            continue
        if route not in probed:
            probed[route] = routes.connector(route).probe()
        probe = probed[route]
        yield Line(OK if probe.ok else FAIL, what, f"{name}: {row.provider}, {probe.detail}")
        if probe.doubt:
            yield Line(WARN, what, f"{name}: {probe.doubt}")
        if isinstance(route, SmtpRoute) and route.dkim:
            sender = noreply_address(config, context.settings, row.company_id)
            yield _dkim(route.dkim, what, name, sender.rpartition("@")[2])
    routes.close(5.0)


def _dkim(keys: DkimKeys, what: str, name: str, domain: str) -> Line:
    try:
        if keys.load(domain):
            return Line(OK, what, f"{name}: mail from {domain} is signed (DKIM {keys.selector})")
        reason = f"there is no {keys.path(domain)}"
    except SigningKeyError as error:
        reason = str(error)
    return Line(WARN, what, f"{name}: mail from {domain} leaves without DKIM signature: {reason}")
