"""How one row of IOMAD's queue becomes mails: who gets it, by IOMAD's own rules.

Source: EmailTemplate::send_to_user in local/email/lib/api.php and email_cron in
local/email/lib.php of IOMAD 4.3.9 (FACTS §4).
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, select

from sidecar.errors import HeadersError
from sidecar.moodle import headers as row_headers
from sidecar.moodle.addresses import is_valid
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.files import Attached, locate
from sidecar.moodle.mail_queue import QueuedRow
from sidecar.moodle.people import (
    Departments,
    User,
    cron_admin_id,
    memberships,
    read_companies,
    read_users,
    supervisors,
)
from sidecar.moodle.tables import MoodleTables

USER_TEMPLATES = frozenset(
    {
        "completion_course_user",
        "course_not_started_warning",
        "completion_warn_user",
        "expiry_warn_user",
        "license_allocated",
        "license_removed",
        "password_update",
        "user_added_to_course",
        "user_create",
        "user_deleted",
        "user_programcompleted",
        "user_promoted",
        "user_removed_from_event",
        "user_reset",
        "user_signed_up_for_event",
        "user_signed_up_to_waitlist",
        "user_suspended",
        "user_unsuspended",
    }
)
"""Templates whose mails are copied to managers and supervisors (is_user_template)."""

NEEDS_PASSWORD = frozenset({"user_create"})
"""Templates that are queued before what they announce is stored (FACTS §2a)."""


class Addressee(NamedTuple):
    """One mail of a row. role: user, to, cc, manager or supervisor; userid 0 for a bare address."""

    role: str
    email: str
    userid: int = 0


@dataclass(frozen=True, slots=True)
class Left:
    """A row that stays with Moodle. again: it may become ripe within seconds."""

    reason: str
    again: bool = False


class Expanded(NamedTuple):
    """A row that can be claimed, and everybody who gets it, each address once."""

    row: QueuedRow
    user: User
    addressees: tuple[Addressee, ...]


class Expansion:
    """The facts that a chunk of rows needs, read in a fixed number of queries."""

    def __init__(
        self,
        conn: Connection,
        tables: MoodleTables,
        config: MoodleConfig,
        rows: Sequence[QueuedRow],
        *,
        dataroot: Path | None,
        max_body_size: int,
        without_manager_copies: Collection[int] = (),
    ) -> None:
        self._dataroot = dataroot
        self._max_body_size = max_body_size
        self._no_copies = frozenset(without_manager_copies)
        self._headers: dict[int, row_headers.RowHeaders | HeadersError] = {}
        for row in rows:
            try:
                self._headers[row.id] = row_headers.parse(row.headers)
            except HeadersError as error:
                self._headers[row.id] = error
        company_ids = {row.company_id for row in rows}
        user_ids = {row.user_id for row in rows}
        self._companies = read_companies(conn, tables, company_ids)
        self._departments = Departments(conn, tables, company_ids)
        self._memberships = memberships(conn, tables, company_ids, user_ids)
        self._supervisors = supervisors(conn, tables, config, user_ids)
        self._disabled = _disabled_templates(conn, tables, rows)
        self._stored = _stored_templates(conn, tables, rows, self._headers)
        self._cron_admin = cron_admin_id(conn, tables, config)
        named = {
            user_id
            for row in rows
            if (template := self._template(row)) is not None
            for user_id in (*template.emailto, *template.emailcc)
        }
        self._users = read_users(conn, tables, user_ids | named | self._departments.manager_ids)

    def company_name(self, company_id: int) -> str:
        """The company's name; '' for mail without a company."""
        company = self._companies.get(company_id)
        return company.name if company else ""

    def expand(self, row: QueuedRow) -> Expanded | Left:  # noqa: PLR0911 - one reason a line
        """Everybody who gets this row, or why it stays with Moodle."""
        user = self._users.get(row.user_id)
        if user is None or user.deleted:
            return Left("user_missing")
        if user.suspended and row.templatename != "company_suspended":
            return Left("user_suspended")
        if row.company_id and row.company_id not in self._companies:
            return Left("company_missing")
        if row.body_size > self._max_body_size:
            return Left("body_too_large")
        parsed = self._headers[row.id]
        if isinstance(parsed, HeadersError):
            return Left("headers_malformed")
        template = self._template(row)
        if template is None:
            return Left("template_missing")
        if self._is_disabled(row):
            return Left("template_disabled")
        if row.templatename in NEEDS_PASSWORD and not self._complete(row, user):
            return Left("facts_incomplete", again=True)
        if parsed.attachment is not None:
            found = locate(parsed.attachment.filepath, self._dataroot)
            if not isinstance(found, Attached):
                return Left(found)
            if row.body_size + found.size > self._max_body_size:
                return Left("body_too_large")
        return Expanded(row, user, self._addressees(row, user, template))

    def _template(self, row: QueuedRow) -> row_headers.TemplateOptions | None:
        parsed = self._headers[row.id]
        if isinstance(parsed, HeadersError):
            return None
        return parsed.template or self._stored.get((row.company_id, row.templatename))

    def _complete(self, row: QueuedRow, user: User) -> bool:
        member = not row.company_id or bool(self._memberships.get((row.company_id, user.id)))
        return user.has_password and member

    def _is_disabled(self, row: QueuedRow) -> bool:
        flags = self._disabled.get((row.company_id, row.templatename))
        if flags is None or not all(any(row_flags) for row_flags in flags):
            return False
        kind = 0
        if row.templatename.find("manager") > 0:
            kind = 1
        if row.templatename.find("supervisor") > 0:
            kind = 2
        return any(row_flags[kind] for row_flags in flags)

    def _addressees(
        self, row: QueuedRow, user: User, template: row_headers.TemplateOptions
    ) -> tuple[Addressee, ...]:
        found: list[Addressee] = [Addressee("user", user.email, user.id)]
        for role, ids in (("to", template.emailto), ("cc", template.emailcc)):
            found += [
                Addressee(role, other.email, other.id)
                for user_id in ids
                if (other := self._users.get(user_id)) is not None and other.active
            ]
        for role, addresses in (("to", template.emailtoother), ("cc", template.emailccother)):
            found += [Addressee(role, address) for address in addresses if is_valid(address)]
        if row.templatename in USER_TEMPLATES:
            found += self._copies(row, user, template)
        first = {addressee.email.strip().lower(): addressee for addressee in reversed(found)}
        return tuple(a for a in found if first[a.email.strip().lower()] is a)

    def _copies(
        self, row: QueuedRow, user: User, template: row_headers.TemplateOptions
    ) -> list[Addressee]:
        found: list[Addressee] = []
        if not template.disabledmanager and row.company_id not in self._no_copies:
            departments = self._memberships.get((row.company_id, user.id), [])
            found += [
                Addressee("manager", manager.email, manager.id)
                for manager_id in self._departments.managers(departments, self._cron_admin)
                if (manager := self._users.get(manager_id)) is not None and manager.active
            ]
        if not template.disabledsupervisor:
            named = self._supervisors.get(user.id, "")
            found += [
                Addressee("supervisor", address)
                for address in (named.split(",") if named else ())
                if is_valid(address)
            ]
        return found


