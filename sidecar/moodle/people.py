"""Users and companies of the site, read many at a time."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.tables import MoodleTables, has_iomad

NO_PASSWORD = ("", "to be generated")
"""What ``user.password`` holds before a password is stored (FACTS §2)."""


class User(NamedTuple):
    """The part of ``{user}`` that mail needs."""

    id: int
    email: str
    firstname: str
    lastname: str
    username: str
    deleted: bool
    suspended: bool
    has_password: bool

    @property
    def active(self) -> bool:
        """Neither deleted nor suspended."""
        return not (self.deleted or self.suspended)


@dataclass(frozen=True, slots=True)
class Company:
    """The part of ``{company}`` that mail needs."""

    id: int
    name: str


def read_users(conn: Connection, tables: MoodleTables, ids: Iterable[int]) -> dict[int, User]:
    """Those of the users that exist."""
    wanted = sorted({user_id for user_id in ids if user_id > 0})
    u = tables.user
    found: dict[int, User] = {}
    for start in range(0, len(wanted), 1000):
        query = select(
            u.c.id,
            u.c.email,
            u.c.firstname,
            u.c.lastname,
            u.c.username,
            u.c.deleted,
            u.c.suspended,
            u.c.password.not_in(NO_PASSWORD).label("has_password"),
        ).where(u.c.id.in_(wanted[start : start + 1000]))
        for *names, deleted, suspended, has_password in conn.execute(query):
            user = User._make((*names, bool(deleted), bool(suspended), bool(has_password)))
            found[user.id] = user
    return found


def find_users(conn: Connection, tables: MoodleTables, text: str) -> dict[int, User]:
    """Users with this id, username or address."""
    u = tables.user
    named = (u.c.username == text) | (func.lower(u.c.email) == text.lower())
    ids = set(conn.scalars(select(u.c.id).where(named)))
    if text.isdecimal() and len(text) < 19:
        ids.add(int(text))
    return read_users(conn, tables, ids)


def read_companies(
    conn: Connection, tables: MoodleTables, ids: Collection[int]
) -> dict[int, Company]:
    """Those of the companies that exist."""
    c = tables.company
    query = select(c.c.id, c.c.name).where(c.c.id.in_(list(ids)))
    return {r.id: Company(r.id, r.name) for r in conn.execute(query)}


def company_names(conn: Connection, tables: MoodleTables) -> dict[int, str]:
    """All companies of the site by id; empty on a Moodle without IOMAD."""
    if not has_iomad(conn, tables):
        return {}
    return {r.id: r.name for r in conn.execute(select(tables.company.c.id, tables.company.c.name))}


def cron_admin_id(conn: Connection, tables: MoodleTables, config: MoodleConfig) -> int:
    """The user cron runs as: the first site administrator that exists (get_admin)."""
    ids = admin_ids(config)
    users = read_users(conn, tables, ids)
    return next((i for i in ids if i in users and not users[i].deleted), 0)


def admin_ids(config: MoodleConfig) -> list[int]:
    """The site's administrators, the first one first."""
    return [int(part) for part in config.text("siteadmins").split(",") if part.strip().isdigit()]


def support_name(config: MoodleConfig, users: Mapping[int, User]) -> str:
    """First name of core_user::get_support_user.

    users: the one of supportuserid and the administrators, as far as they exist.
    """
    support = config.number("supportuserid")
    if support:
        return users[support].firstname if support in users else ""
    if config.text("supportemail"):
        return config.text("supportname")
    alive = (users[i] for i in admin_ids(config) if i in users and not users[i].deleted)
    return next((user.firstname for user in alive), "")


class Departments:
    """Department trees and company managers (company::get_my_managers)."""

    def __init__(self, conn: Connection, tables: MoodleTables, company_ids: Collection[int]):
        d, cu = tables.department, tables.company_users
        ids = list(company_ids)
        self._parents = {
            r.id: r.parent or 0
            for r in conn.execute(select(d.c.id, d.c.parent).where(d.c.company.in_(ids)))
        }
        self._managers: dict[int, list[int]] = defaultdict(list)
        rows = conn.execute(
            select(cu.c.departmentid, cu.c.userid)
            .where(cu.c.companyid.in_(ids), cu.c.managertype == 1)
            .order_by(cu.c.id)
        )
        for r in rows:
            self._managers[r.departmentid].append(r.userid)

    def managers(self, departments: Iterable[int], cron_admin: int) -> list[int]:
        """Company managers of these departments and all above them, each once."""
        line: dict[int, None] = {}
        for department in departments:
            here = department
            while here and here in self._parents and here not in line:
                line[here] = None
                here = self._parents[here]
        found = {
            manager: None
            for department in line
            for manager in self._managers[department]
            if manager != cron_admin
        }
        return list(found)

    @property
    def manager_ids(self) -> set[int]:
        """Every company manager of these companies."""
        return {manager for managers in self._managers.values() for manager in managers}


def memberships(
    conn: Connection, tables: MoodleTables, company_ids: Collection[int], user_ids: Collection[int]
) -> Mapping[tuple[int, int], list[int]]:
    """(company, user) → that user's departments in it."""
    cu = tables.company_users
    query = (
        select(cu.c.companyid, cu.c.userid, cu.c.departmentid)
        .where(cu.c.companyid.in_(list(company_ids)), cu.c.userid.in_(list(user_ids)))
        .order_by(cu.c.id)
    )
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for company_id, user_id, department_id in conn.execute(query):
        found[company_id, user_id].append(department_id)
    return found


def supervisors(
    conn: Connection, tables: MoodleTables, config: MoodleConfig, user_ids: Collection[int]
) -> dict[int, str]:
    """User → the raw text of the profile field that names the supervisors.

    The field is that of the user's first company, else the site's (company::get_usersupervisor).
    """
    cu, c, data = tables.company_users, tables.company, tables.user_info_data
    ids = list(user_ids)
    field_of: dict[int, int] = {}
    # Moodle has no index that finds a user's companies: most sites need not look.
    if conn.execute(select(c.c.id).where(c.c.emailprofileid > 0).limit(1)).first():
        rows = conn.execute(
            select(cu.c.userid, c.c.emailprofileid)
            .join(c, c.c.id == cu.c.companyid)
            .where(cu.c.userid.in_(ids))
            .order_by(cu.c.id)
        )
        for user_id, field_id in rows:
            field_of.setdefault(user_id, field_id or 0)
    site_field = config.number("companyemailprofileid")
    wanted = {user_id: field_of.get(user_id, 0) or site_field for user_id in ids}
    fields = {field for field in wanted.values() if field}
    if not fields:
        return {}
    texts = conn.execute(
        select(data.c.userid, data.c.fieldid, data.c.data).where(
            data.c.fieldid.in_(fields), data.c.userid.in_(ids)
        )
    )
    return {r.userid: r.data for r in texts if wanted[r.userid] == r.fieldid}


def enrolments(
    conn: Connection, tables: MoodleTables, pairs: Collection[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Which (user, course) are enrolled by any method."""
    e, ue = tables.enrol, tables.user_enrolments
    query = (
        select(ue.c.userid, e.c.courseid)
        .join(e, e.c.id == ue.c.enrolid)
        .where(
            ue.c.userid.in_([user for user, _ in pairs]),
            e.c.courseid.in_([course for _, course in pairs]),
        )
        .distinct()
    )
    return {(r.userid, r.courseid) for r in conn.execute(query)}
