"""What would be claimed if the sidecar ran now: reads everything, changes nothing."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from sqlalchemy import Connection

from sidecar.context import Context
from sidecar.errors import IdentityError, SchemaMissingError
from sidecar.grouping import Group, Waiting, job_type
from sidecar.moodle import mail_queue, new_users
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.iomad_mail import Expanded, Expansion
from sidecar.moodle.mail_settings import MailSettingsError
from sidecar.moodle.new_user_mail import refuses
from sidecar.moodle.people import company_names
from sidecar.pollers.new_users import why_not
from sidecar.pollers.new_users_peek import JOB_TYPE, NewUsersPeek
from sidecar.routes import Routes
from sidecar.store.companies import Companies, Company

PAGE = 1_000


@dataclass(slots=True)
class GroupPreview:
    """One group: rows that wait, those that would be claimed, and the mails they make."""

    company_id: int
    company: str
    type: str
    provider: str
    waiting: int = 0
    claimable: int = 0
    mails: int = 0
    left: Counter[str] = field(default_factory=Counter)
    sample: str = ""


@dataclass(slots=True)
class Preview:
    """Everything that waits, by group. blocked: why nothing may move at all."""

    blocked: list[str]
    groups: list[GroupPreview]

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        groups = [
            asdict(replace(group, left=Counter())) | {"left": dict(group.left)}
            for group in self.groups
        ]
        return {"blocked": self.blocked, "groups": groups}


def preview(context: Context, only: int | None = None) -> Preview:
    """Look at the whole queue; works without our tables. only: the one company that is meant."""
    observation = context.observe()
    blocked = [*observation.blocked, *observation.off.values()]
    try:
        context.identify()
        companies = context.companies()
    except SchemaMissingError as missing:
        blocked.append(str(missing))
        companies = Companies({}, Company(0, bulk_threshold=context.settings.bulk_threshold))
    except IdentityError as mismatch:
        blocked.append(str(mismatch))
        companies = context.companies()
    routes = context.routes(context.lease.guard)
    groups: dict[Group, GroupPreview] = {}
    tables, settings = context.tables, context.settings
    with context.database.read() as conn:
        names = company_names(conn, tables)
        now = context.database.now(conn)
        position = mail_queue.max_id(conn, tables) if context.has_iomad else 0
        by_group: dict[Group, list[Waiting]] = defaultdict(list)
        while position > 0:
            entries, position = mail_queue.waiting_below(conn, tables, position, PAGE)
            for e in entries:
                if only not in (None, e.company_id):
                    continue
                group = Group(job_type(e.templatename, settings.job_types), e.company_id)
                by_group[group].append(Waiting(e.id, group, e.due, e.modified, 0.0))
        for group, waiting in by_group.items():
            company = companies.get(group.company_id)
            shown = groups[group] = GroupPreview(
                group.company_id, names.get(group.company_id, ""), group.type, company.provider
            )
            shown.waiting = len(waiting)
            due = [w for w in waiting if w.due < now]
            young = [w for w in due if now - max(w.due, w.modified) <= settings.max_age]
            shown.left["not_due"] = len(waiting) - len(due)
            shown.left["too_old"] = len(due) - len(young)
            reason = _why_not(routes, observation.config, company)
            if len(young) < company.bulk_threshold:
                reason = reason or "below_threshold"
            if reason:
                shown.left[reason] = len(young)
            shown.claimable = 0 if reason else len(young)
            _expand(context, conn, observation.config, company, shown, [w.id for w in young], now)
            shown.left = +shown.left
        listed = [groups[g] for g in sorted(groups, key=lambda g: (g.company_id, g.type))]
        listed += _new_users(context, conn, observation.config, companies, routes, names)
    return Preview(blocked, [g for g in listed if only in (None, g.company_id)])


def _expand(
    context: Context,
    conn: Connection,
    config: MoodleConfig,
    company: Company,
    shown: GroupPreview,
    ids: Sequence[int],
    now: int,
) -> None:
    """Count the mails that these rows make, and take off those that cannot be claimed."""
    settings, tables = context.settings, context.tables
    for start in range(0, len(ids), PAGE):
        rows = mail_queue.read_waiting(conn, tables, ids[start : start + PAGE], now, lock=False)
        expansion = Expansion(
            conn,
            tables,
            config,
            rows,
            dataroot=settings.dataroot,
            max_body_size=settings.max_body_size,
            without_manager_copies=[shown.company_id] if company.manager_copies == "none" else [],
        )
        refused = 0
        for row in rows:
            result = expansion.expand(row)
            if isinstance(result, Expanded):
                shown.mails += len(result.addressees)
                shown.sample = shown.sample or row.subject
            else:
                refused += 1
                shown.left[result.reason] += 1
        gone = len(ids[start : start + PAGE]) - len(rows)  # sent by Moodle meanwhile
        shown.claimable -= (refused + gone) if shown.claimable else 0


def _new_users(
    context: Context,
    conn: Connection,
    config: MoodleConfig,
    companies: Companies,
    routes: Routes,
    names: Mapping[int, str],
) -> list[GroupPreview]:
    """Core's new users, by company."""
    peek = NewUsersPeek(context.tables)
    peek.look(conn, lambda _: True, lambda _: False)
    by_company: dict[int, list[int]] = defaultdict(list)
    for waiting in peek.waiting.values():
        by_company[waiting.group.company_id].append(waiting.id)
    trouble = why_not(config, context.settings, context.vault)
    groups = []
    for company_id, ids in sorted(by_company.items()):
        company = companies.get(company_id)
        shown = GroupPreview(
            company_id, names.get(company_id, ""), JOB_TYPE, company.provider, len(ids)
        )
        shown.sample = "core's new users: a password each"
        reason = _why_not(routes, config, company) or trouble
        if len(ids) < company.bulk_threshold:
            reason = reason or "below_threshold"
        if reason:
            shown.left[reason] = len(ids)
        for start in range(0, len(ids), PAGE):
            users = new_users.read_waiting(
                conn, context.tables, ids[start : start + PAGE], lock=False
            ).values()
            bounced = new_users.bounces(conn, context.tables, {user.id for user in users})
            for user in users:
                why = refuses(user, config, bounced)
                shown.left[why] += bool(why)
                shown.mails += not why
        shown.claimable = 0 if reason else shown.mails
        shown.left = +shown.left
        groups.append(shown)
    return groups


def _why_not(routes: Routes, config, company: Company) -> str:  # type: ignore[no-untyped-def]
    if not company.enabled:
        return "company_not_enabled"
    try:
        routes.find(config, company, company.provider)
    except MailSettingsError as error:
        return str(error)
    return ""
