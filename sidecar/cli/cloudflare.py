"""``cloudflare deploy|verify|status``: the Worker, its queues, and whether all of it works."""

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from sidecar.cli import wrangler
from sidecar.cli.common import App, json_option, pass_app, print_json, print_table
from sidecar.connectors.cloudflare import CloudflareConnector
from sidecar.connectors.cloudflare_setup import Setup
from sidecar.errors import ConfigError, ConnectorError, SidecarError
from sidecar.moodle.mail_settings import MailSettingsError
from sidecar.moodle.people import company_names
from sidecar.store.companies import Company

CALLBACK_PATH = "/local/manireports/ui/ajax/cloud_callback.php"
SENDERS = {
    "binding": (),
    "resend": ("RESEND_API_KEY",),
    "postmark": ("POSTMARK_TOKEN",),
    "ses": ("SES_ACCESS_KEY", "SES_SECRET_KEY"),
}
"""Each sender of the Worker, and the secrets that it needs, from the environment."""

LIVE_SECONDS = 60.0
"""How long a Worker may take until it answers everywhere."""


@click.group()
def cloudflare() -> None:
    """The Worker at Cloudflare: put it there, and see whether it works."""


company_option = click.option(
    "--company", "company_id", type=click.IntRange(min=0), default=0, show_default=True,
    metavar="ID", help="Whose settings; 0 gives the defaults.",
)  # fmt: skip


@cloudflare.command()
@company_option
@click.option("--account-id", default="", help="The Cloudflare account; else the company's.")
@click.option("--name", default="", help="Of the Worker, and the beginning of its queues' names.")
@click.option("--sender", type=click.Choice(list(SENDERS)), required=True)
@click.option("--callback-url", help="The site's callback page; '' for results by queue alone.")
@click.option("--worker-url", default="", help="Where the Worker answers, if not at workers.dev.")
@click.option("--ses-region", default="", help="Of the sender ses.")
@click.option("--ses-configuration-set", default="", help="Of the sender ses.")
@click.option("--postmark-stream", default="", help="Of the sender postmark; else broadcast.")
@click.option("--sidecar-token", is_flag=True, help="Ask for the sidecar's own API token too.")
@click.option("--wrangler", "program", help="Another wrangler than that of the Worker's packages.")
@click.option("--dry-run", is_flag=True, help="Bundle the Worker and say what would be done.")
@pass_app
def deploy(
    app: App,
    /,
    company_id: int,
    account_id: str,
    name: str,
    callback_url: str | None,
    worker_url: str,
    sidecar_token: bool,
    program: str | None,
    dry_run: bool,
    **of_sender: str,
) -> None:
    """Make the queues, deploy the Worker, and tell the sidecar of them. May be run again.

    CLOUDFLARE_API_TOKEN in the environment may edit Workers Scripts and Queues; it is not stored.
    The sender's secrets come from the environment too: RESEND_API_KEY, POSTMARK_TOKEN, or
    SES_ACCESS_KEY and SES_SECRET_KEY.

    \b
    Examples:
      manireports-sidecar cloudflare deploy --company 1 \\
          --account-id 0123456789abcdef0123456789abcdef --sender resend
      manireports-sidecar cloudflare deploy --company 1 --sender ses --ses-region eu-west-1 \\
          --dry-run
    """
    context = app.context
    context.database.require_schema()
    site_uid = context.identify().site_uid
    company = _company(app, company_id)
    account = account_id or company.cloudflare_account_id
    name = name or f"manireports-{site_uid[:8]}-{company_id}"
    variables = _variables(app, callback_url, of_sender)
    config = wrangler.configuration(name, site_uid, variables)
    if dry_run:
        with wrangler.folder(config, {}) as where:
            click.echo(wrangler.deploy(where, account, "", dry_run=True, program=program))
        queues = ", ".join(f"{name}-{kind}" for kind in wrangler.QUEUES)
        click.echo(f"nothing was changed; the queues would be {queues}")
        return
    held = _secrets(of_sender["sender"])
    token = os.environ.get("CLOUDFLARE_API_TOKEN", "").strip()
    setup = Setup(account, token, context.settings.cloudflare_api_url)
    own = (
        click.prompt("The sidecar's API token", hide_input=True, err=True) if sidecar_token else ""
    )
    held["KEYS"] = _keys(app, company)
    try:
        ids = _make_queues(setup, name)
        with wrangler.folder(config, held) as where:
            wrangler.deploy(where, account, token, dry_run=False, program=program)
        click.echo(f"the Worker {name} is deployed; it sends by {variables['SENDER']}")
        if setup.ensure_pulled(f"{name}-results", ids["results"]):
            click.echo(f"{name}-results is read by http_pull")
        url = worker_url or f"https://{name}.{setup.subdomain()}.workers.dev"
    finally:
        setup.close()
    values: dict[str, object] = {
        "cloudflare_account_id": account,
        "cloudflare_queue_id": ids["jobs"],
        "cloudflare_results_queue_id": ids["results"],
        "cloudflare_worker_url": url,
    }
    if own:
        values["cloudflare_api_token"] = context.vault.conceal(own.strip())
    app.perform("company_set", {"company": company_id, "values": values})
    click.echo(f"company {company_id}: its settings name the queues and {url}")
    if own or company.cloudflare_api_token:
        _wait_until_live(app, company_id)
        return
    click.echo(
        "The sidecar needs an API token of its own (Queues: Edit, nothing else):"
        f" `company set {company_id} --cloudflare-api-token`; then `cloudflare verify`"
    )


