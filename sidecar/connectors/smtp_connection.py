"""One connection of an SMTP submit, in a task of its own, with at most one mail in flight.

In one report it says what became of its last mail and that its next is processing; only after that
commit does it send. Where a server takes commands in advance, those of the next mail leave with the
final dot of the last, its message only after that report.
"""

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from sidecar.connectors.smtp_outcome import (
    connection_trouble,
    is_mails_own,
    outcome,
    sender_trouble,
    unsendable,
    untried,
)
from sidecar.connectors.smtp_session import STREAMED, Result, SmtpSession, Transaction
from sidecar.errors import ConnectorError, Unavailable
from sidecar.lifecycle import Recipient
from sidecar.mail import Mail, Outcome

if TYPE_CHECKING:
    from sidecar.connectors.smtp_submit import Open, Submit, Taken

STALE = 10.0
"""Seconds of silence after which a server is asked whether it is still there."""


class EndedElsewhereError(Exception):
    """Another connection of this submit met the error that ends it; send nothing more."""


class Connection:
    """One connection at work, in a task of its own."""

    def __init__(self, submit: "Submit") -> None:
        self._submit = submit
        self._session: SmtpSession | None = None
        self._proven = self._has_taken = self._is_surplus = False
        self._trouble: ConnectorError | None = None
        self._known: tuple[Open, Outcome, Mail | None] | None = None
        self._ahead: Taken | None = None

    async def work(self) -> None:
        """Send mail after mail until there is none, or no connection can be had."""
        try:
            # A mail is taken last, so that none waits for a connection that cannot be had.
            while await self._may_go_on() and (session := await self._connect()):
                if taken := self._take():
                    await self._deliver(session, taken)
                    self._submit.enlist()
        finally:
            if self._session:
                self._session.withdraw()
            if self._ahead:
                self._submit.done(self._ahead.open_, back=self._ahead.mail)
            try:
                await self._report()
            finally:
                if self._session:
                    await self._submit.connector.release(self._session, keep=not self._is_surplus)

    async def _may_go_on(self) -> bool:
        if self._ahead:
            return self._submit.goes_on()
        self._is_surplus = self._submit.is_surplus(self)
        return not self._is_surplus and await self._submit.more()

    def _take(self) -> "Taken | None":
        """The mail that was taken in advance, else the next that waits."""
        ahead, self._ahead = self._ahead, None
        return ahead or self._submit.take()

    def _take_ahead(self, session: SmtpSession) -> Transaction | None:
        """Take the mail that is sent after the one that is sent now; what to begin of it."""
        if not (self._submit.can_spare() and self._submit.connector.may_begin(session)):
            return None
        self._ahead = taken = self._submit.take()
        if taken is None:
            return None
        try:
            transaction = self._transaction(taken.mail)
        except ValueError:
            return None  # that is reported when its turn comes
        if len(transaction.message) <= STREAMED:  # two large ones would be much to hold
            taken.transaction = transaction
        return taken.transaction

    def _transaction(self, mail: Mail) -> Transaction:
        """What is sent of a mail; raises ValueError if no message can be made."""
        return Transaction(mail.envelope_from, mail.to, self._submit.connector.message(mail))

    async def _deliver(self, session: SmtpSession, taken: "Taken") -> None:
        open_, mail = taken.open_, taken.mail
        try:
            transaction = taken.transaction or self._transaction(mail)
        except ValueError as error:
            await self._report()
            self._known = (open_, unsendable(mail, open_.batch.id, error), None)
            return
        if not await self._in_turn(session):
            session.withdraw()
            self._submit.done(open_, back=mail)
            return
        if mail.id in await self._report(Outcome(mail.id, open_.batch.id, Recipient.PROCESSING)):
            session.withdraw()
            self._submit.done(open_)
            return
        self._known = (open_, untried(mail, open_.batch.id), None)
        was_begun = session.begun is not None
        take_ahead = partial(self._take_ahead, session)
        result = await session.send(transaction, self._submit.guard, take_ahead)
        # Either this mail had left in advance, or the next had, behind this one's final dot.
        if not result.code and (session.begun or (was_begun and result.step == "idle")):
            self._submit.connector.unanswered(session)
        await self._judge(session, open_, mail, result)
        if self._trouble is None:
            self._submit.answered()

    async def _judge(self, session: SmtpSession, open_: "Open", mail: Mail, result: Result) -> None:
        """Whom the result concerns: the connection, the sender or the mail."""
        self._trouble = trouble = connection_trouble(result)
        self._proven = self._proven or trouble is None
        if not is_mails_own(result, has_taken=self._has_taken):
            self._known = (open_, untried(mail, open_.batch.id, result), mail)
            await self._report()  # before anybody may take it again
            await session.end()
        elif refused := sender_trouble(result):
            self._known = (open_, untried(mail, open_.batch.id, result), None)
            self._submit.refuse_sender(open_, mail.envelope_from, refused)
        else:
            became = outcome(mail, open_.batch.id, result)
            self._known = (open_, became, None)
            if became.status is Recipient.SENT:
                self._has_taken = True
                self._submit.took()

    async def _in_turn(self, session: SmtpSession) -> bool:
        """Wait as the rate says; whether to send now."""
        delay = self._submit.connector.pacer.reserve()
        if not delay:
            return True
        await self._report()
        return await self._submit.pause(delay) and await _alive(session)

    async def _connect(self) -> SmtpSession | None:
        """The session to send by; None if none can be had.

        A connection that ended before it answered for a single mail is not replaced.
        """
        connector, session = self._submit.connector, self._session
        if session and not connector.is_outranked(session) and await _alive(session):
            return session
        await self._report()
        try:
            if session and session.is_open:  # alive, and its place is at a better server
                await session.end()
            elif session and not self._proven:
                raise self._trouble or Unavailable(f"{session.server} has left")
            self._session = await connector.session()
        except ConnectorError as error:
            self._submit.lose(self, error)
            return None
        self._proven = self._has_taken = False
        self._submit.enlist()
        return self._session

    async def _report(self, *more: Outcome) -> Collection[int]:
        """Have what is known of the last mail committed, together with ``more``.

        Returns the mails that must not be sent: they were cancelled or handed back meanwhile.
        """
        known, self._known = self._known, None
        outcomes = [known[1], *more] if known else more
        refused = await self._submit.report(outcomes) if outcomes else ()
        if known:
            self._submit.done(known[0], known[2])
        return refused


async def _alive(session: SmtpSession) -> bool:
    if session.begun or session.idle < STALE:
        return session.is_open
    return session.is_open and await session.noop()
