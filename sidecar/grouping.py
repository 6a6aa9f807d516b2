"""Which waiting mails are a bulk operation, and what of them can be claimed now. Pure."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

TEMPLATE_TYPES: Mapping[str, str] = {
    "user_create": "csv_import",
    "user_reset": "csv_import",
    "password_update": "csv_import",
    "license_allocated": "license_allocation",
    "license_removed": "license_allocation",
    "license_reminder": "license_allocation",
    "course_not_started_warning": "reengagement",
    "completion_warn_user": "reengagement",
    "completion_warn_manager": "reengagement",
    "completion_warn_supervisor": "reengagement",
    "expiry_warn_user": "reengagement",
    "expiry_warn_manager": "reengagement",
    "expire": "reengagement",
    "expire_manager": "reengagement",
}
"""IOMAD template → job type; any other template is a ``notification``."""

JOB_TYPES = ("csv_import", "license_allocation", "reengagement", "notification")

TYPE_LABELS: Mapping[str, str] = {
    "csv_import": "Account mails",
    "license_allocation": "Licence mails",
    "reengagement": "Reminders",
    "notification": "Notifications",
    "test": "Test mail",
}


def job_type(template: str, extra: Mapping[str, str]) -> str:
    """The job type of an IOMAD template; ``extra`` comes from the configuration and wins."""
    return extra.get(template) or TEMPLATE_TYPES.get(template, "notification")


@dataclass(frozen=True, slots=True)
class Group:
    """What one job is made of: mails of a type for a company, from one source."""

    type: str
    company_id: int


class Waiting(NamedTuple):
    """A mail that waits. due, modified: Unix seconds; first_seen: monotonic seconds."""

    id: int
    group: Group
    due: int
    modified: int
    first_seen: float


@dataclass(frozen=True, slots=True)
class Rules:
    """Durations in seconds; see Settings."""

    min_age: float
    max_age: float
    flush_after: float
    batch_size: int


def is_too_old(mail: Waiting, now: int, max_age: float) -> bool:
    """Whether a mail has waited longer than ``max_age``. now: Unix seconds by the database."""
    return now - max(mail.due, mail.modified) > max_age


@dataclass(slots=True)
class Plan:
    """What to claim now. left: rows that stay with Moodle, by (reason, company).

    next_at: monotonic time at which more will be claimable, None if nothing ripens.
    """

    claims: dict[Group, list[int]] = field(default_factory=dict)
    opening: set[Group] = field(default_factory=set)
    left: Counter[tuple[str, int]] = field(default_factory=Counter)
    next_at: float | None = None

    def wait_until(self, at: float) -> None:
        """Remember the earliest moment worth looking again."""
        self.next_at = at if self.next_at is None else min(self.next_at, at)


def plan_claims(
    waiting: Iterable[Waiting],
    *,
    open_groups: frozenset[Group],
    threshold: Callable[[int], int],
    may_take_old: Callable[[Waiting], bool],
    rules: Rules,
    now: int,
    monotonic: float,
) -> Plan:
    """Decide what to claim (DESIGN §3 Groups and jobs).

    open_groups: groups for which a job is open; threshold: company → mails that make a bulk;
    may_take_old: whether the admin confirmed an overdue row; now: Unix seconds by the database;
    monotonic: our clock, the one of ``first_seen``.
    """
    plan = Plan()
    due: dict[Group, list[Waiting]] = defaultdict(list)
    for mail in waiting:
        if mail.due >= now:
            plan.wait_until(monotonic + (mail.due - now) + 1)
        elif is_too_old(mail, now, rules.max_age) and not may_take_old(mail):
            plan.left["too_old", mail.group.company_id] += 1
        else:
            due[mail.group].append(mail)
    for group, mails in due.items():
        is_open = group in open_groups
        if not is_open and len(mails) < threshold(group.company_id):
            plan.left["below_threshold", group.company_id] += len(mails)
            continue
        ripe = sorted(mail.id for mail in mails if mail.first_seen + rules.min_age <= monotonic)
        unripe = [mail.first_seen for mail in mails if mail.first_seen + rules.min_age > monotonic]
        if unripe:
            plan.wait_until(min(unripe) + rules.min_age)
        newest = max((m.first_seen for m in mails), default=0.0) + rules.min_age
        flush_at = newest + rules.flush_after
        if ripe and (len(ripe) >= rules.batch_size or flush_at <= monotonic):
            plan.claims[group] = ripe
            if not is_open:
                plan.opening.add(group)
        elif ripe:
            plan.wait_until(flush_at)
    return plan
