"""The Moodle and IOMAD columns that we read or write, as SQLAlchemy Core tables.

Source: lib/db/install.xml and local/email/db/install.xml of IOMAD 4.3.9 (FACTS §1). Only the
columns that we use are here, so that other versions of Moodle fit as well; ``create_all`` on an
empty SQLite file makes the demo's site.
"""

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    inspect,
)
from sqlalchemy.types import TypeEngine

EXTRA_NAMES = ("firstnamephonetic", "lastnamephonetic", "middlename", "alternatename")
"""Columns of {user} that hold names beside first and last name; they may be NULL."""

_ID: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")


def _id() -> Column[int]:
    return Column("id", _ID, primary_key=True, autoincrement=True)


def _int(name: str, default: int | None = 0) -> Column[int]:
    if default is None:
        return Column(name, BigInteger, nullable=True)
    return Column(name, BigInteger, nullable=False, server_default=str(default))


def _str(name: str, length: int) -> Column[str]:
    return Column(name, String(length), nullable=False, server_default="")


@dataclass(frozen=True, slots=True)
class MoodleTables:
    """Every Moodle table that we touch, with the site's prefix."""

    metadata: MetaData
    email: Table
    email_template: Table
    company: Table
    company_users: Table
    department: Table
    user: Table
    user_preferences: Table
    cache_flags: Table
    user_info_data: Table
    config: Table
    config_plugins: Table
    task_scheduled: Table
    lock_db: Table
    course: Table
    enrol: Table
    user_enrolments: Table
    user_lastaccess: Table
    context: Table
    role: Table
    role_assignments: Table

    @property
    def iomad(self) -> tuple[Table, ...]:
        """Those that only IOMAD has."""
        return (
            self.email,
            self.email_template,
            self.company,
            self.company_users,
            self.department,
        )


def has_iomad(conn: Connection, tables: MoodleTables) -> bool:
    """Whether this Moodle is an IOMAD."""
    return inspect(conn).has_table(tables.company.name)


def moodle_tables(prefix: str) -> MoodleTables:
    """The tables of a site whose ``$CFG->prefix`` is ``prefix``."""
    meta = MetaData()

    def table(name: str, *items: Column[int] | Column[str] | Index) -> Table:
        return Table(prefix + name, meta, _id(), *items)

    return MoodleTables(
        metadata=meta,
        email=table(
            "email",
            Column("templatename", String(100)),
            _int("modifiedtime"),
            _int("sent", None),
            _str("subject", 255),
            Column("body", Text, nullable=False),
            _int("varsreplaced", None),
            _int("companyid"),
            _int("courseid", None),
            _int("userid"),
            _int("senderid", None),
            Column("headers", Text),
            _int("due"),
        ),
        email_template=table(
            "email_template",
            _int("companyid"),
            _str("name", 50),
            _str("lang", 20),
            _int("disabled"),
            _int("disabledmanager"),
            _int("disabledsupervisor"),
            Column("emailto", String(1333)),
            Column("emailtoother", String(1333)),
            Column("emailcc", String(1333)),
            Column("emailccother", String(1333)),
            _int("emailfrom", None),
            Column("emailfromother", String(100)),
            Column("emailfromothername", Text),
        ),
        company=table(
            "company",
            _str("name", 50),
            _str("shortname", 25),
            _int("suspended"),
            _int("emailprofileid", None),
        ),
        company_users=table(
            "company_users",
            _int("companyid"),
            _int("userid"),
            _int("managertype"),
            _int("departmentid"),
            _int("suspended"),
        ),
        department=table(
            "department",
            _str("name", 255),
            _int("company"),
            _int("parent", None),
        ),
        user=table(
            "user",
            _str("auth", 20),
            _int("deleted"),
            _int("suspended"),
            _str("username", 100),
            _str("password", 255),
            _str("firstname", 100),
            _str("lastname", 100),
            _str("email", 100),
            _str("lang", 30),
            _str("timezone", 100),
            _int("lastaccess"),
            _int("mailformat", 1),
            _int("maildisplay", 2),
            _int("mnethostid"),
            _int("timecreated"),
            _int("timemodified"),
            *(Column(name, String(255)) for name in EXTRA_NAMES),
        ),
        user_preferences=table(
            "user_preferences",
            _int("userid"),
            _str("name", 255),
            _str("value", 1333),
        ),
        cache_flags=table(
            "cache_flags",
            _str("flagtype", 255),
            _str("name", 255),
            _int("timemodified"),
            Column("value", Text, nullable=False),
            _int("expiry"),
        ),
        user_info_data=table(
            "user_info_data",
            _int("userid"),
            _int("fieldid"),
            Column("data", Text, nullable=False),
        ),
        config=table("config", _str("name", 255), Column("value", Text, nullable=False)),
        config_plugins=table(
            "config_plugins",
            _str("plugin", 100),
            _str("name", 100),
            Column("value", Text, nullable=False),
        ),
        task_scheduled=table(
            "task_scheduled",
            _str("component", 255),
            _str("classname", 255),
            _int("lastruntime", None),
            _int("nextruntime", None),
            _int("disabled"),
            _int("timestarted", None),
            Column("hostname", String(255)),
            _int("pid", None),
        ),
        lock_db=table(
            "lock_db",
            _str("resourcekey", 255),
            _int("expires", None),
            Column("owner", String(36)),
        ),
        course=table("course", _int("category"), _str("fullname", 254), _str("shortname", 255)),
        enrol=table("enrol", _str("enrol", 20), _int("courseid"), _int("status")),
        user_enrolments=table(
            "user_enrolments",
            _int("status"),
            _int("enrolid"),
            _int("userid"),
            _int("timestart"),
            _int("timeend"),
            _int("timecreated"),
        ),
        user_lastaccess=table(
            "user_lastaccess", _int("userid"), _int("courseid"), _int("timeaccess")
        ),
        context=table("context", _int("contextlevel"), _int("instanceid")),
        role=table("role", _str("shortname", 100), _str("archetype", 30)),
        role_assignments=table(
            "role_assignments", _int("roleid"), _int("contextid"), _int("userid")
        ),
    )
