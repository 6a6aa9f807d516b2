"""What is planned for running jobs, in words."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sidecar.context import Context
from sidecar.holds import holds_now, used_up
from sidecar.plan import MEASURED_SECONDS, Plan, Progress, plan
from sidecar.reputation import standings
from sidecar.store.jobs import JobRow
from sidecar.store.pauses import EVERYTHING, paused_jobs
from sidecar.store.progress import JobProgress, progress_since
from sidecar.store.site import read_site


def plans_of(context: Context, rows: Collection[JobRow]) -> dict[int, Plan]:
    """The plan of each of these jobs that has not ended. Raises DatabaseError."""
    running = [row for row in rows if row.completed_at is None]
    if not running:
        return {}
    database, companies, site = context.database, context.companies(), read_site(context.database)
    with database.read() as conn:
        since = site.now - MEASURED_SECONDS
        known = progress_since(conn, database, [row.id for row in running], since)
        jobs = paused_jobs(conn, database)
    holds = holds_now(
        companies,
        jobs,
        site.now,
        everything=bool(site.state.get(EVERYTHING)),
        stopped=standings(site.state),
        used_up=used_up(site.state),
    )
    found = {}
    for row in running:
        job = known.get(row.id, JobProgress())
        found[row.id] = plan(
            Progress(
                left=job.left,
                recently=job.recently,
                over=float(max(1, site.now - job.first)) if job.first else 0.0,
                limit=companies.get(row.company_id).max_send_rate,
                held=holds.reason(row.company_id, row.id),
            )
        )
    return found


def in_short(made: Plan) -> str:
    """For a line of a table."""
    if made.seconds is None:
        return made.note
    if not made.left:
        return ""
    return f"done in {duration(made.seconds)}, {made.per_second:.0f}/s"


def in_full(made: Plan) -> str:
    """For one job."""
    if made.seconds is None:
        return f"{made.left} mails left; no end can be told: {made.note}"
    if not made.left:
        return "no mail is left; more may still join"
    end = datetime.now() + timedelta(seconds=made.seconds)
    return (
        f"{made.left} mails left at {made.per_second:.1f} a second ({made.note}):"
        f" done in {duration(made.seconds)}, at {end:%H:%M}"
    )


def duration(seconds: float) -> str:
    """In words: 3 h 05 min, 5 min 02 s, 7 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
