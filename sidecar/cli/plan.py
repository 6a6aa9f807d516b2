"""``plan``: what waits or runs, with its mails, requests, cost and time."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click

from sidecar.cli.aws_account import connected
from sidecar.cli.common import App, json_option, pass_app, print_json, print_table
from sidecar.cli.plans import duration, in_short, plans_of
from sidecar.cost import Account, Estimate, estimate
from sidecar.errors import ConnectorError, NotFoundError
from sidecar.moodle.mail_settings import MailSettingsError
from sidecar.preview import preview
from sidecar.store.jobs import list_jobs, read_job


@dataclass(frozen=True, slots=True)
class Planned:
    """A running job, or mail that waits in Moodle. job: 0 for the latter. note: of its time."""

    job: int
    what: str
    company_id: int
    provider: str
    mails: int
    note: str
    cost: Estimate | None


@click.command()
@click.argument("job_id", type=int, metavar="[JOB]", required=False)
@json_option
@pass_app
def plan(app: App, job_id: int | None, as_json: bool) -> None:
    """What waits or runs: mails, requests, expected cost at AWS, and how long it takes.

    \b
    Examples:
      manireports-sidecar plan
      manireports-sidecar plan 7
    """
    rows = list(_planned(app, job_id))
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    if not rows:
        click.echo("nothing runs, and nothing waits that would be claimed")
        return
    print_table(
        ["job#", "what", "provider", "mails#", "messages#", "requests#", "cost", "time", "note"],
        [
            [
                row.job or "",
                row.what,
                row.provider,
                row.mails,
                row.cost.messages if row.cost else "",
                sum(row.cost.requests.values()) if row.cost else "",
                f"${row.cost.dollars:.2f}" if row.cost else "",
                duration(row.cost.seconds) if row.cost and row.cost.seconds is not None else "",
                row.note,
            ]
            for row in rows
        ],
    )
    if any(row.cost for row in rows):
        click.echo("Costs are list prices, without what a month costs anyway (docs/aws.md).")


def _planned(app: App, job_id: int | None) -> Iterator[Planned]:
    context = app.context
    context.database.require_schema()
    companies = context.companies()
    accounts: dict[int, tuple[Account, str]] = {}

    def row(job: int, what: str, company_id: int, provider: str, mails: int, note: str) -> Planned:
        if provider != "aws":
            return Planned(job, what, company_id, provider, mails, note, None)
        if company_id not in accounts:
            accounts[company_id] = _account(app, company_id)
        account, trouble = accounts[company_id]
        limit = companies.get(company_id).max_send_rate
        cost = estimate(mails, account, limit=limit, batch_size=context.settings.batch_size)
        notes = [note, trouble]
        if cost.days:
            notes.append(f"the daily quota ends {cost.days} times before the mails do")
        text = "; ".join(filter(None, notes))
        return Planned(job, what, company_id, provider, mails, text, cost)

    with context.database.read() as conn:
        if job_id is None:
            jobs = list_jobs(conn, context.database)
        else:
            found = read_job(conn, context.database, job_id)
            if found is None:
                raise NotFoundError(f"there is no job {job_id}")
            jobs = [found]
    plans = plans_of(context, jobs)
    for job in jobs:
        if made := plans.get(job.id):
            yield row(job.id, job.label, job.company_id, job.provider, made.left, in_short(made))
    if job_id is not None:
        return
    for group in preview(context).groups:
        if group.mails:
            what = f"{group.type}, {group.company}".strip(", ")
            yield row(0, what, group.company_id, group.provider, group.mails, "waits in Moodle")


def _account(app: App, company_id: int) -> tuple[Account, str]:
    """What the company's account may send, and why that is not known."""
    try:
        with connected(app, company_id) as (_, connector, _):
            quota = connector.quota()
    except (ConnectorError, MailSettingsError) as error:
        return Account(), str(error)
    left = -1 if quota.per_day < 0 else max(0, quota.per_day - quota.sent_today)
    return Account(quota.per_second, left, quota.per_day), ""
