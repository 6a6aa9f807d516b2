"""Commands around a company's AWS account: deploy, verify, status, redrive, rotate."""

from collections.abc import Iterator
from dataclasses import asdict

import click

from sidecar.cli.aws_account import connected
from sidecar.cli.aws_deploy import Deployment, Wishes
from sidecar.cli.common import App, json_option, pass_app, print_json, print_table
from sidecar.connectors.aws_queues import DEAD_LETTERS
from sidecar.connectors.aws_stack import AwsAdmin
from sidecar.errors import ConfigError, ConnectorError, SidecarError
from sidecar.mail import Address
from sidecar.moodle.mail_settings import diversion, noreply_address
from sidecar.reputation import Standing, standings
from sidecar.steps import Step
from sidecar.store import feedback
from sidecar.store.site import read_site
from sidecar.verify import SIMULATOR, Test, verify

company_option = click.option(
    "--company", "company_id", type=click.IntRange(min=0), required=True, metavar="ID"
)
region_option = click.option("--region", help="Like eu-west-1; that of the company if it has one.")
profile_option = click.option("--profile", default="", help="Of ~/.aws: an admin's credentials.")
WAIT = click.option(
    "--wait", default=120.0, show_default=True, help="Seconds that the test mail may take."
)


@click.group()
def aws() -> None:
    """A company's AWS account: make what is needed, prove that it works, look at it."""


@aws.command("verify")
@company_option
@click.option("--to", help="Whom the test mail goes to; else a mailbox of SES itself.")
@click.option("--no-mail", is_flag=True, help="Only look; send nothing.")
@WAIT
@json_option
@pass_app
def verify_command(
    app: App, company_id: int, to: str | None, no_mail: bool, wait: float, as_json: bool
) -> None:
    """Prove that mail gets through: account, sender, queues, and a test mail there and back.

    \b
    Examples:
      manireports-sidecar aws verify --company 1 --to anna@example.org
      manireports-sidecar aws verify --company 1 --no-mail
    """
    steps: list[Step] = []
    for step in steps_of(app, company_id, to or "", wait, send=not no_mail):
        steps.append(step)
        if not as_json:
            click.echo(step.line())
    if as_json:
        print_json([step.as_dict() for step in steps])
    if not all(step.ok for step in steps):
        raise SystemExit(1)


def steps_of(app: App, company_id: int, to: str, wait: float, *, send: bool) -> Iterator[Step]:
    """What ``verify`` finds, as it finds it."""
    context = app.context
    config = context.observe().config
    with connected(app, company_id) as (company, connector, watch):
        address = company.ses_sender_email or noreply_address(config, context.settings, company_id)
        divert = diversion(config)
        test = Test(
            company_id,
            Address(address, company.sender_name),
            divert.to if to and divert.applies(to) else to or SIMULATOR,
            wait,
            lambda: read_site(context.database).leader_alive,
        )
        yield from verify(context.database, connector, watch, test, send=send)


@aws.command()
@company_option
@json_option
@pass_app
def status(app: App, company_id: int, as_json: bool) -> None:
    """What waits in the queues, what SES still takes today, and what came back.

    \b
    Example:
      manireports-sidecar aws status --company 1
    """
    context = app.context
    found: dict[str, object] = {}
    with connected(app, company_id) as (company, connector, watch):
        depths = watch.depths()
        try:
            quota = connector.quota()
        except ConnectorError as error:
            found["quota_error"] = str(error)
        else:
            found["quota"] = asdict(quota)
    site = read_site(context.database)
    standing = standings(site.state).get(company_id, Standing())
    with context.database.read() as conn:
        rates = feedback.rates(conn, context.database, company_id, standing.since)
    troubles = site.state.get("troubles")
    found |= {
        "queues": [asdict(depth) for depth in depths],
        "breaker": troubles.get(str(company_id), "") if isinstance(troubles, dict) else "",
        "leader_alive": site.leader_alive,
        "paused": (standing.paused or "by an admin") if company.paused else "",
        "last_mails": rates.mails,
        "bounce_rate": round(rates.bounce_rate, 4),
        "complaint_rate": round(rates.complaint_rate, 4),
    }
    if as_json:
        print_json(found)
        return
    print_table(
        ["queue", "waiting#", "in work#", "delayed#"],
        [[each.name, each.waiting, each.in_work, each.delayed] for each in depths],
    )
    for line in _in_words(found):
        click.echo(line)