def _disabled_templates(
    conn: Connection, tables: MoodleTables, rows: Sequence[QueuedRow]
) -> dict[tuple[int, str], list[tuple[bool, bool, bool]]]:
    """(company, template) → the three switches of each language's row."""
    t = tables.email_template
    query = select(
        t.c.companyid, t.c.name, t.c.disabled, t.c.disabledmanager, t.c.disabledsupervisor
    ).where(
        t.c.companyid.in_({row.company_id for row in rows}),
        t.c.name.in_({row.templatename for row in rows}),
    )
    found: dict[tuple[int, str], list[tuple[bool, bool, bool]]] = defaultdict(list)
    for r in conn.execute(query):
        switches = (bool(r.disabled), bool(r.disabledmanager), bool(r.disabledsupervisor))
        found[r.companyid, r.name].append(switches)
    return found


def _stored_templates(
    conn: Connection,
    tables: MoodleTables,
    rows: Sequence[QueuedRow],
    parsed: dict[int, row_headers.RowHeaders | HeadersError],
) -> dict[tuple[int, str], row_headers.TemplateOptions]:
    """Templates of rows whose headers carry none; IOMAD then reads the site's row."""
    bare = [
        row
        for row in rows
        if isinstance(h := parsed[row.id], row_headers.RowHeaders) and h.template is None
    ]
    if not bare:
        return {}
    t = tables.email_template
    query = (
        select(t)
        .where(
            t.c.companyid.in_({row.company_id for row in bare}),
            t.c.name.in_({row.templatename for row in bare}),
        )
        .order_by(t.c.id.desc())
    )
    return {
        (r["companyid"], r["name"]): row_headers.template_options(
            {str(key): value for key, value in r.items()}
        )
        for r in conn.execute(query).mappings()
    }