@cloudflare.command()
@company_option
@pass_app
def verify(app: App, company_id: int) -> None:
    """Ask the queues and the Worker whether they would work; sends no mail.

    \b
    Example:
      manireports-sidecar cloudflare verify --company 1
    """
    with _connector(app, company_id) as connector:
        probe = connector.probe()
    if not probe.ok:
        raise SidecarError(probe.detail)
    click.echo("\n".join(f"OK    {line}" for line in probe.detail.split("; ")))
    for doubt in filter(None, probe.doubt.split("; ")):
        click.echo(f"WARN  {doubt}")


@cloudflare.command()
@company_option
@json_option
@pass_app
def status(app: App, company_id: int, as_json: bool) -> None:
    """What waits in the queues, and how the Worker is set up.

    \b
    Example:
      manireports-sidecar cloudflare status --company 1
    """
    with _connector(app, company_id) as connector:
        found = connector.status()
    if as_json:
        print_json(found)
    else:
        print_table(["what", "is"], [[key, value] for key, value in found.items()])


def _company(app: App, company_id: int) -> Company:
    context = app.context
    if company_id:
        with context.database.read() as conn:
            if company_id not in company_names(conn, context.tables):
                raise ConfigError(f"cloudflare deploy: Moodle has no company {company_id}")
    return context.companies().get(company_id)


def _variables(app: App, callback_url: str | None, of_sender: Mapping[str, str]) -> dict[str, str]:
    """The Worker's variables that are not secret; of_sender: the options of the senders."""
    if callback_url is None:
        wwwroot = app.context.settings.wwwroot.rstrip("/")
        callback_url = f"{wwwroot}{CALLBACK_PATH}" if wwwroot.startswith("https://") else ""
    if of_sender["sender"] == "ses" and not of_sender["ses_region"]:
        raise ConfigError("cloudflare deploy: the sender ses needs --ses-region")
    wanted = {"callback_url": callback_url, **of_sender}
    return {name.upper(): value for name, value in wanted.items() if value}


def _secrets(sender: str) -> dict[str, str]:
    held = {name: os.environ.get(name, "").strip() for name in SENDERS[sender]}
    for name, value in held.items():
        if not value:
            raise ConfigError(f"cloudflare deploy: {name} is not set, which the sender needs")
    return held


@contextmanager
def _connector(app: App, company_id: int) -> Iterator[CloudflareConnector]:
    context = app.context
    context.database.require_schema()
    routes = context.routes(context.lease.guard)
    routes.site_uid = context.identify().site_uid
    try:
        route = routes.cloud(context.companies().get(company_id), "cloudflare")
    except MailSettingsError as error:
        raise ConfigError(str(error)) from error
    connector = routes.connector(route)
    assert isinstance(connector, CloudflareConnector)  # noqa: S101 - as the route says
    try:
        yield connector
    finally:
        routes.close(1.0)


def _keys(app: App, company: Company) -> str:
    """The company's keys as the Worker takes them; a new one if there is none."""
    context = app.context
    pairs = [
        f"{key.key}:{context.vault.reveal(key.secret)}"
        for key in company.callback_keys(int(time.time()))
    ]
    if pairs:
        return ",".join(pairs)
    key = f"c{company.company_id}-{secrets.token_hex(8)}"
    secret = secrets.token_hex(32)
    stored = [key, context.vault.conceal(secret)]
    params = {"company": company.company_id, "values": {}, "callback_key": stored}
    app.perform("company_set", params)
    return f"{key}:{secret}"


def _make_queues(setup: Setup, name: str) -> dict[str, str]:
    there = setup.queues()
    ids: dict[str, str] = {}
    for kind in wrangler.QUEUES:
        queue = f"{name}-{kind}"
        known = there.get(queue)
        ids[kind] = known or setup.make_queue(queue)
        click.echo(f"queue {queue}: {'there already' if known else 'made'}")
    return ids


def _wait_until_live(app: App, company_id: int) -> None:
    deadline = time.monotonic() + LIVE_SECONDS
    with _connector(app, company_id) as connector:
        while True:
            try:
                connector.ask_worker()
                break
            except ConnectorError as error:
                if time.monotonic() > deadline:
                    raise SidecarError(f"deployed, but: {error}") from error
                time.sleep(2)
    click.echo("the Worker answers")