def _in_words(found: dict[str, object]) -> Iterator[str]:
    quota = found.get("quota")
    if isinstance(quota, dict):
        most = "any number" if quota["per_day"] < 0 else f"{quota['per_day']:,}"
        sandbox = ", in the sandbox" if quota["sandbox"] else ""
        used = f"{quota['sent_today']:,} of {most} in 24 hours"
        yield f"SES: {used}, {quota['per_second']:g} a second{sandbox}"
    else:
        yield str(found["quota_error"])
    yield f"breaker: {found['breaker'] or 'closed, all is well'}"
    yield (
        f"of the last {found['last_mails']} mails {found['bounce_rate']:.2%} bounced,"
        f" {found['complaint_rate']:.2%} were reported as spam"
    )
    if found["paused"]:
        yield f"paused: {found['paused']}"
    if not found["leader_alive"]:
        yield "no daemon is running: nothing is dispatched and no result is collected"


@aws.command()
@company_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def redrive(app: App, company_id: int, yes: bool) -> None:
    """Put what the jobs queue gave up back into it, once its cause is mended.

    \b
    Example:
      manireports-sidecar aws redrive --company 1
    """
    with connected(app, company_id) as (_, _, watch):
        dead = next((each for each in watch.depths() if each.name == DEAD_LETTERS), None)
        if dead is None or not dead.messages:
            click.echo("the dead-letter queue is empty")
            return
        if not yes:
            click.confirm(f"Put {dead.messages} messages back into the jobs queue?", abort=True)
        number = watch.redrive(_counting)
        click.echo(f"{number} messages are in the jobs queue again; no mail is sent twice")


def _counting(number: int) -> None:
    if number % 100 == 0:
        click.echo(f"{number} …")


@aws.command()
@company_option
@region_option
@click.option("--sender", help="The domain or address that mail is sent from, for SES to verify.")
@click.option("--rate", type=click.FloatRange(min=0.1), help="Mails a second; else all SES takes.")
@click.option("--concurrency", type=click.IntRange(2, 1000), help="Functions at the same time.")
@click.option("--tenant", help="A tenant of SES to make for this company.")
@click.option("--callback-url", help="Of the plugin's page, if not below wwwroot; '' for none.")
@click.option("--principal", help="ARN of the user or role that may act as the sidecar, by a role.")
@click.option("--external-id", help="What that principal must name.")
@click.option("--kms-key", help="ARN of your own KMS key; else one is made.")
@click.option("--alarm-email", help="Who is told by alarms.")
@click.option("--stack", help="The stack's name, if not manireports-SITE-ID.")
@profile_option
@click.option("--to", default="", help="Whom the test mail goes to; else a mailbox of SES itself.")
@click.option("--no-verify", is_flag=True, help="Send no test mail.")
@WAIT
@pass_app
def deploy(
    app: App, /, company_id: int, region: str | None, profile: str, to: str, no_verify: bool,
    wait: float, stack: str | None, **options: str | float | None,
) -> None:  # fmt: skip
    """Make or update all that a company needs at AWS, store it as its settings, and verify it.

    It runs with an admin's credentials, of the environment or --profile; the sidecar gets rights
    of its own, that reach no further than it must. May be repeated: what is not named stays.

    \b
    Examples:
      manireports-sidecar aws deploy --company 1 --region eu-west-1 --sender learn.example.org
      manireports-sidecar aws deploy --company 1 --rate 14 --alarm-email it@example.org \\
          --profile admin
    """
    wishes = Wishes(
        company_id=company_id,
        stack=stack or "",
        **{name: value for name, value in options.items() if value is not None},  # type: ignore[arg-type]
    )
    deployment = Deployment(app, _admin(app, company_id, region, profile), wishes, click.echo)
    deployment.run()
    if no_verify:
        return
    failed = False
    for step in steps_of(app, company_id, to, wait, send=True):
        click.echo(step.line())
        failed = failed or not step.ok
    if failed:
        raise SidecarError(
            f"not everything works yet: mend it, then `aws verify --company {company_id}`"
        )
    click.echo(f"all is ready: `company set {company_id} --provider aws --enable`")


@aws.command()
@company_option
@region_option
@click.option("--stack", help="The stack's name, if not manireports-SITE-ID.")
@profile_option
@pass_app
def rotate(app: App, company_id: int, region: str | None, stack: str | None, profile: str) -> None:
    """Give worker and sidecar new keys, while mail goes on: nothing is restarted.

    \b
    Example:
      manireports-sidecar aws rotate --company 1
    """
    wishes = Wishes(company_id=company_id, stack=stack or "")
    admin = _admin(app, company_id, region, profile)
    Deployment(app, admin, wishes, click.echo).rotate()


def _admin(app: App, company_id: int, region: str | None, profile: str) -> AwsAdmin:
    context = app.context
    context.database.require_schema()
    where = region or context.companies().get(company_id).aws_region
    if not where:
        raise ConfigError("aws: say --region, like eu-west-1")
    return AwsAdmin(where, profile=profile, endpoint_url=context.settings.aws_endpoint_url)
