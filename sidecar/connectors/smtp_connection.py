"""One connection of an SMTP submit, in a task of its own, with at most one mail in flight.

In one report it says what became of its last mail and that its next is processing; only after that
commit does it send.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from sidecar.connectors.smtp_outcome import (
    connection_trouble,
    is_mails_own,
    outcome,
    sender_trouble,
    unsendable,
    untried,
)
from sidecar.connectors.smtp_session import Result, SmtpSession
from sidecar.errors import ConnectorError, Unavailable
from sidecar.lifecycle import Recipient
from sidecar.mail import Mail, Outcome

if TYPE_CHECKING:
    from sidecar.connectors.smtp_submit import Open, Submit

STALE = 10.0
"""Seconds of silence after which a server is asked whether it is still there."""


class EndedElsewhereError(Exception):
    """Another connection of this submit met the error that ends it; send nothing more."""


class Connection:
    """One connection at work, in a task of its own."""

    def __init__(self, submit: "Submit") -> None:
        self._submit = submit
        self._session: SmtpSession | None = None
        self._proven = self._is_surplus = False
        self._trouble: ConnectorError | None = None
        self._known: tuple[Open, Outcome, Mail | None] | None = None

    async def work(self) -> None:
        """Send mail after mail until there is none, or no connection can be had."""
        try:
            # A mail is taken last, so that none waits for a connection that cannot be had.
            while await self._may_go_on() and (session := await self._connect()):
                if taken := self._submit.take():
                    await self._deliver(session, *taken)
                    self._submit.enlist()
        finally:
            try:
                await self._report()
            finally:
                if self._session:
                    await self._submit.connector.release(self._session, keep=not self._is_surplus)

    async def _may_go_on(self) -> bool:
        self._is_surplus = self._submit.is_surplus(self)
        return not self._is_surplus and await self._submit.more()

    async def _deliver(self, session: SmtpSession, open_: "Open", mail: Mail) -> None:
        try:
            message = self._submit.connector.message(mail)
        except ValueError as error:
            await self._report()
            self._known = (open_, unsendable(mail, open_.batch.id, error), None)
            return
        if not await self._in_turn(session):
            self._submit.done(open_, back=mail)
            return
        if mail.id in await self._report(Outcome(mail.id, open_.batch.id, Recipient.PROCESSING)):
            self._submit.done(open_)
            return
        self._known = (open_, untried(mail, open_.batch.id), None)
        result = await session.send(mail.envelope_from, mail.to, message, self._submit.guard)
        await self._judge(open_, mail, result)
        if self._trouble is None:
            self._submit.answered()

    async def _judge(self, open_: "Open", mail: Mail, result: Result) -> None:
        """Whom the result concerns: the connection, the sender or the mail."""
        self._trouble = trouble = connection_trouble(result)
        self._proven = self._proven or trouble is None
        if not is_mails_own(result):
            self._known = (open_, untried(mail, open_.batch.id, result), mail)
            await self._report()  # before anybody may take it again
        elif refused := sender_trouble(result):
            self._known = (open_, untried(mail, open_.batch.id, result), None)
            self._submit.refuse_sender(open_, mail.envelope_from, refused)
        else:
            became = outcome(mail, open_.batch.id, result)
            self._known = (open_, became, None)
            if became.status is Recipient.SENT:
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
                await session.wire.quit(1.0)
            elif session and not self._proven:
                raise self._trouble or Unavailable(f"{session.server} has left")
            self._session = await connector.session()
        except ConnectorError as error:
            self._submit.lose(self, error)
            return None
        self._proven = False
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
    return session.is_open and (session.idle < STALE or await session.noop())
