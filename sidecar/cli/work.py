"""Commands that do the work: run, once, drain."""

import os
import sys

import click

from sidecar.cli.common import App, json_option, pass_app, print_json, print_table
from sidecar.cli.logs import configure
from sidecar.daemon import Daemon
from sidecar.errors import DatabaseError
from sidecar.preview import Preview, preview


def _daemon(app: App, *, until_idle: bool, claim: bool = True) -> Daemon:
    settings = app.settings
    configure(settings.log_format, settings.log_level)
    context = app.context
    if context.database.is_sqlite and settings.moodle_dir is not None:
        raise DatabaseError("database_url: SQLite serves the demo only; use the site's database")
    context.database.require_schema()
    watched = () if until_idle else app.configuration_files()
    return Daemon(
        context,
        until_idle=until_idle,
        claim=claim,
        watched=watched,
        is_valid=app.can_be_read_again,
    )


@click.command()
@click.option("--until-idle", is_flag=True, help="Exit 0 when nothing is left to do.")
@pass_app
def run(app: App, until_idle: bool) -> None:
    """Run the daemon.

    \b
    Examples:
      manireports-sidecar run
      manireports-sidecar --config /etc/manireports-sidecar/school.toml run
    """
    daemon = _daemon(app, until_idle=until_idle)
    daemon.run()
    if daemon.changed:
        # As it was started: the package's -I keeps other people's modules out after a reload too.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be claimed; change nothing.")
@json_option
@pass_app
def once(app: App, dry_run: bool, as_json: bool) -> None:
    """Claim what is ripe now, send it, and exit.

    \b
    Examples:
      manireports-sidecar once --dry-run
      manireports-sidecar once
    """
    if not dry_run:
        _daemon(app, until_idle=True).run()
        return
    found = preview(app.context)
    if as_json:
        print_json(found.as_dict())
        return
    _print_preview(found)


def _print_preview(found: Preview) -> None:
    for reason in found.blocked:
        click.echo(f"nothing may move now: {reason}")
    if not found.groups:
        click.echo("No mail waits that could be grouped.")
        return
    print_table(
        ["company", "type", "waits#", "would claim#", "mails#", "provider", "why not", "sample"],
        [
            [
                f"{group.company_id} {group.company}".strip(),
                group.type,
                group.waiting,
                group.claimable,
                group.mails,
                group.provider,
                ", ".join(f"{reason}: {n}" for reason, n in sorted(group.left.items())),
                group.sample,
            ]
            for group in found.groups
        ],
    )


@click.command()
@pass_app
def drain(app: App) -> None:
    """Finish what is in flight and hand back everything else; exit 0 when nothing is ours.

    \b
    Example:
      manireports-sidecar drain
    """
    answer = app.perform("drain", {})
    click.echo(f"{answer['returned']} mails handed back to Moodle")
    context = app.context
    if not context.identify().leader_alive:
        _daemon(app, until_idle=True, claim=False).run()
    app.wait_until_drained()
    click.echo("drained: no mail is left with the sidecar")
