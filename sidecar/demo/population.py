"""An IOMAD site under construction: its settings, companies, courses and people."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, NullPool, Table, create_engine, func, insert, select, update

from sidecar.demo.texts import MAIL_TEXTS, NAMES
from sidecar.moodle.tables import moodle_tables

ADMIN_ID: Final = 2

_PASSWORD_HASH = "$6$rounds=10000$demo$no.password.has.this.hash"  # noqa: S105

_CONFIG: Mapping[str, str] = {
    "version": "2023100909",
    "siteadmins": str(ADMIN_ID),
    "cron_enabled": "1",
    "maintenance_enabled": "0",
    "supportname": "Demo Support",
    "supportemail": "support@learn.example.test",
    "noreplyaddress": "noreply@learn.example.test",
    "smtphosts": "",
    "smtpsecure": "",
    "smtpauthtype": "LOGIN",
    "smtpuser": "",
    "smtppass": "",
    "smtpmaxbulk": "1",
    "emailsubjectprefix": "",
    "iomad_emaildelay": "0",
}

_TASKS = (
    ("local_email", "\\local_email\\task\\cron_task"),
    ("moodle", "\\core\\task\\send_new_user_passwords_task"),
)


@dataclass(frozen=True, slots=True)
class Person:
    """A user of the site; company 0: none."""

    id: int
    username: str
    firstname: str
    lastname: str
    email: str
    company: int = 0


class Population:
    """Who and what a site has, on MariaDB (tables exist) or SQLite (``install`` makes them).

    Every method commits. Ids that the caller does not choose count up from the greatest there is.
    """

    def __init__(
        self,
        where: Engine | str,
        *,
        prefix: str = "mdl_",
        wwwroot: str = "https://learn.example.test",
        name: str = "Example Learning",
    ) -> None:
        self.engine = create_engine(where, poolclass=NullPool) if isinstance(where, str) else where
        self.tables = moodle_tables(prefix)
        self.wwwroot = wwwroot
        self.name = name

    def install(self, **config: str) -> None:
        """A site without companies: settings, scheduled tasks, front page, guest and admin.

        ``config`` adds to and overrides the settings that every site has.
        """
        if self.engine.dialect.name == "sqlite":
            self.tables.metadata.create_all(self.engine)
        t, now = self.tables, int(time.time())
        self._insert(
            t.config, [{"name": n, "value": v} for n, v in ({**_CONFIG, **config}).items()]
        )
        versions = {"plugin": "local_email", "name": "version", "value": "2024111900"}
        self._insert(t.config_plugins, [versions])
        times = {"lastruntime": now - 60, "nextruntime": now + 240}
        self._insert(
            t.task_scheduled, [{"component": c, "classname": n, **times} for c, n in _TASKS]
        )
        self._insert(t.course, [{"id": 1, "fullname": self.name, "shortname": "site"}])
        self.add_user(id=1, username="guest", email="root@localhost", password="")
        self.add_user(id=ADMIN_ID, username="admin", email="admin@learn.example.test")

    def set_config(self, name: str, value: str, plugin: str = "") -> None:
        """Set a setting of the site or of a plugin, as the admin pages do."""
        table = self.tables.config_plugins if plugin else self.tables.config
        key = {"plugin": plugin, "name": name} if plugin else {"name": name}
        with self.engine.begin() as conn:
            change = update(table).filter_by(**key).values(value=value)
            if not conn.execute(change).rowcount:
                conn.execute(insert(table).values(**key, value=value))

    def add_company(self, id: int, name: str, **columns: object) -> int:  # noqa: A002
        """A company with its top department and a row for each of its mail templates."""
        shortname = "".join(filter(str.isalnum, name)).lower()[:25]
        row = {"id": id, "name": name, "shortname": shortname, **columns}
        self._insert(self.tables.company, [row])
        self.add_department(id, name)
        rows = [{"companyid": id, "name": template, "lang": "en"} for template in MAIL_TEXTS]
        self._insert(self.tables.email_template, rows)
        return id

    def add_department(self, company: int, name: str, parent: int = 0) -> int:
        """A department; returns its id."""
        row = {"name": name, "company": company, "parent": parent}
        return self._insert(self.tables.department, [row])[0]

    def add_course(self, id: int, fullname: str) -> int:  # noqa: A002
        """A course that anybody can be enrolled in by hand."""
        self._insert(self.tables.course, [{"id": id, "fullname": fullname, "shortname": f"c{id}"}])
        self._insert(self.tables.enrol, [{"enrol": "manual", "courseid": id}])
        return id

    def enrol(self, course: int, people: Iterable[Person]) -> None:
        """Enrol people in a course of ``add_course``."""
        with self.engine.connect() as conn:
            query = select(self.tables.enrol.c.id).filter_by(courseid=course)
            enrol = conn.execute(query).scalar_one()
        rows = [{"enrolid": enrol, "userid": person.id} for person in people]
        self._insert(self.tables.user_enrolments, rows)

    def make_students(self, course: int, people: Iterable[Person]) -> None:
        """Give people, whether enrolled or not, the role of a student in a course."""
        t = self.tables
        with self.engine.connect() as conn:
            role = conn.execute(select(t.role.c.id).filter_by(archetype="student")).scalar()
            place = {"contextlevel": 50, "instanceid": course}
            context = conn.execute(select(t.context.c.id).filter_by(**place)).scalar()
        if role is None:
            (role,) = self._insert(t.role, [{"shortname": "student", "archetype": "student"}])
        if context is None:
            (context,) = self._insert(t.context, [place])
        rows = [{"roleid": role, "contextid": context, "userid": person.id} for person in people]
        self._insert(t.role_assignments, rows)

    def add_user(
        self, company: int = 0, *, department: int = 0, managertype: int = 0, **columns: object
    ) -> Person:
        """One user; ``columns`` of {user} override what would be made up."""
        made = self.add_users(company, 1, department=department, **columns)[0]
        if managertype:
            self.add_manager(company, made, managertype)
        return made

    def add_users(
        self, company: int, count: int, *, department: int = 0, **columns: object
    ) -> list[Person]:
        """Many users at once, members of a company's top department unless one is named."""
        u = self.tables.user
        first = self._next_id(u)
        rows: list[dict[str, Any]] = []
        for number in range(first, first + count):
            last_name, first_name = NAMES[number % len(NAMES)]
            rows.append(
                {
                    "id": number,
                    "auth": "manual",
                    "deleted": 0,
                    "suspended": 0,
                    "username": f"user{number}",
                    "password": _PASSWORD_HASH,
                    "firstname": first_name,
                    "lastname": last_name,
                    "email": f"user{number}@company{company}.example.test",
                    **columns,
                }
            )
        self._insert(u, rows)
        people = [
            Person(r["id"], r["username"], r["firstname"], r["lastname"], r["email"], company)
            for r in rows
        ]
        if company:
            self._join(company, department or self.top_department(company), people)
        return people

    def upload_users(self, count: int, company: int = 0, **columns: object) -> list[Person]:
        """New users as core's upload leaves them: without a password, which its task is to mail."""
        columns = {"password": "to be generated", "timecreated": int(time.time()) - 60, **columns}
        people = self.add_users(company, count, department=0, **columns)
        rows = [{"userid": p.id, "name": "create_password", "value": "1"} for p in people]
        self._insert(self.tables.user_preferences, rows)
        return people

    def add_manager(self, company: int, user: Person | None = None, managertype: int = 1) -> Person:
        """Make a user a manager of a company (1) or of a department (2); a new user if none."""
        person = user or self.add_user(company)
        members = self.tables.company_users
        change = update(members).filter_by(companyid=company, userid=person.id)
        with self.engine.begin() as conn:
            known = conn.execute(change.values(managertype=managertype)).rowcount
        if not known:
            self._join(company, self.top_department(company), [person], managertype)
        return person

    def top_department(self, company: int) -> int:
        """The id of a company's first department."""
        d = self.tables.department
        with self.engine.connect() as conn:
            query = select(func.min(d.c.id)).where(d.c.company == company)
            return int(conn.execute(query).scalar_one())

    def _join(
        self, company: int, department: int, people: Iterable[Person], managertype: int = 0
    ) -> None:
        place = {"companyid": company, "departmentid": department, "managertype": managertype}
        rows = [{"userid": person.id, **place} for person in people]
        self._insert(self.tables.company_users, rows)

    def _next_id(self, table: Table) -> int:
        with self.engine.connect() as conn:
            return (conn.execute(select(func.max(table.c.id))).scalar() or 0) + 1

    def _insert(self, table: Table, rows: list[dict[str, Any]]) -> list[int]:
        if not rows:
            return []
        statement = insert(table).returning(table.c.id, sort_by_parameter_order=True)
        with self.engine.begin() as conn:
            return list(conn.execute(statement, rows).scalars())
