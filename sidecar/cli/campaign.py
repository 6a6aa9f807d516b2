"""Commands about campaigns."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from sidecar.campaign_text import CampaignText
from sidecar.cli.common import App, json_option, pass_app, print_json, print_table, when
from sidecar.errors import ConfigError
from sidecar.moodle.inactive import count_students, first_students, inactive_students
from sidecar.moodle.people import company_names
from sidecar.pollers.campaign_samples import Sample, samples
from sidecar.store import campaigns as store

DAY = 86_400

SAMPLES = 3


@click.group()
def campaign() -> None:
    """Mail to many that a plugin or a command queued in the outbox."""


@campaign.command("list")
@click.option("--limit", default=50, show_default=True, help="How many of the newest.")
@json_option
@pass_app
def list_campaigns(app: App, limit: int, as_json: bool) -> None:
    """List campaigns, the newest first. What waits is sent by nobody but the sidecar.

    \b
    Example:
      manireports-sidecar campaign list --limit 10
    """
    context = app.context
    context.database.require_schema()
    companies = context.companies()
    with context.database.read() as conn:
        found = store.listed(conn, context.database, limit)
    notes = {
        c.id: c.error_message
        or ("" if companies.get(c.company_id).claims else f"company {c.company_id}: not enabled")
        for c, _ in found
        if c.error_message or c.status in store.ACTIVE
    }
    if as_json:
        print_json([{**asdict(c), "rows": rows, "note": notes.get(c.id, "")} for c, rows in found])
        return
    if not found:
        click.echo("No campaigns yet.")
        return
    print_table(
        ["id#", "type", "company#", "status", "waiting#", "claimed#", "job#", "from", "note"],
        [
            [
                c.id,
                c.type,
                c.company_id,
                c.status,
                rows.get("waiting", 0),
                rows.get("claimed", 0),
                c.job_id,
                when(c.send_at),
                notes.get(c.id, ""),
            ]
            for c, rows in found
        ],
    )


@campaign.command("queue")
@click.argument("campaign_id", type=int, metavar="ID")
@pass_app
def queue(app: App, campaign_id: int) -> None:
    """Send what of a campaign waits: a draft, or one that was held or failed.

    \b
    Example:
      manireports-sidecar campaign queue 12
    """
    answer = app.perform("campaign_queue", {"campaign": campaign_id})
    click.echo(f"campaign {campaign_id}: {answer['waiting']} mails are queued")


@campaign.command("cancel")
@click.argument("campaign_id", type=int, metavar="ID")
@pass_app
def cancel(app: App, campaign_id: int) -> None:
    """Never send what of a campaign has not left.

    \b
    Example:
      manireports-sidecar campaign cancel 12
    """
    answer = app.perform("campaign_cancel", {"campaign": campaign_id})
    waiting, claimed = answer["waiting"], answer["cancelled"]
    click.echo(f"campaign {campaign_id}: {waiting} waiting and {claimed} claimed mails cancelled")
    if answer["left"]:
        click.echo(f"{answer['left']} mails stay with the provider: {answer['why']}")


@campaign.command("inactive")
@click.option("--days", type=click.IntRange(min=1), required=True, help="Not there for so long.")
@click.option("--course", "course_id", type=int, metavar="ID", help="This course only.")
@click.option("--company", "company_id", type=click.IntRange(min=0), default=0, metavar="ID")
@click.option("--subject", default="", help="With placeholders; else the site's own text.")
@click.option(
    "--body-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="HTML."
)
@click.option("--dry-run", is_flag=True, help="Show, and queue nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def inactive(
    app: App,
    days: int,
    course_id: int | None,
    company_id: int,
    subject: str,
    body_file: Path | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Remind enrolled students who have not visited their course for so many days.

    \b
    Examples:
      manireports-sidecar campaign inactive --days 30 --course 42 --dry-run
      manireports-sidecar campaign inactive --days 30 --company 1 --subject 'We miss you' \\
          --body-file letter.html
    """
    context = app.context
    context.database.require_schema()
    context.identify()
    text = CampaignText(subject, _read(body_file))
    if len(subject) > 255:
        raise ConfigError("campaign inactive: --subject is longer than 255 characters")
    if complaint := text.complaint():
        raise ConfigError(f"campaign inactive: {complaint}")
    with context.database.read() as conn:
        if company_id and company_id not in company_names(conn, context.tables):
            raise ConfigError(f"campaign inactive: Moodle has no company {company_id}")
        now = context.database.now(conn)
        query = inactive_students(
            context.tables,
            now=now,
            since=now - days * DAY,
            course_id=course_id,
            company_id=company_id,
        )
        number = count_students(conn, query)
        some = samples(
            conn,
            context.database,
            context.tables,
            context.settings,
            text,
            company_id,
            first_students(conn, query, SAMPLES),
        )
    click.echo(f"{number} mails to students who were not there for {days} days")
    _show(some)
    if not context.companies().get(company_id).claims:
        click.echo(
            f"Company {company_id} is not enabled: they wait until it is. No cron sends them."
        )
    if dry_run or not number:
        return
    if not yes:
        click.confirm("Queue them now?", abort=True)
    with context.database.write(None) as tx:
        campaign_id = store.insert_campaign(
            tx,
            context.database,
            campaign_type="reengagement",
            company_id=company_id,
            text=text,
            created_by=0,
            send_at=tx.now,
        )
        queued = store.fill(tx, context.database, campaign_id, query)
        store.set_status(tx, context.database, [campaign_id], store.Status.QUEUED)
    click.echo(f"campaign {campaign_id}: {queued} mails are queued")


def _read(body_file: Path | None) -> str:
    if body_file is None:
        return ""
    try:
        return body_file.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{body_file}: is not UTF-8") from None


def _show(some: Sequence[Sample]) -> None:
    for sample in some:
        click.echo(f"\nTo: {sample.to}\nSubject: {sample.subject}\n\n{sample.text}")
