"""What a claimed row says and in whose name, as IOMAD would have sent it (FACTS §4)."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from sidecar.errors import HeadersError, MoodleError
from sidecar.mail import Address, Attachment, Content
from sidecar.moodle import headers as row_headers
from sidecar.moodle.addresses import is_valid
from sidecar.moodle.config import MoodleConfig
from sidecar.moodle.files import Attached, content_type, locate
from sidecar.moodle.html_to_text import html_to_text
from sidecar.moodle.mail_queue import QueuedBody
from sidecar.moodle.mail_settings import noreply_address
from sidecar.moodle.people import (
    User,
    admin_ids,
    enrolments,
    read_companies,
    read_users,
    support_name,
)
from sidecar.moodle.tables import MoodleTables
from sidecar.settings import Settings


class RenderError(MoodleError):
    """This mail cannot be rendered any more; the message is the reason for the admin."""


@dataclass(frozen=True, slots=True)
class RenderedRow:
    """What all mails of a row have in common."""

    content: Content
    sender: Address
    envelope_from: str
    reply_to: str
    headers: tuple[tuple[str, str], ...]


class Rendering:
    """The facts that a batch of rows needs, read in a fixed number of queries."""

    def __init__(
        self,
        conn: Connection,
        tables: MoodleTables,
        config: MoodleConfig,
        settings: Settings,
        rows: Collection[QueuedBody],
    ) -> None:
        self._config = config
        self._settings = settings
        self._dataroot: Path | None = settings.dataroot
        self._headers = {row.id: _parsed(row) for row in rows}
        senders = [row.sender_id for row in rows]
        froms = [h.template.emailfrom for h in self._headers.values() if h and h.template]
        admins = admin_ids(config)
        self._admins = frozenset(admins)
        support = config.number("supportuserid")
        self._users = read_users(
            conn,
            tables,
            {*senders, *froms, *admins, support},
        )
        self._support_name = support_name(config, self._users)
        self._companies = read_companies(conn, tables, {row.company_id for row in rows})
        pairs = [
            (row.user_id, row.course_id)
            for row in rows
            if row.templatename == "user_added_to_course"
        ]
        self._enrolled = enrolments(conn, tables, pairs) if pairs else set()
        self._files: dict[str, bytes] = {}

    def gone(self, row: QueuedBody) -> str:
        """Why the mail is pointless now: '' while its user may still get it."""
        if not row.user_exists:
            return "the user was deleted"
        if row.user_suspended and row.templatename != "company_suspended":
            return "the user is suspended"
        enrolment = row.templatename == "user_added_to_course"
        if enrolment and (row.user_id, row.course_id) not in self._enrolled:
            return "the user is no longer enrolled in the course"
        return ""

    def render(self, row: QueuedBody) -> RenderedRow:
        """The row's content and sender; raises RenderError for what cannot be rendered."""
        parsed = self._headers[row.id]
        if parsed is None:
            raise RenderError("the row's headers were changed and cannot be read")
        template = parsed.template or row_headers.TemplateOptions()
        noreply = noreply_address(self._config, self._settings, row.company_id)
        sender = self._sender(row, template, noreply)
        reply_to, extra = "", []
        for line in parsed.raw:
            name, _, value = line.partition(":")
            if name.strip().lower() == "reply-to" and not reply_to:
                reply_to = value.strip()
            else:
                extra.append((name.strip(), value.strip()))
        content = Content(
            subject=row.subject,
            html=row.body,
            text=html_to_text(row.body),
            attachments=self._attachments(parsed),
        )
        return RenderedRow(content, sender, noreply, reply_to, tuple(extra))

    def _sender(
        self, row: QueuedBody, template: row_headers.TemplateOptions, noreply: str
    ) -> Address:
        name = self._support_name
        if row.sender_id > 0 and row.sender_id not in self._admins:
            name = _firstname(self._users.get(row.sender_id))
        email = noreply
        if template.emailfromother and is_valid(template.emailfromother):
            email = template.emailfromother
        if template.emailfromothername == "{Company_Name}":
            company = self._companies.get(row.company_id)
            name = company.name if company else name
        elif template.emailfromothername:
            name = template.emailfromothername
        chosen = self._users.get(template.emailfrom)
        if chosen is not None:
            email, name = chosen.email, chosen.firstname
        return Address(email, name)

    def _attachments(self, parsed: row_headers.RowHeaders) -> tuple[Attachment, ...]:
        if parsed.attachment is None:
            return ()
        ref = parsed.attachment
        if ref.filepath not in self._files:
            found = locate(ref.filepath, self._dataroot)
            if not isinstance(found, Attached):
                raise RenderError(f"attachment {ref.filename!r}: {found.replace('_', ' ')}")
            self._files[ref.filepath] = found.path.read_bytes()
        content = self._files[ref.filepath]
        return (Attachment(ref.filename, content_type(ref.filename), content),)


def _parsed(row: QueuedBody) -> row_headers.RowHeaders | None:
    try:
        return row_headers.parse(row.headers)
    except HeadersError:
        return None


def _firstname(user: User | None) -> str:
    return user.firstname if user else ""
