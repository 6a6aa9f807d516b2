"""Commands that show jobs."""

from dataclasses import asdict

import click

from sidecar.cli.common import App, json_option, pass_app, print_json, print_table, when
from sidecar.cli.plans import in_full, in_short, plans_of
from sidecar.errors import NotFoundError
from sidecar.plan import Plan
from sidecar.store import jobs as store
from sidecar.store.jobs import JobRow


@click.command()
@click.option("--limit", default=50, show_default=True, help="How many of the newest jobs.")
@json_option
@pass_app
def jobs(app: App, limit: int, as_json: bool) -> None:
    """List jobs, the newest first.

    \b
    Example:
      manireports-sidecar jobs --limit 10
    """
    database = app.context.database
    database.require_schema()
    with database.read() as conn:
        found = store.list_jobs(conn, database, limit)
    plans = plans_of(app.context, found)
    if as_json:
        print_json([asdict(row) | {"plan": _plan_fields(plans.get(row.id))} for row in found])
        return
    if not found:
        click.echo("No jobs yet.")
        return
    print_table(
        ["job#", "what", "status", "users", "sent#", "failed#", "started", "finished", "plan"],
        [
            [
                row.id,
                row.label,
                row.status.replace("_", " "),
                size_of(row),
                row.emails_sent,
                row.emails_failed,
                when(row.started_at),
                when(row.completed_at),
                in_short(plans[row.id]) if row.id in plans else "",
            ]
            for row in found
        ],
    )


def _plan_fields(made: Plan | None) -> dict[str, object] | None:
    return asdict(made) if made else None


def size_of(row: JobRow) -> str:
    """How big a job is, in the admin's words: "500 users + 500 copies"."""
    users = f"{row.email_count - row.copy_count} users"
    return f"{users} + {row.copy_count} copies" if row.copy_count else users


@click.command()
@click.argument("job_id", type=int, metavar="ID")
@click.option("--eta", is_flag=True, help="Only when it will be done.")
@json_option
@pass_app
def job(app: App, job_id: int, eta: bool, as_json: bool) -> None:
    """Show one job: its batches, and every mail that did not simply arrive.

    \b
    Examples:
      manireports-sidecar job 7
      manireports-sidecar job 7 --eta
    """
    database = app.context.database
    database.require_schema()
    with database.read() as conn:
        row = store.read_job(conn, database, job_id)
        if row is None:
            raise NotFoundError(f"there is no job {job_id}")
        batches = store.job_batches(conn, database, job_id)
        states = store.recipient_states(conn, database, job_id)
        troubled = store.troubled_recipients(conn, database, job_id)
    made = plans_of(app.context, [row]).get(row.id)
    if as_json:
        print_json(
            {
                **asdict(row),
                "plan": _plan_fields(made),
                "states": states,
                "batches": [asdict(batch) for batch in batches],
                "recipients": [asdict(recipient) for recipient in troubled],
            }
        )
        return
    if eta:
        click.echo(in_full(made) if made else f"job {row.id} has ended: {row.status}")
        return
    click.echo(f"Job {row.id}: {row.label} ({size_of(row)}), {row.status.replace('_', ' ')}")
    click.echo(", ".join(f"{number} {state}" for state, number in sorted(states.items())))
    if made:
        click.echo(in_full(made))
    print_table(
        ["batch#", "status", "mails#", "sent#", "failed#", "asks#", "note"],
        [
            [
                batch.batch_num,
                batch.status,
                batch.email_count,
                batch.sent_count,
                batch.failed_count,
                batch.attempt,
                batch.error_message,
            ]
            for batch in batches
        ],
    )
    if troubled:
        print_table(
            ["address", "for", "role", "status", "tries#", "reason"],
            [
                [r.email, r.name, r.role, r.status.replace("_", " "), r.tries, r.error_message]
                for r in troubled
            ],
            title="\nMails that did not simply arrive",
        )
