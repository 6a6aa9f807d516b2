"""Commands that hold mail and let it go on: pause, resume, disable, enable."""

from collections.abc import Callable

import click

from sidecar.cli.common import App, pass_app

EVERYTHING = click.option("--all", "everything", is_flag=True, help="The same as `all`.")


@click.group(invoke_without_command=True)
@EVERYTHING
@click.pass_context
def pause(ctx: click.Context, everything: bool) -> None:
    """Hold mail: it is taken over, and waits. Survives restarts."""
    _group(ctx, everything)


@click.group(invoke_without_command=True)
@EVERYTHING
@click.pass_context
def resume(ctx: click.Context, everything: bool) -> None:
    """Let held mail go on."""
    _group(ctx, everything)


def _group(ctx: click.Context, everything: bool) -> None:
    if everything and ctx.invoked_subcommand:
        raise click.UsageError(f"--all, or {ctx.invoked_subcommand}: not both")
    if everything and isinstance(ctx.command, click.Group):
        ctx.invoke(ctx.command.commands["all"])
    elif not ctx.invoked_subcommand:
        raise click.UsageError("say what: all, company ID or job ID")


def _pause(app: App, what: str, number: int | None = None) -> None:
    answer = app.perform("pause", {"what": what, "id": number})
    name = "everything" if number is None else f"{what} {number}"
    click.echo(f"{name} is paused: {answer['held']} mails wait here")
    if answer["taken_back"]:
        click.echo(f"{answer['taken_back']} of them were taken back from the provider")
    if answer["left"]:
        click.echo(f"{answer['left']} mails stay with the provider: {answer['why']}")


def _resume(app: App, what: str, number: int | None = None) -> None:
    answer = app.perform("resume", {"what": what, "id": number})
    name = "everything" if number is None else f"{what} {number}"
    click.echo(f"{name} goes on: {answer['resumed']} mails waited")


def _add(group: click.Group, act: Callable[..., None], verb: str) -> None:
    def words(what: str, example: str) -> str:
        line = f"manireports-sidecar {group.name} {example}"
        return f"{verb} {what}.\n\n\b\nExample:\n  {line}"

    @group.command("all", help=words("all mail of the site", "all"))
    @pass_app
    def everything(app: App) -> None:
        act(app, "all")

    @group.command("company", help=words("the mail of a company", "company 1"))
    @click.argument("company_id", type=click.IntRange(min=0), metavar="ID")
    @pass_app
    def company(app: App, company_id: int) -> None:
        act(app, "company", company_id)

    @group.command("job", help=words("the mail of a job", "job 7"))
    @click.argument("job_id", type=int, metavar="ID")
    @pass_app
    def job(app: App, job_id: int) -> None:
        act(app, "job", job_id)


_add(pause, _pause, "Hold")
_add(resume, _resume, "Let go on")


@click.command()
@click.argument("company_id", type=click.IntRange(min=0), metavar="COMPANY")
@pass_app
def disable(app: App, company_id: int) -> None:
    """Take over no more mail of a company: Moodle's cron sends it. What was taken over goes on.

    \b
    Example:
      manireports-sidecar disable 1
    """
    app.perform("company_set", {"company": company_id, "values": {"enabled": 0}})
    click.echo(f"company {company_id}: Moodle's cron sends its mail from now on")


@click.command()
@click.argument("company_id", type=click.IntRange(min=0), metavar="COMPANY")
@pass_app
def enable(app: App, company_id: int) -> None:
    """Take over the bulk mail of a company from now on.

    \b
    Example:
      manireports-sidecar enable 1
    """
    app.perform("company_set", {"company": company_id, "values": {"enabled": 1}})
    click.echo(f"company {company_id}: its bulk mail is taken over from now on")
