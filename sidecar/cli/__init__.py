"""The command ``manireports-sidecar``."""

import importlib
import os
from pathlib import Path
from typing import IO, Any

import click

from sidecar import __version__
from sidecar.cli import logs
from sidecar.cli.common import App
from sidecar.errors import DatabaseError, SidecarError

COMMANDS = {
    "adopt": "change",
    "aws": "aws",
    "backlog": "change",
    "campaign": "campaign",
    "cancel": "change",
    "check": "check",
    "cloudflare": "cloudflare",
    "company": "company",
    "completion": "setup",
    "disable": "hold",
    "drain": "work",
    "enable": "hold",
    "find": "find",
    "grants": "versions",
    "job": "show",
    "jobs": "show",
    "once": "work",
    "pause": "hold",
    "plan": "plan",
    "release": "change",
    "resolve": "change",
    "resume": "hold",
    "retry": "change",
    "run": "work",
    "schema": "schema",
    "setup": "setup",
    "status": "status",
    "support-bundle": "support",
    "suppress": "suppress",
    "upgrade-check": "versions",
}
"""Each command, and the module of this package that has it."""


class Refused(click.ClickException):
    """An error of ours: one line on standard error, and its exit code."""

    def __init__(self, message: str, error: SidecarError) -> None:
        super().__init__(message)
        self.error = error

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line, and end with the error's own code."""
        click.echo(f"manireports-sidecar: {self.message}", file=file, err=True)
        raise SystemExit(self.error.exit_code)


class Commands(click.Group):
    """Our commands, each loaded when it is named: what one needs, the daemon need not hold.

    A SidecarError ends a command with its line and code.
    """

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name, if there is one."""
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"sidecar.cli.{COMMANDS[name]}")
        command: click.Command = getattr(module, name.replace("-", "_"))
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except DatabaseError as error:
            where = ctx.find_object(App)
            source = where.source_of_database_url() if where else ""
            raise Refused(f"{source}: database_url: {error}", error) from error
        except SidecarError as error:
            raise Refused(str(error), error) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="TOML file; /etc/manireports-sidecar/sidecar.toml if it is not given.",
)
@click.version_option(__version__, prog_name="manireports-sidecar")
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """Takes over the bulk mail of a Moodle or IOMAD site.

    \b
    Look:    status, check, once --dry-run, jobs, job, find, plan
             company list, campaign list, suppress list
    Run:     run, once, drain
    Decide:  company set, company test, enable, disable, backlog take, adopt
    Steer:   pause, resume, cancel, release, retry, resolve
    AWS:     aws deploy, aws verify, aws status, aws redrive, aws rotate
    Cloud:   cloudflare deploy, cloudflare verify, cloudflare status
    Install: setup, schema, grants, upgrade-check, completion, support-bundle
    Mail:    campaign inactive, campaign queue, campaign cancel, suppress add, suppress remove

    \b
    Exit codes: 0 done; 1 it could not be done, the line says why; 2 the configuration, the
    database or the command line is wrong, the line names what.
    """
    ctx.obj = App(config, os.environ)
    ctx.call_on_close(ctx.obj.close)


def main() -> None:
    """Run a command."""
    logs.plain()
    cli()
