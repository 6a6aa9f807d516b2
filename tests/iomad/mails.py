"""What must arrive for the rows of IOMAD's queue, and what did."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import NamedTuple

from .facts import must
from .server import Db
from .sink import Arrived

# The user templates (FACTS §4) that are queued here: managers get a copy of these.
COPIED = {
    "user_create",
    "license_allocated",
    "course_not_started_warning",
    "user_added_to_course",
}


class Mail(NamedTuple):
    """One mail: no two mails of a run are equal, every body names its user."""

    recipient: str
    subject: str
    html: str  # digest of the decoded HTML


def _digest(html: str) -> str:
    lines = (line.rstrip() for line in html.replace("\r\n", "\n").rstrip().split("\n"))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:20]


def expected(db: Db, since: int, ids: Iterable[int] | None = None) -> dict[Mail, int]:
    """Every mail that the rows after `since` stand for, with its row, by FACTS §4."""
    managers = _managers(db)
    others = {
        (company, name): [a for part in parts if part for a in part.split(",")]
        for company, name, *parts in db.rows(
            "SELECT companyid, name, emailtoother, emailccother FROM mdl_email_template"
            " WHERE lang = 'en'"
        )
    }
    uncopied = set(
        db.rows("SELECT companyid, name FROM mdl_email_template WHERE disabledmanager = 1")
    )
    wanted = None if ids is None else set(ids)
    mails: dict[Mail, int] = {}
    for row, name, company, userid, subject, body, address in db.rows(
        "SELECT e.id, e.templatename, e.companyid, e.userid, e.subject, e.body, u.email"
        " FROM mdl_email e JOIN mdl_user u ON u.id = e.userid WHERE e.id > %s",
        since,
    ):
        if wanted is not None and row not in wanted:
            continue
        people = [address, *others.get((company, name), [])]
        if name in COPIED and (company, name) not in uncopied:
            people += managers.get((company, userid), [])
        for person in people:
            mail = Mail(person, subject, _digest(body))
            must(mail not in mails, f"two mails of one run are equal: {mail}")
            mails[mail] = row
    return mails


def _managers(db: Db) -> dict[tuple[int, int], list[str]]:
    """(company, user) → addresses of the managers of the user's departments and all above them."""
    parent: dict[int, int] = dict(db.rows("SELECT id, parent FROM mdl_department"))
    at: dict[int, list[tuple[int, str]]] = {}
    for department, userid, address in db.rows(
        "SELECT cu.departmentid, u.id, u.email FROM mdl_company_users cu"
        " JOIN mdl_user u ON u.id = cu.userid"
        " WHERE cu.managertype = 1 AND u.deleted = 0 AND u.suspended = 0"
    ):
        at.setdefault(department, []).append((userid, address))
    found: dict[tuple[int, int], dict[int, str]] = {}
    for company, userid, department in db.rows(
        "SELECT companyid, userid, departmentid FROM mdl_company_users"
    ):
        above = department
        while above:
            found.setdefault((company, userid), {}).update(at.get(above, []))
            above = parent.get(above, 0)
    return {key: list(people.values()) for key, people in found.items()}


@dataclass
class Arrivals:
    """The mails of the sink, read once each."""

    mails: Counter[Mail] = field(default_factory=Counter)
    ids: dict[Mail, list[str]] = field(default_factory=dict)  # Message-IDs, as they came
    by_php: set[Mail] = field(default_factory=set)
    read: int = 0

    def take(self, mails: list[Arrived]) -> None:
        for arrived in mails[self.read :]:
            message = message_from_bytes(arrived.data, policy=policy.default)
            assert isinstance(message, EmailMessage)
            part = message.get_body(("html",))
            html = part.get_content() if part is not None else ""
            for recipient in arrived.recipients:
                mail = Mail(recipient, str(message["Subject"]), _digest(html))
                self.mails[mail] += 1
                self.ids.setdefault(mail, []).append(str(message["Message-ID"]))
                if "PHPMailer" in str(message["X-Mailer"]):
                    self.by_php.add(mail)
            self.read += 1


@dataclass
class Tally:
    """Wanted against arrived."""

    mails: int = 0
    lost: list[Mail] = field(default_factory=list)
    twice: list[Mail] = field(default_factory=list)
    resent: list[Mail] = field(default_factory=list)  # one more copy with the same Message-ID
    strange: list[Mail] = field(default_factory=list)
    stolen: list[Mail] = field(default_factory=list)  # not sent by the one whom the tables name
    by_cron: int = 0

    def __str__(self) -> str:
        return (
            f"mails={self.mails} lost={len(self.lost)} twice={len(self.twice)}"
            f" resent={len(self.resent)}"
        )


def compare(wanted: Iterable[Mail], came: Arrivals, known: Iterable[Mail]) -> Tally:
    """`known`: all mails of the run so far; what is not among them is a stranger."""
    tally = Tally(strange=list(came.mails.keys() - set(known)))
    for mail in wanted:
        tally.mails += 1
        ids = came.ids.get(mail, [])
        if not ids:
            tally.lost.append(mail)
        elif len(ids) > 1:
            same = len(set(ids)) == 1 and mail not in came.by_php
            (tally.resent if same else tally.twice).append(mail)
    return tally
