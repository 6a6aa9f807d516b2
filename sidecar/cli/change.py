"""Commands that change something: the leader does it, or this command when none is alive."""

import secrets
import time

import click

from sidecar.cli.common import App, pass_app
from sidecar.errors import ConfigError, SidecarError
from sidecar.jobs import cancel as cancel_job
from sidecar.preview import preview
from sidecar.store import asks
from sidecar.store import companies as store
from sidecar.store.campaigns import hold_active
from sidecar.store.jobs import unfinished_jobs
from sidecar.store.site import read_site, set_identity


@click.command()
@click.argument("job_id", type=int, metavar="ID")
@pass_app
def cancel(app: App, job_id: int) -> None:
    """Cancel the mails of a job that have not left; they are never sent.

    \b
    Example:
      manireports-sidecar cancel 7
    """
    answer = app.perform("cancel", {"job": job_id})
    click.echo(f"job {job_id}: {answer['cancelled']} mails cancelled")
    if answer.get("left"):
        click.echo(f"{answer['left']} mails stay with the provider: {answer['why']}")


@click.command()
@click.argument("job_id", type=int, metavar="ID")
@pass_app
def release(app: App, job_id: int) -> None:
    """Hand back to Moodle what of a job was never submitted; cron then sends it.

    \b
    Example:
      manireports-sidecar release 7
    """
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
    """Say what became of the mails of a job whose answer was lost.

    \b
    Example:
      manireports-sidecar resolve 7 --unknown sent
    """
    answer = app.perform("resolve", {"job": job_id, "as": unknown})
    click.echo(f"job {job_id}: {answer['resolved']} unknown mails are now {unknown}")


@click.command()
@click.argument("job_id", type=int, metavar="ID")
@click.option("--permanent", is_flag=True, help="Also those that were refused for good.")
@pass_app
def retry(app: App, job_id: int, permanent: bool) -> None:
    """Send the failed mails of a job again, as a job of their own.

    \b
    Examples:
      manireports-sidecar retry 7
      manireports-sidecar retry 7 --permanent
    """
    answer = app.perform("retry", {"job": job_id, "permanent": permanent})
    click.echo(f"job {job_id}: {answer['mails']} mails are sent again as job {answer['job']}")


@click.group()
def backlog() -> None:
    """Mail that has waited longer than max_age."""


@backlog.command("take")
@click.option("--company", "company_id", type=int, required=True, metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def backlog_take(app: App, company_id: int, yes: bool) -> None:
    """Let the sidecar send a company's old mail, after showing how much that is.

    \b
    Example:
      manireports-sidecar backlog take --company 1
    """
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
    """Say what this database is, after it was copied or moved.

    \b
    Examples:
      manireports-sidecar adopt --moved
      manireports-sidecar adopt --copy
    """
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
