"""What providers learn of mails after they took them: bounces, complaints, deliveries.

Feedback ends what a mail's state said, and keeps addresses from being written to again. It is
believed only of mails of companies that send through the account whose queue brought it, and only
of the address that the mail went to. Nothing is ever removed from the suppressions here.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from sidecar.connectors.base import CollectedFeedback, Feedback, FeedbackConnector, FeedbackKind
from sidecar.errands import Errands
from sidecar.errors import SidecarError
from sidecar.lifecycle import BOUNCED, COMPLAINED, REJECTED, SOFT_BOUNCED
from sidecar.metrics.registry import Metrics
from sidecar.recorder import Recorder
from sidecar.reputation import Standing, kept, standings, verdict
from sidecar.routes import Routes
from sidecar.store import feedback as store
from sidecar.store import suppressions
from sidecar.store.companies import Companies, set_company
from sidecar.store.database import Database, Transaction
from sidecar.store.feedback import ToldMail
from sidecar.store.site import Lease, read_site, read_state, update_state

log = logging.getLogger(__name__)

TROUBLE_SECONDS = 60.0
"""How long a feedback queue is left alone that could not be read."""
PATIENCE = 2.0
"""How long a poll waits for queues that have not answered; what they have comes with the next."""
PAGES = 50
"""Most calls that one look makes to a queue, ten messages each."""

SUPPRESSES = {FeedbackKind.BOUNCED: "bounce", FeedbackKind.COMPLAINED: "complaint"}
"""After which feedback an address gets no more mail of the company, and the reason that is kept."""

CODES = {
    FeedbackKind.BOUNCED: BOUNCED,
    FeedbackKind.SOFT_BOUNCED: SOFT_BOUNCED,
    FeedbackKind.COMPLAINED: COMPLAINED,
    FeedbackKind.REJECTED: REJECTED,
}


class FeedbackPoller:
    """The source of feedback; used by one thread at a time.

    pause: holds a company's mail and takes back what its provider has not sent; raises
    SidecarError.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        recorder: Recorder,
        routes: Routes,
        metrics: Metrics,
        site_uid: str,
        pause: Callable[[int], object],
    ) -> None:
        self._pause = pause
        self._database = database
        self._lease = lease
        self._recorder = recorder
        self._routes = routes
        self._metrics = metrics
        self._site_uid = site_uid
        self._errands: Errands[str] = Errands("the feedback queue cannot be read", TROUBLE_SECONDS)

    def poll(self, companies: Companies) -> int:
        """Take in what providers have; returns how many messages that were.

        Raises DatabaseError and LeaseLostError.
        """
        self._note_resumed(companies)
        drains = {}
        for queue, route in self._routes.feedback(companies).items():
            connector = self._routes.connector(route)
            if isinstance(connector, FeedbackConnector):
                drains[queue] = partial(self._drain, connector, _Members(companies, queue))
        self._errands.begin(drains)
        self._errands.wait_for_all(PATIENCE)
        return self._errands.take()

    def _note_resumed(self, companies: Companies) -> None:
        """An admin let companies go on that we had stopped: their rates are taken anew."""
        stopped = standings(read_site(self._database).state).items()
        gone_on = [c for c, standing in stopped if standing.paused and not companies.get(c).paused]
        if gone_on:
            with self._database.write(self._lease.token) as tx:
                for company_id in gone_on:
                    update_state(tx, self._database, kept(company_id, Standing(tx.now)))

    def _drain(self, connector: FeedbackConnector, members: "_Members") -> int:
        """Take in what a queue has; in a thread of its own. Raises ConnectorError."""
        number = 0
        for _ in range(PAGES):
            done = self._take_in(connector.collect_feedback(), members)
            if not done:
                break
            connector.forget_feedback(done)
            number += len(done)
        return number

    def _take_in(self, collected: Sequence[CollectedFeedback], members: "_Members") -> list[str]:
        """Write what is said; returns the receipts of what is done with. All or nothing."""
        mine = [message for message in collected if self._is_ours(message)]
        if not mine:
            return []
        counted: Counter[str] = Counter()
        touched: set[int] = set()
        worse: set[int] = set()
        with self._database.write(self._lease.token) as tx:
            for event in chain.from_iterable(message.events for message in mine):
                mails = [mail for mail in self._meant(tx, event) if mail.company_id in members]
                counted[event.kind.value if mails else "unknown_mail"] += 1
                changed = self._apply(tx, event, mails)
                touched |= changed
                if changed and event.kind in SUPPRESSES:
                    worse |= {mail.company_id for mail in mails}
            stopped = [company_id for company_id in worse if self._judge(tx, company_id)]
        self._recorder.touch(touched)
        for kind, number in counted.items():
            self._metrics.feedback.labels(kind).inc(number)
        for company_id in stopped:
            self._take_back(company_id)
        return [message.receipt for message in mine]

    def _is_ours(self, message: CollectedFeedback) -> bool:
        """What names another site is left for that site."""
        return all(event.site_uid in ("", self._site_uid) for event in message.events)

    def _meant(self, tx: Transaction, event: Feedback) -> list[ToldMail]:
        """The mails to the address that an event is about."""
        found = store.find(
            tx.conn,
            self._database,
            mail_key=event.mail_key,
            address=event.address,
            message_id=event.message_id,
        )
        return [
            mail
            for mail in found
            if mail.provider != "smtp" and mail.email.lower() == event.address.lower()
        ]

    def _apply(self, tx: Transaction, event: Feedback, mails: Sequence[ToldMail]) -> set[int]:
        """Write one event; the batches whose counters it may change."""
        if not mails:
            return set()
        ids = [mail.id for mail in mails]
        if event.kind is FeedbackKind.DELIVERED:
            changed = store.deliver(tx, self._database, ids, event.message_id)
        else:
            changed = store.bounce(tx, self._database, ids, CODES[event.kind], event.text)
        if reason := SUPPRESSES.get(event.kind):
            suppressions.add(
                tx,
                self._database,
                mails[0].email,
                company_id=mails[0].company_id,
                scope=suppressions.ALL,
                reason=reason,
                job_id=mails[0].job_id,
            )
        return {mail.batch_id for mail in mails} if changed else set()

    def _judge(self, tx: Transaction, company_id: int) -> bool:
        """Stop a company of whose mails too many come back; whether that was done."""
        standing = standings(read_state(tx.conn, self._database)).get(company_id, Standing())
        rates = store.rates(tx.conn, self._database, company_id, standing.since)
        reason = verdict(rates.mails, rates.bounced, rates.complained)
        if not reason or standing.paused:
            return False
        set_company(tx, self._database, company_id, {"paused": 1})
        update_state(tx, self._database, kept(company_id, Standing(standing.since, reason)))
        log.error("company %d is paused: %s", company_id, reason)
        return True

    def _take_back(self, company_id: int) -> None:
        """What the provider has of a stopped company and has not sent, waits here."""
        try:
            self._pause(company_id)
        except SidecarError as error:  # it is paused all the same
            log.warning("company %d: nothing is taken back: %s", company_id, error)

    def show_rates(self, company_ids: Iterable[int]) -> None:
        """Set the gauges of companies. Raises DatabaseError."""
        standing = standings(read_site(self._database).state)
        with self._database.read() as conn:
            for company_id in company_ids:
                since = standing.get(company_id, Standing()).since
                rates = store.rates(conn, self._database, company_id, since)
                self._metrics.bounce_rate.labels(str(company_id)).set(rates.bounce_rate)
                self._metrics.complaint_rate.labels(str(company_id)).set(rates.complaint_rate)


@dataclass(frozen=True, slots=True)
class _Members:
    """The companies of whose mails a queue may speak."""

    companies: Companies
    queue: str

    def __contains__(self, company_id: int) -> bool:
        return self.companies.get(company_id).feedback_queue_url == self.queue
