"""Builds IOMAD sites: people, and queued mail written as IOMAD writes it (FACTS §2-4)."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final

from sqlalchemy import Engine, select, update

from sidecar.demo.population import Person, Population
from sidecar.demo.row_headers import Attachment, row_headers
from sidecar.demo.texts import MAIL_TEXTS, MailText, fill, temporary_password

SUPPORT_USER: Final = -20
"""``core_user::SUPPORT_USER``, the sender of nearly every queued mail."""

_NO_TEXT = MailText("A message for {User_FirstName}", "<p>Dear {User_FirstName},</p>")
_ADDRESS = re.compile(r"[^@\s,]+@[^@\s,]+\.[^@\s,]+")


class Headers(Enum):
    """What goes into a row's ``headers`` if the caller does not say."""

    AS_IOMAD = "as IOMAD"


class Site(Population):
    """A site whose companies queue mail."""

    def __init__(self, where: Engine | str, **options: str) -> None:
        """``options`` are those of Population."""
        super().__init__(where, **options)
        self._templates: dict[tuple[int, str], dict[str, str]] = {}

    def set_template(self, company: int, name: str, **options: str) -> None:
        """Customise a mail template: any of its fields by IOMAD's names, values as strings.

        What this object queues from now on follows it.
        """
        self._templates[company, name] = self._templates.get((company, name), {}) | options
        t = self.tables.email_template
        known = {k: v for k, v in options.items() if k in t.c}
        if known:
            with self.engine.begin() as conn:
                conn.execute(update(t).filter_by(companyid=company, name=name).values(**known))

    def queue(
        self,
        template: str,
        company: int,
        users: Iterable[Person],
        *,
        course: int = 1,
        due: int | None = None,
        modified: int | None = None,
        subject: str | None = None,
        body: str | Callable[[Person], str] | None = None,
        headers: str | Headers | None = Headers.AS_IOMAD,
        attachment: Attachment | None = None,
        senderid: int = SUPPORT_USER,
    ) -> list[int]:
        """Queue a mail for each user; returns the row ids, in the order of the users.

        due and modified: Unix seconds, now by default. subject, body: ready-made, else from the
        template's text. headers: a string is written as it is, None is NULL.
        """
        fields = self._fields(template, company)
        text = fields["body"]
        if fields.get("signature"):
            text += f"<p>--</p>{fields['signature']}"
        values = self._values(company, course)
        now = int(time.time())
        if isinstance(headers, Headers):
            headers = self.headers(template, company, attachment)
        rows: list[dict[str, Any]] = []
        for user in users:
            filled = {
                **values,
                "User_FirstName": user.firstname,
                "User_LastName": user.lastname,
                "User_Username": user.username,
                "User_Newpassword": temporary_password(),
                "LinkURL": f"{self.wwwroot}/user/profile.php?id={user.id}",
            }
            made = body(user) if callable(body) else body
            rows.append(
                {
                    "templatename": template,
                    "modifiedtime": now if modified is None else modified,
                    "subject": fill(fields["subject"], filled) if subject is None else subject,
                    "body": fill(text, filled) if made is None else made,
                    "varsreplaced": 1,
                    "companyid": company,
                    "courseid": course,
                    "userid": user.id,
                    "senderid": senderid,
                    "headers": headers,
                    "due": now if due is None else due,
                }
            )
        return self._insert(self.tables.email, rows)

    def headers(self, template: str, company: int, attachment: Attachment | None = None) -> str:
        """What IOMAD writes into the ``headers`` of a row of this template."""
        fields = self._fields(template, company)
        return row_headers(
            fields,
            to=self._addresses(fields, "emailto") + _valid(fields, "emailtoother"),
            cc=self._addresses(fields, "emailcc") + _valid(fields, "emailccother"),
            reply_to=self._addresses(fields, "emailreplyto") + _valid(fields, "emailreplytoother"),
            attachment=attachment,
        )

    def _fields(self, template: str, company: int) -> dict[str, str]:
        t = self.tables.email_template
        with self.engine.connect() as conn:
            query = select(t.c.id).filter_by(companyid=company, name=template)
            known = conn.execute(query).scalar()
        text = MAIL_TEXTS.get(template, _NO_TEXT)
        fields = {"name": template, "subject": text.subject, "body": text.body}
        if known is not None:
            fields |= {"id": str(known), "companyid": str(company), "lang": "en"}
        return fields | self._templates.get((company, template), {})

    def _addresses(self, fields: Mapping[str, str], name: str) -> list[str]:
        ids = [int(part) for part in fields.get(name, "").split(",") if part]
        u = self.tables.user
        query = select(u.c.id, u.c.email).where(u.c.id.in_(ids), u.c.deleted + u.c.suspended == 0)
        with self.engine.connect() as conn:
            found = {row.id: row.email for row in conn.execute(query)}
        return [found[user] for user in ids if user in found]

    def _values(self, company: int, course: int) -> dict[str, str]:
        c, k = self.tables.company, self.tables.course
        with self.engine.connect() as conn:
            company_name = conn.execute(select(c.c.name).where(c.c.id == company)).scalar()
            course_name = conn.execute(select(k.c.fullname).where(k.c.id == course)).scalar()
        return {
            "Site_FullName": self.name,
            "Company_Name": company_name or "",
            "Course_FullName": course_name or "",
            "CourseURL": f"{self.wwwroot}/course/view.php?id={course}",
            "License_Length": "365",
            "Sender_FirstName": "Demo Support",
        }


def _valid(fields: Mapping[str, str], name: str) -> list[str]:
    return [part for part in fields.get(name, "").split(",") if _ADDRESS.fullmatch(part)]
