"""``find``: did this person get their mail?"""

from dataclasses import asdict, dataclass

import click
from sqlalchemy import Connection

from sidecar.cli.common import App, json_option, pass_app, print_json, print_table, when
from sidecar.context import Context
from sidecar.moodle import mail_queue
from sidecar.moodle.people import find_users
from sidecar.store import suppressions
from sidecar.store.companies import Companies
from sidecar.store.finding import mails_to


@dataclass(frozen=True, slots=True)
class StillThere:
    """A mail that waits in Moodle's own queue, and why it is not a job's."""

    company_id: int
    due: int
    subject: str
    why: str


@click.command()
@click.argument("person", metavar="ADDRESS|USERID|USERNAME")
@json_option
@pass_app
def find(app: App, person: str, as_json: bool) -> None:
    """Show every mail to a person, over all jobs, and what still waits.

    \b
    Examples:
      manireports-sidecar find anna@example.org
      manireports-sidecar find 4711 --json
    """
    context = app.context
    database = context.database
    database.require_schema()
    companies = context.companies()
    with database.read() as conn:
        users = find_users(conn, context.tables, person)
        addresses = {user.email for user in users.values()}
        addresses |= {person, person.lower()} if "@" in person else set()
        mails = mails_to(conn, database, users, addresses)
        waiting = _waiting(conn, context, companies, list(users))
        blocked = suppressions.of_addresses(conn, database, addresses)
    if as_json:
        print_json(
            {
                "users": sorted(users),
                "mails": [asdict(mail) for mail in mails],
                "waiting": [asdict(mail) for mail in waiting],
                "suppressed": [entry.words for entry in blocked],
            }
        )
        return
    if not (users or mails):
        click.echo(f"Moodle knows no user {person}, and no job has a mail to that address.")
        return
    for user in users.values():
        click.echo(f"{user.firstname} {user.lastname}, {user.email}, user {user.id}")
    for entry in blocked:
        click.echo(f"{entry.email}: {entry.words}")
    if mails:
        print_table(
            ["when", "subject", "address", "as", "status", "job#", "by", "provider's id", "reason"],
            [
                [
                    when(mail.at),
                    mail.subject,
                    mail.email,
                    mail.role,
                    _status(mail.status, mail.repeated_by),
                    mail.job_id,
                    mail.provider,
                    mail.provider_id,
                    mail.error,
                ]
                for mail in mails
            ],
        )
    else:
        click.echo("No job has a mail to this person.")
    if waiting:
        print_table(
            ["due", "subject", "why not"],
            [[when(mail.due), mail.subject, mail.why] for mail in waiting],
            title="\nStill in Moodle's queue",
        )


def _status(status: str, repeated_by: int) -> str:
    words = status.replace("_", " ")
    return f"{words}, sent again by job {repeated_by}" if repeated_by else words


def _waiting(
    conn: Connection, context: Context, companies: Companies, user_ids: list[int]
) -> list[StillThere]:
    now = context.database.now(conn)
    rows = mail_queue.waiting_of_users(conn, context.tables, user_ids) if user_ids else []
    found = []
    for _, company_id, due, subject in rows:
        if due > now:
            why = "not due yet"
        elif not companies.get(company_id).claims:
            why = f"company {company_id} is not enabled: Moodle's cron sends it"
        elif now - due > context.settings.max_age:
            why = "older than max_age: `backlog take`, else Moodle's cron sends it"
        else:
            why = "taken over as soon as enough wait for a bulk; else Moodle's cron sends it"
        found.append(StillThere(company_id, due, subject, why))
    return found
