"""Shows jobs while they run, from the tables that the plugin's pages read."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from sqlalchemy import Engine, case, func, select

from sidecar.lifecycle import ENDED
from sidecar.store.tables import Tables

INTERVAL = 0.25
NEWS_SECONDS = 5.0
"""Where no bar moves, a job that goes on says so this often."""


@dataclass(frozen=True, slots=True)
class _Job:
    id: int
    label: str
    status: str
    mails: int
    ended: int


def watch(console: Console, engine: Engine, tables: Tables, running: Callable[[], bool]) -> None:
    """Show every job's progress until ``running`` says no: bars on a terminal, else lines."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    progress = Progress(*columns, TextColumn("{task.fields[status]}"), console=console)
    bars: dict[int, TaskID] = {}
    said: dict[int, _Job] = {}
    news_at: dict[int, float] = {}
    live: AbstractContextManager[object] = progress if console.is_terminal else nullcontext()
    with live:
        more = True
        while more:
            more = running()
            for job in _jobs(engine, tables):
                if console.is_terminal:
                    if job.id not in bars:
                        bars[job.id] = progress.add_task(job.label, status="")
                    progress.update(
                        bars[job.id], completed=job.ended, total=job.mails, status=job.status
                    )
                elif _is_news(job, said.get(job.id), news_at.get(job.id, 0.0)):
                    said[job.id], news_at[job.id] = job, time.monotonic()
                    console.print(f"{job.label}: {job.status}, {job.ended} of {job.mails}")
            if more:
                time.sleep(INTERVAL)


def _is_news(job: _Job, said: _Job | None, said_at: float) -> bool:
    if said is None or said.status != job.status:
        return True
    return job.ended != said.ended and time.monotonic() - said_at >= NEWS_SECONDS


def _jobs(engine: Engine, tables: Tables) -> Iterator[_Job]:
    jobs, recipients = tables.jobs, tables.recipients
    ended = case((recipients.c.status.in_([state.value for state in ENDED]), 1), else_=0)
    query = (
        select(jobs.c.id, jobs.c.label, jobs.c.status, func.count(), func.sum(ended))
        .join(recipients, recipients.c.job_id == jobs.c.id)
        .group_by(jobs.c.id, jobs.c.label, jobs.c.status)
        .order_by(jobs.c.id)
    )
    with engine.connect() as conn:
        rows = conn.execute(query).all()
    return (_Job(*row) for row in rows)
