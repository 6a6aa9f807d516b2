"""Commands that change something: the leader does it, or this command when none is alive."""

import secrets
import time
from dataclasses import asdict

import click

from sidecar.cli.common import App, json_option, pass_app, print_json, print_table
from sidecar.errors import ConfigError, SidecarError
from sidecar.jobs import cancel as cancel_job
from sidecar.moodle.mail_settings import MailSettingsError
from sidecar.moodle.people import company_names
from sidecar.preview import preview
from sidecar.store import asks
from sidecar.store import companies as store
from sidecar.store.campaigns import hold_active
from sidecar.store.companies import COPIES, FALLBACKS, PROVIDERS, SECRETS
from sidecar.store.jobs import unfinished_jobs
from sidecar.store.site import read_site, set_identity


@click.command()
@click.argument("job_id", type=int, metavar="ID")
@pass_app
def cancel(app: App, job_id: int) -> None:
    """Cancel the mails of a job that have not left; they are never sent."""
    answer = app.perform("cancel", {"job": job_id})
    click.echo(f"job {job_id}: {answer['cancelled']} mails cancelled")
    if answer.get("left"):
        click.echo(f"{answer['left']} mails stay with the provider: {answer['why']}")


@click.command()
@click.argument("job_id", type=int, metavar="ID")
@pass_app
def release(app: App, job_id: int) -> None:
    """Hand back to Moodle what of a job was never submitted; cron then sends it."""
    answer = app.perform("release", {"job": job_id})
    click.echo(f"job {job_id}: {answer['returned']} mails handed back to Moodle")
    if answer["held"]:
        why = answer.get("why") or "a mail of the same row is out"
        click.echo(f"{answer['held']} mails stay with the sidecar: {why}")


@click.command()
@click.argument("job_id", type=int, metavar="JOB")
@click.option(
    "--unknown", type=click.Choice(["sent", "failed"]), required=True, help="What is true of them."
)
@pass_app
def resolve(app: App, job_id: int, unknown: str) -> None:
    """Say what became of the mails of a job whose answer was lost."""
    answer = app.perform("resolve", {"job": job_id, "as": unknown})
    click.echo(f"job {job_id}: {answer['resolved']} unknown mails are now {unknown}")


@click.command()
@click.argument("job_id", type=int, metavar="ID")
@click.option("--permanent", is_flag=True, help="Also those that were refused for good.")
@pass_app
def retry(app: App, job_id: int, permanent: bool) -> None:
    """Send the failed mails of a job again, as a job of their own."""
    answer = app.perform("retry", {"job": job_id, "permanent": permanent})
    click.echo(f"job {job_id}: {answer['mails']} mails are sent again as job {answer['job']}")


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
    """Change the settings of a company; 0 gives the defaults of all others."""
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
    """List all companies and what is set for them."""
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
            "id#",
            "company",
            "enabled",
            "provider",
            "bulk from#",
            "rate/s#",
            "a day#",
            "copies",
            "fallback",
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


@click.group()
def backlog() -> None:
    """Mail that has waited longer than max_age."""


@backlog.command("take")
@click.option("--company", "company_id", type=int, required=True, metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def backlog_take(app: App, company_id: int, yes: bool) -> None:
    """Let the sidecar send a company's old mail, after showing how much that is."""
    groups = [g for g in preview(app.context).groups if g.company_id == company_id]
    old = {group.type: group.left["too_old"] for group in groups if group.left["too_old"]}
    if not old:
        click.echo(f"company {company_id}: no mail is older than max_age")
        return
    for job_type, number in old.items():
        click.echo(f"company {company_id}: {number} old mails, {job_type}")
    if not yes:
        click.confirm("Send them all now?", abort=True)
    app.perform("backlog_take", {"company": company_id})
    click.echo("the leader will take them")


@click.command()
@click.option("--moved", is_flag=True, help="The site has moved; go on with its jobs.")
@click.option("--copy", is_flag=True, help="This is a copy; disable companies, cancel open jobs.")
@pass_app
def adopt(app: App, moved: bool, copy: bool) -> None:
    """Say what this database is, after it was copied or moved."""
    if moved == copy:
        raise ConfigError("adopt: choose --moved or --copy")
    context = app.context
    database, lease = context.database, context.lease
    site = read_site(database)
    deadline = time.monotonic() + 60
    while not lease.acquire():
        if time.monotonic() > deadline:
            raise SidecarError(f"a sidecar ({site.instance}) leads this site: stop it first")
        time.sleep(0.5)
    try:
        uid = site.site_uid if moved else secrets.token_hex(16)
        with database.write(lease.token) as tx:
            set_identity(tx, database, uid, context.fingerprint)
            if copy:
                store.disable_all(tx, database)
                hold_active(tx, database, "this is a copied site")
                for job_id in unfinished_jobs(tx.conn, database):
                    theirs = {mail.id for mail in asks.at_provider(tx.conn, database, job_id)}
                    cancel_job(tx, database, job_id, "this is a copied site", theirs)
        context.state_dir.remember(uid)
    finally:
        lease.release()
    click.echo("this site goes on where it was" if moved else "this copy is a site of its own now")
