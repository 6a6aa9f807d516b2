"""What may not leave now, because an admin said so. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sidecar.errors import ConfigError
from sidecar.reputation import Standing
from sidecar.send_window import in_words, parse
from sidecar.store.companies import Company

NOBODY: Mapping[int, Standing] = {}
NO_REASON: Mapping[int, str] = {}


@dataclass(frozen=True, slots=True)
class Holds:
    """Mail is claimed and held while it is in here.

    everything: the kill switch. jobs: paused ones, by id. companies: paused ones and those outside
    their hours, with the reason in words.
    """

    everything: bool = False
    jobs: frozenset[int] = frozenset()
    companies: Mapping[int, str] = field(default_factory=dict)

    def reason(self, company_id: int, job_id: int) -> str:
        """Why a job's mail is held; '' if it may leave."""
        if self.everything:
            return "everything is paused: `resume all`"
        if job_id in self.jobs:
            return f"the job is paused: `resume job {job_id}`"
        return self.companies.get(company_id, "")


def holds_now(
    companies: Iterable[Company],
    jobs: frozenset[int],
    now: float,
    *,
    everything: bool,
    stopped: Mapping[int, Standing] = NOBODY,
    used_up: Mapping[int, str] = NO_REASON,
) -> Holds:
    """What is held at ``now``, Unix seconds of the database's clock.

    A window that cannot be read holds its company's mail: it was meant to. stopped: what the
    companies' reputation made us do. used_up: companies whose daily quota is, and why.
    """
    held = {
        company.company_id: _reason(company, now, stopped.get(company.company_id, Standing()))
        or used_up.get(company.company_id, "")
        for company in companies
    }
    return Holds(everything, jobs, {company: why for company, why in held.items() if why})


def _reason(company: Company, now: float, standing: Standing) -> str:
    if company.paused:
        why = f" ({standing.paused})" if standing.paused else ""
        return f"the company is paused{why}: `resume company {company.company_id}`"
    if not company.has_hours:
        return ""
    try:
        opens = parse(company.send_window).opens_at(now)
    except ConfigError as error:
        return str(error)
    return "" if opens <= now else f"outside its send window until {in_words(opens)}"


def used_up(state: Mapping[str, object]) -> dict[int, str]:
    """Company → why its daily quota lets nothing leave, as the site row's state says."""
    found = state.get("used_up")
    told = found.items() if isinstance(found, dict) else ()
    return {int(company): str(why) for company, why in told if str(company).isdecimal()}
