"""``status``: one screen that says whether mail flows, for whom not, and why."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sidecar.cli.common import App, json_option, pass_app, print_json, when
from sidecar.cli.plans import in_short, plans_of
from sidecar.cli.show import size_of
from sidecar.context import Context
from sidecar.errors import SidecarError
from sidecar.holds import used_up
from sidecar.moodle.people import company_names
from sidecar.store import facts
from sidecar.store import jobs as store
from sidecar.store.jobs import JobRow
from sidecar.store.pauses import EVERYTHING
from sidecar.store.site import SiteRow, read_site

SHOWN_JOBS = 12
SHOWN_ERRORS = 5
LOOKED_AT = 200
WATCH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Screen:
    """Everything that is shown. errors: the newest batches that say why they wait or failed."""

    site: SiteRow
    names: Mapping[int, str]
    flights: list[facts.Flight]
    running: list[JobRow]
    plans: Mapping[int, str]
    errors: list[tuple[int, str]]
    inbox: int

    @property
    def blocked(self) -> list[str]:
        """Why nothing, or less than everything, may move."""
        found = [str(reason) for reason in _listed(self.site.state.get("blocked"))]
        found += [str(doubt) for doubt in _listed(self.site.state.get("lock_doubts"))]
        if self.site.state.get(EVERYTHING):
            found.append("all mail is held: `resume all`")
        found += [f"company {c}: {why}" for c, why in sorted(used_up(self.site.state).items())]
        return found

    @property
    def troubles(self) -> dict[str, str]:
        """Company → what its provider said."""
        found = self.site.state.get("troubles")
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}

    @property
    def backlog(self) -> dict[str, tuple[int, int]]:
        """Source → rows that wait in Moodle's queue, and for how long the oldest is due."""
        found = self.site.state.get("backlog")
        if not isinstance(found, dict) or not self.site.leader_alive:
            return {}
        return {
            str(source): (int(entry[0]), int(entry[1]))
            for source, entry in found.items()
            if isinstance(entry, list) and len(entry) == 2
        }


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


@click.command()
@click.option("--watch", is_flag=True, help="Refresh every two seconds, until Ctrl-C.")
@json_option
@pass_app
def status(app: App, watch: bool, as_json: bool) -> None:
    """Show on one screen whether mail flows, for whom not, and why.

    \b
    Examples:
      manireports-sidecar status
      manireports-sidecar status --watch
      manireports-sidecar status --json | jq .leader
    """
    context = app.context
    context.database.require_schema()
    if as_json:
        print_json(_as_json(_look(context)))
        return
    console = Console(highlight=False, markup=False)
    if not watch:
        console.print(_drawn(_look(context)))
        return
    try:
        with Live(_drawn(_look(context)), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                try:
                    live.update(_drawn(_look(context)), refresh=True)
                except SidecarError as error:
                    live.update(Text(f"{error}\nlooking again …", "red"), refresh=True)
    except KeyboardInterrupt:
        return


def _look(context: Context) -> Screen:
    database = context.database
    site = read_site(database)
    with database.read() as conn:
        found = store.list_jobs(conn, database, LOOKED_AT)
        running = [job for job in found if job.completed_at is None]
        flights = facts.flights(conn, database)
        errors = store.last_troubles(conn, database, SHOWN_ERRORS)
        names = company_names(conn, context.tables)
        waiting, _ = facts.inbox(conn, database)
    plans = {job: in_short(plan) for job, plan in plans_of(context, running).items()}
    return Screen(site, names, flights, running, plans, errors, waiting)


def _as_json(screen: Screen) -> dict[str, object]:
    site = screen.site
    return {
        "leader": site.instance if site.leader_alive else None,
        "version": site.version,
        "since": site.started_at,
        "blocked": screen.blocked,
        "troubles": screen.troubles,
        "backlog": {
            source: {"rows": rows, "oldest_seconds": age}
            for source, (rows, age) in screen.backlog.items()
        },
        "waiting": [
            {"company": f.company, "provider": f.provider, "status": f.status, "mails": f.mails}
            for f in screen.flights
        ],
        "jobs": [
            {
                "id": job.id,
                "status": job.status,
                "mails": job.email_count,
                "sent": job.emails_sent,
                "failed": job.emails_failed,
                "plan": screen.plans.get(job.id, ""),
            }
            for job in screen.running
        ],
        "inbox": screen.inbox,
        "errors": [{"job": job, "reason": reason} for job, reason in screen.errors],
    }


def _drawn(screen: Screen) -> Group:
    parts: list[Text | Table] = [_leader(screen)]
    parts += [Text(f"  held: {reason}", "yellow") for reason in screen.blocked]
    for source, (rows, age) in sorted(screen.backlog.items()):
        oldest = f", the oldest due for {_span(age)}" if rows else ""
        parts.append(Text(f"  {source.replace('_', ' ')}: {rows} rows wait in Moodle{oldest}"))
    mails = sum(flight.mails for flight in screen.flights)
    parts.append(Text(f"  claimed and on their way: {mails} mails"))
    if screen.inbox:
        parts.append(Text(f"  results to be settled: {screen.inbox}"))
    parts.append(_jobs(screen) if screen.running else Text("\nNo job is running."))
    if screen.troubles:
        parts.append(Text("\nCompanies whose provider refuses", "bold red"))
        for company, reason in sorted(screen.troubles.items()):
            name = screen.names.get(int(company), "") if company.isdecimal() else ""
            parts.append(Text(f"  {company} {name}: {reason}".rstrip()))
    if screen.errors:
        parts.append(Text("\nLast errors", "bold"))
        parts += [Text(f"  job {job}: {reason}") for job, reason in screen.errors]
    return Group(*parts)


def _leader(screen: Screen) -> Text:
    site = screen.site
    if not site.leader_alive:
        return Text("No sidecar leads this site: nothing moves.", "bold red")
    return Text(f"Led by {site.instance}, {site.version}, since {when(site.started_at)}", "bold")


def _jobs(screen: Screen) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, title_justify="left")
    for column in ("\njob", "\nwhat", "\nstatus", "\nusers", "\nsent", "\n", "\nplan"):
        table.add_column(column, overflow="fold")
    for job in islice(screen.running, SHOWN_JOBS):
        done = job.emails_sent + job.emails_failed
        table.add_row(
            str(job.id),
            job.label,
            job.status.replace("_", " "),
            size_of(job),
            f"{job.emails_sent}/{job.email_count}",
            ProgressBar(total=max(1, job.email_count), completed=done, width=20),
            screen.plans.get(job.id, ""),
        )
    if len(screen.running) > SHOWN_JOBS:
        table.add_row("…", f"and {len(screen.running) - SHOWN_JOBS} more: `jobs`")
    return table


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
