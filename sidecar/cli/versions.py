"""``grants`` and ``upgrade-check``: what a database administrator and an upgrade ask for."""

from dataclasses import asdict

import click

from sidecar.cli.common import App, json_option, pass_app, print_json
from sidecar.errors import DatabaseError, StoreError
from sidecar.moodle.locks import RecordLock
from sidecar.store.grants import mysql_grants, postgres_grants
from sidecar.versions import compare


@click.command()
@click.option("--user", default="sidecar", show_default=True, help="Its name in the database.")
@click.option(
    "--host", default="localhost", show_default=True, help="Where it comes from (MySQL, MariaDB)."
)
@click.option("--schema", default="public", show_default=True, help="Moodle's (PostgreSQL).")
@pass_app
def grants(app: App, user: str, host: str, schema: str) -> None:
    """Print the GRANT statements of a database user that can do just what is needed.

    Nothing is changed. The statements fit this site: its prefix, with IOMAD or without, its lock.

    \b
    Example:
      manireports-sidecar grants --user sidecar | mysql
    """
    context = app.context
    database = context.database
    record = any(isinstance(context.lock(task), RecordLock) for task in context.tasks)
    family = database.url.get_backend_name()
    iomad = context.has_iomad
    if family == "postgresql":
        found = postgres_grants(schema, database.prefix, user, iomad=iomad, record_lock=record)
    elif database.is_sqlite:
        raise DatabaseError("database_url: SQLite knows no users")
    else:
        name = database.url.database or ""
        found = mysql_grants(name, database.prefix, user, host, iomad=iomad, record_lock=record)
    for statement in found:
        click.echo(f"{statement};")


@click.command("upgrade-check")
@json_option
@pass_app
def upgrade_check(app: App, as_json: bool) -> None:
    """Compare daemon, tables and plugin; exit 1 if the daemon must not be started as it is.

    \b
    Example:
      manireports-sidecar upgrade-check
    """
    fit = compare(app.context)
    if as_json:
        print_json(asdict(fit))
    else:
        tables = "none" if fit.tables is None else f"version {fit.tables}"
        click.echo(f"daemon  {fit.daemon}, for tables of version {fit.needs}")
        click.echo(f"tables  {tables}")
        click.echo(f"plugin  {fit.plugin or 'not installed'}")
        click.echo(f"leader  {fit.leader or 'none'}")
    if fit.problem:
        raise StoreError(fit.problem)
    if not as_json:
        click.echo(fit.advice or "They fit together.")
