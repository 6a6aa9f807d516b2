"""What the demo queues, what each mail has to become, and what goes wrong on purpose."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from sidecar.demo.population import Person
from sidecar.demo.site import Site

COMPANIES = {1: "Northwind Academy", 2: "Øresund Læring"}
COURSES = {2: "Fire Safety", 3: "Data Protection", 4: "First Aid"}

WELCOME = {1: 300, 2: 200}
LICENCES = {1: 120, 2: 80}
REMINDERS = {
    "course_not_started_warning": {1: 90, 2: 60},
    "completion_warn_user": {1: 70, 2: 50},
    "expiry_warn_user": {1: 40, 2: 40},
}

NEWCOMERS = {1: 60}
"""Users of Moodle core's upload, whose passwords its own task would make and mail."""

AWAY, AWAY_FROM = {2: 150}, 3
"""Students who have not opened a course for long: a campaign reminds them."""

CAMPAIGN_SUBJECT = "{firstname}, {coursename} waits for you"

BAD_ADDRESSES = (
    ("", "empty"),
    ("ana@northwind.example.test,ben@northwind.example.test", "more than one address"),
    ("eve@northwind.example.test\r\nBcc: all@northwind.example.test", "line break"),
    (f"{'x' * 65}@northwind.example.test", "longer than 64"),
    ("no.address", "no @"),
)
"""Addresses that nobody can send to, and a part of the reason that the admin has to read."""

NO_MAILBOX = "no such mailbox"

SMALL = 5
"""Of the small scenario's numbers, the part: still enough of each kind to be a bulk operation."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One mail that has to arrive. reason: why it cannot; empty: it can.

    row: its row in IOMAD's queue, 0 for a mail of another source. It is known by its HTML body, or
    by its subject where nobody can know the body before.
    """

    row: int
    role: str
    address: str
    body: str
    reason: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Every mail that is wanted, and what the provider does besides accepting.

    refused: address → why, for good; busy: addresses refused once, for now. newcomers: users who
    get their first password by mail.
    """

    wanted: Sequence[Wanted]
    refused: Mapping[str, str]
    busy: Sequence[str]
    newcomers: Sequence[Person]


def build(site: Site, part: int = 1) -> Scenario:
    """Fill an installed site.

    Two companies; 500 welcome mails, 200 licences, 350 reminders of IOMAD's own; 60 users of core's
    upload; 150 students to remind. Of each, one in ``part``; as many fail as with all.
    """
    wanted: list[Wanted] = []
    newcomers: list[Person] = []
    refused: dict[str, str] = {}
    busy: list[str] = []
    for course, fullname in COURSES.items():
        site.add_course(course, fullname)
    for company, name in COMPANIES.items():
        site.add_company(company, name)
        manager = site.add_manager(company)
        bad = BAD_ADDRESSES if company == 1 else ()
        users = site.add_users(company, WELCOME[company] // part - len(bad))
        gone = users[-1]
        refused[gone.email] = NO_MAILBOX
        busy += [user.email for user in users[::20]]
        reasons = {gone.id: NO_MAILBOX}
        welcome = list(users)
        for address, reason in bad:
            welcome.append(site.add_user(company, email=address))
            reasons[welcome[-1].id] = reason
        rows = dict(zip(site.queue("user_create", company, welcome), welcome, strict=True))
        courses = iter(COURSES)
        for template, numbers in {"license_allocated": LICENCES, **REMINDERS}.items():
            chosen = users[: numbers[company] // part]
            course = next(courses, 2)
            queued = site.queue(template, company, chosen, course=course)
            rows |= dict(zip(queued, chosen, strict=True))
        wanted += _wanted(site, rows, manager, reasons)
        uploaded = site.upload_users(NEWCOMERS.get(company, 0) // part, company)
        newcomers += uploaded
        wanted += [
            Wanted(0, "user", person.email, "", subject=f"{site.name}: New user account")
            for person in uploaded
        ]
        away = users[: AWAY.get(company, 0) // part]
        site.enrol(AWAY_FROM, away)
        site.make_students(AWAY_FROM, away)
        wanted += [
            Wanted(
                0,
                "user",
                person.email,
                "",
                subject=CAMPAIGN_SUBJECT.format(
                    firstname=person.firstname, coursename=COURSES[AWAY_FROM]
                ),
            )
            for person in away
        ]
    return Scenario(wanted, refused, busy, newcomers)


def _wanted(
    site: Site, rows: Mapping[int, Person], manager: Person, reasons: Mapping[int, str]
) -> Iterator[Wanted]:
    email = site.tables.email
    query = select(email.c.id, email.c.body).where(email.c.id.in_(rows))
    with site.engine.connect() as conn:
        bodies = conn.execute(query).all()
    for row_id, body in bodies:
        user = rows[row_id]
        yield Wanted(row_id, "user", user.email, body, reasons.get(user.id, ""))
        yield Wanted(row_id, "manager", manager.email, body)
