"""Commands about addresses that get no bulk mail."""

from dataclasses import asdict

import click

from sidecar.cli.common import App, json_option, pass_app, print_json, print_table, when
from sidecar.store import suppressions
from sidecar.store.suppressions import Suppression

company_option = click.option(
    "--company",
    "company_id",
    type=click.IntRange(min=0),
    default=0,
    metavar="ID",
    help="For this company's mail only; else for the whole site.",
)


@click.group()
def suppress() -> None:
    """Addresses that get no bulk mail."""


@suppress.command("add")
@click.argument("address")
@company_option
@click.option("--scope", type=click.Choice(suppressions.SCOPES), default=suppressions.ALL)
@click.option("--reason", type=click.Choice(suppressions.REASONS), default="manual")
@pass_app
def add(app: App, address: str, company_id: int, scope: str, reason: str) -> None:
    """Send this address no more bulk mail (or no more campaigns).

    \b
    Examples:
      manireports-sidecar suppress add anna@example.org
      manireports-sidecar suppress add anna@example.org --company 1 --scope campaigns
    """
    params = {"address": address, "company": company_id, "scope": scope, "reason": reason}
    answer = app.perform("suppress_add", params)
    state = "is suppressed" if answer["new"] else "was suppressed already"
    click.echo(f"{answer['address']} {state} ({_where(company_id, scope)})")


@suppress.command("remove")
@click.argument("address")
@company_option
@click.option("--scope", type=click.Choice(suppressions.SCOPES), help="Only this one.")
@pass_app
def remove(app: App, address: str, company_id: int, scope: str | None) -> None:
    """Let this address have bulk mail again.

    \b
    Example:
      manireports-sidecar suppress remove anna@example.org
    """
    params = {"address": address, "company": company_id, "scope": scope}
    answer = app.perform("suppress_remove", params)
    state = "gets mail again" if answer["removed"] else "was not suppressed there"
    click.echo(f"{answer['address']} {state} ({_where(company_id, scope or '')})")


@suppress.command("list")
@click.option("--company", "company_id", type=click.IntRange(min=0), metavar="ID")
@json_option
@pass_app
def list_suppressions(app: App, company_id: int | None, as_json: bool) -> None:
    """List suppressed addresses, of all companies or of one.

    \b
    Example:
      manireports-sidecar suppress list --company 1
    """
    database = app.context.database
    database.require_schema()
    with database.read() as conn:
        found = suppressions.list_all(conn, database, company_id)
        while page := suppressions.list_all(
            conn, database, company_id, after=found[-1].id if found else 0
        ):
            found += page
    if as_json:
        print_json([asdict(entry) for entry in found])
        return
    if not found:
        click.echo("No address is suppressed.")
        return
    print_table(["address", "where", "since", "why"], [_line(entry) for entry in found])


def _line(entry: Suppression) -> list[object]:
    where = _where(entry.company_id, entry.scope)
    return [entry.email, where, when(entry.created_at), entry.reason]


def _where(company_id: int, scope: str) -> str:
    what = "campaigns" if scope == suppressions.CAMPAIGNS else "all bulk mail"
    return f"{what} of company {company_id}" if company_id else f"{what} of the whole site"
