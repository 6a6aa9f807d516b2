"""Commands on companies: ``company set|list|test``."""

import secrets
from dataclasses import asdict

import click

from sidecar.cli.common import App, json_option, pass_app, print_json, print_table
from sidecar.cli.trial import company_test
from sidecar.errors import ConfigError
from sidecar.moodle.mail_settings import MailSettingsError
from sidecar.moodle.people import company_names
from sidecar.store.companies import COPIES, FALLBACKS, PROVIDERS, SECRETS


@click.group()
def company() -> None:
    """Settings of companies; 0 is mail without a company, and gives the defaults."""


@company.command("set")
@click.argument("company_id", type=click.IntRange(min=0), metavar="ID")
@click.option("--provider", type=click.Choice(PROVIDERS))
@click.option("--enable/--disable", "enabled", default=None, help="Take over this company's mail.")
@click.option("--pause/--resume", "paused", default=None, help="Hold its mail for now.")
@click.option("--bulk-threshold", type=click.IntRange(min=1), help="Waiting mails that are bulk.")
@click.option("--max-send-rate", type=click.IntRange(min=0), help="Mails a second; 0: no limit.")
@click.option("--daily-quota", type=click.IntRange(min=0), help="Mails in 24 hours; 0: no limit.")
@click.option("--manager-copies", type=click.Choice(COPIES))
@click.option("--fallback", type=click.Choice(FALLBACKS), help="When the provider stays down.")
@click.option("--aws-region", help="Like eu-west-1.")
@click.option("--aws-access-key", help="Id of the sidecar's own access key.")
@click.option("--aws-secret-key", is_flag=True, help="Ask for its secret, or read it from stdin.")
@click.option("--sqs-queue-url", help="The queue that the worker reads.")
@click.option("--results-queue-url", help="The queue for results that the site did not take.")
@click.option("--ledger-table", help="The worker's DynamoDB table, to take mails back.")
@click.option("--feedback-queue-url", help="The queue for bounces and complaints of SES.")
@click.option("--ses-configuration-set", help="Of SES, as the worker has it.")
@click.option("--aws-role-arn", help="A role that the access key takes on.")
@click.option("--aws-external-id", help="What that role asks for.")
@click.option("--cloudflare-account-id", help="The account's id, 32 hex digits.")
@click.option("--cloudflare-api-token", is_flag=True, help="Ask for it, or read it from stdin.")
@click.option("--cloudflare-queue-id", help="The id of the queue that the Worker reads.")
@click.option("--cloudflare-results-queue-id", help="The id of the queue for its results.")
@click.option("--cloudflare-worker-url", help="The Worker's URL, to take mails back.")
@click.option("--ses-sender-email", help="The address that SES has verified; else each mail's own.")
@click.option("--sender-name", help="The name beside it.")
@click.option(
    "--send-window",
    help="Hours in which its mail may leave, like 'mon-fri 08:00-18:00 Europe/Berlin'; or always.",
)
@click.option("--new-callback-key", is_flag=True, help="Make the worker's key; shown once.")
@pass_app
def company_set(
    app: App,
    /,
    company_id: int,
    aws_secret_key: bool,
    cloudflare_api_token: bool,
    new_callback_key: bool,
    **options: object,
) -> None:
    """Change the settings of a company; 0 gives the defaults of all others.

    \b
    Examples:
      manireports-sidecar company set 1 --provider smtp --enable
      manireports-sidecar company set 1 --send-window 'mon-fri 08:00-18:00 Europe/Berlin' \\
          --daily-quota 20000
      manireports-sidecar company set 0 --fallback hold
    """
    values = {
        key: int(value) if isinstance(value, bool) else value
        for key, value in options.items()
        if value is not None
    }
    if not (values or aws_secret_key or cloudflare_api_token or new_callback_key):
        raise ConfigError("company set: say what to change, see `company set --help`")
    context = app.context
    if company_id:
        with context.database.read() as conn:
            if company_id not in company_names(conn, context.tables):
                raise ConfigError(f"company set: Moodle has no company {company_id}")
    if aws_secret_key:
        values["aws_secret_key"] = click.prompt("AWS secret key", hide_input=True, err=True)
    if cloudflare_api_token:
        asked = click.prompt("Cloudflare API token", hide_input=True, err=True)
        values["cloudflare_api_token"] = asked
    for name in SECRETS:
        if name in values:
            values[name] = context.vault.conceal(str(values[name]).strip())
    params: dict[str, object] = {"company": company_id, "values": values}
    key, secret = f"c{company_id}-{secrets.token_hex(8)}", secrets.token_hex(32)
    if new_callback_key:
        params["callback_key"] = [key, context.vault.conceal(secret)]
    app.perform("company_set", params)
    settings = context.companies().get(company_id)
    state = "enabled" if settings.enabled else "not enabled"
    click.echo(f"company {company_id}: {state}, provider {settings.provider}")
    if new_callback_key:
        click.echo(f"The worker's KEYS, shown only now: {key}:{secret}")
    if settings.provider != "smtp":
        try:
            context.routes(context.lease.guard).cloud(settings, settings.provider)
        except MailSettingsError as error:
            click.echo(f"Its mail stays with Moodle for now: {error}")


@company.command("list")
@json_option
@pass_app
def company_list(app: App, as_json: bool) -> None:
    """List all companies and what is set for them.

    \b
    Example:
      manireports-sidecar company list
    """
    context = app.context
    context.database.require_schema()
    settings = context.companies()
    with context.database.read() as conn:
        names = {0: "(no company)", **company_names(conn, context.tables)}
    rows = [(settings.get(company_id), name) for company_id, name in sorted(names.items())]
    if as_json:
        print_json([{**asdict(row), "name": name} for row, name in rows])
        return
    print_table(
        [
            *("id#", "company", "enabled", "provider", "bulk from#", "rate/s#", "a day#"),
            *("copies", "fallback"),
        ],
        [
            [
                row.company_id,
                name,
                ("paused" if row.paused else "yes") if row.enabled else "no",
                row.provider,
                row.bulk_threshold,
                row.max_send_rate or "",
                row.daily_quota or "",
                row.manager_copies,
                row.fallback or "hold (new users: smtp)",
            ]
            for row, name in rows
        ],
    )


company.add_command(company_test)
