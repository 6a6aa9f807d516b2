"""``schema``: our tables, where the plugin is not installed, and giving them to it."""

import click

from sidecar import identity
from sidecar.cli.common import App, pass_app
from sidecar.errors import ConfigError, LeaseLostError, StoreError
from sidecar.store import hand_over
from sidecar.store.schema_check import differences
from sidecar.store.site import create_schema, read_site


@click.command()
@click.option("--create", is_flag=True, help="Make what is missing.")
@click.option(
    "--hand-over",
    "step",
    type=click.Choice(["begin", "finish", "undo"]),
    help="Give the tables to the plugin: begin, install the plugin, finish. Or undo.",
)
@pass_app
def schema(app: App, create: bool, step: str | None) -> None:
    """Our tables, where the plugin is not installed.

    \b
    Examples:
      manireports-sidecar schema
      manireports-sidecar schema --create
    """
    context = app.context
    if create and step:
        raise ConfigError("schema: --create or --hand-over, not both")
    if step:
        _hand_over(app, step)
    elif create:
        uid = create_schema(context.database, context.fingerprint)
        identity.verify(read_site(context.database), context.state_dir, context.fingerprint)
        context.state_dir.remember(uid)
        click.echo(f"tables are ready, site {uid[:8]}")
    else:
        if not context.database.has_schema():
            click.echo("the tables are missing: schema --create")
            return
        found = differences(context.database)
        if found:
            raise StoreError("the tables differ from what this version needs: " + "; ".join(found))
        click.echo("the tables are there, and as they should be")


def _hand_over(app: App, step: str) -> None:
    context = app.context
    if step == "begin":
        if context.database.has_schema() and not context.lease.acquire():
            leader = read_site(context.database).instance
            raise LeaseLostError(f"a sidecar ({leader}) leads this site: stop it first")
        names = hand_over.begin(context.database)
        click.echo(f"{len(names)} tables are put aside; nothing is taken over until `finish`.")
        click.echo("Install the plugin now, then: schema --hand-over finish")
    elif step == "undo":
        names = hand_over.undo(context.database)
        click.echo(f"{len(names)} tables have their names back")
    else:
        copied = hand_over.finish(context.database)
        width = max(map(len, copied), default=0)
        for name, rows in copied.items():
            click.echo(f"{name:<{width}}  {rows} rows")
        click.echo("The plugin has the tables now.")
