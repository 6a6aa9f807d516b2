"""One batch rendered and packed: the costly part of handing it to a provider that takes messages.

Reads, and changes nothing; so it can be done ahead, and in another process.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Protocol

from sidecar import jobs
from sidecar.jobs import Dropped, Source
from sidecar.lifecycle import Recipient
from sidecar.mail import Address, Mail, PackedMails
from sidecar.packing import pack
from sidecar.store import queue
from sidecar.store.companies import Company
from sidecar.store.database import Database
from sidecar.store.queue import DueBatch

ASKABLE = (Recipient.PENDING, Recipient.RETRY_PENDING)
"""States of mails that the provider does not have."""


@dataclass(frozen=True, slots=True)
class Task:
    """A batch to render.

    states: of the mails that shall leave. batch_key: its name outside the database. limit: bytes of
    a message; batch_size: the most mails of one; mail_limit: bytes of a mail, 0 for any number.
    """

    batch: DueBatch
    states: tuple[Recipient, ...]
    company: Company = field(repr=False)
    batch_key: str
    limit: int
    batch_size: int
    mail_limit: int = 0


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a batch has become; mails by id.

    groups: what goes into one message each, in order. too_large: what fits into none, or is more
    than whoever sends it takes. dropped: what is not sent after all, without those that the
    provider has already. row_of: mail → queue row.
    first: the first group as it leaves; None if there is none.
    """

    groups: tuple[tuple[int, ...], ...]
    too_large: tuple[int, ...]
    dropped: tuple[Dropped, ...]
    row_of: Mapping[int, int]
    first: PackedMails | None


class Elsewhere(Protocol):
    """Renders where it does not hold up what else this process does.

    running: whether it is at hand.
    """

    @property
    def running(self) -> bool: ...

    def start(self) -> None:
        """Have it at hand soon; waits for nothing."""

    def render(self, task: Task) -> Future[Rendered]:
        """``render``; the future raises SidecarError."""


def render(database: Database, sources: Mapping[str, Source], task: Task) -> Rendered:
    """Read, re-check, render and pack. Raises DatabaseError."""
    with database.read() as conn:
        waiting = queue.waiting_mails(conn, database, task.batch.id, task.states)
        source = sources[task.batch.source]
        prepared = jobs.prepare(conn, database, source, task.batch, waiting)
    here = {mail.id for mail in waiting if mail.status in ASKABLE}
    packed = pack(
        [_from_company(mail, task.company) for mail in prepared.mails],
        limit=task.limit,
        batch_size=task.batch_size,
        batch_key=task.batch_key,
        mail_limit=task.mail_limit,
    )
    return Rendered(
        groups=tuple(tuple(mail.id for mail in group) for group in packed.groups),
        too_large=tuple(mail.id for mail in packed.too_large),
        dropped=tuple(dropped for dropped in prepared.dropped if dropped.mail_id in here),
        row_of={mail.id: mail.source_id for mail in waiting},
        first=packed.first,
    )


def _from_company(mail: Mail, company: Company) -> Mail:
    """The mail with the sender that the provider has verified; answers go where they went."""
    if not company.ses_sender_email:
        return mail
    sender = Address(company.ses_sender_email, company.sender_name or mail.sender.name)
    return replace(mail, sender=sender, reply_to=mail.reply_to or mail.sender.email)
