"""``company test``: does a company's way of sending work?"""

import time

import click

from sidecar.cli.common import App, pass_app
from sidecar.errors import ConfigError, SidecarError
from sidecar.lifecycle import ENDED
from sidecar.moodle.people import find_users
from sidecar.questions import Questions
from sidecar.steps import FAIL, OK, Step
from sidecar.store.finding import mails_to
from sidecar.store.site import read_site

WAIT_SECONDS = 90.0


@click.command("test")
@click.argument("company_id", type=click.IntRange(min=0), metavar="ID")
@click.option("--mail-to", metavar="ADDRESS|USERID|USERNAME", help="Send this user a test mail.")
@pass_app
def company_test(app: App, company_id: int, mail_to: str | None) -> None:
    """Try the way from a company's settings to its provider; enabled or not.

    \b
    Examples:
      manireports-sidecar company test 1
      manireports-sidecar company test 1 --mail-to anna@example.org
    """
    steps = Questions(app.context).connection(company_id)
    for step in steps:
        _say(step)
    if not all(step.ok for step in steps):
        raise SystemExit(1)
    if mail_to:
        _send(app, company_id, mail_to)


def _say(step: Step) -> None:
    click.echo(step.line(9))


def _send(app: App, company_id: int, person: str) -> None:
    context = app.context
    with context.database.read() as conn:
        users = find_users(conn, context.tables, person)
    if len(users) != 1:
        raise ConfigError(f"company test: {len(users)} users are called {person}: give the id")
    (user_id,) = users
    answer = app.perform("test_mail", {"company": company_id, "user": user_id})
    job_id = answer["job"]
    if not isinstance(job_id, int):
        raise SidecarError(f"company test: {answer}")
    if not read_site(context.database).leader_alive:
        click.echo(f"job {job_id} waits: no daemon is running, the next one sends it")
        return
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with context.database.read() as conn:
            mails = mails_to(conn, context.database, [user_id], [])
        mail = next(mail for mail in mails if mail.job_id == job_id)
        if mail.status == "sent":
            _say(Step(OK, "mail", f"sent to {mail.email}, job {job_id}"))
            return
        if mail.status in ENDED:
            _say(Step(FAIL, "mail", f"job {job_id}: {mail.status}: {mail.error}"))
            raise SystemExit(1)
        time.sleep(0.2)
    raise SidecarError(f"no answer after {WAIT_SECONDS:.0f} s: see `job {job_id}`")
