"""The results inbox: filled by the callback page and from the providers' results queues.

Results are taken in first and believed later: what a queue or a page brings is stored, committed
and only then deleted at the provider; settling proves signature, company and site again.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from sidecar import settle
from sidecar.connectors.base import Collected
from sidecar.errands import Errands
from sidecar.errors import EncryptionError, MessageError
from sidecar.message import RESULT, BatchResult, parse_envelope, parse_result
from sidecar.metrics.registry import Metrics
from sidecar.moodle.encryption import Vault
from sidecar.pollers.proof import Keys, RefusedError
from sidecar.recorder import Recorder
from sidecar.routes import Route, Routes
from sidecar.settle import Applied
from sidecar.store import inbox, reports
from sidecar.store.companies import Companies
from sidecar.store.database import Database, Transaction
from sidecar.store.inbox import Delivery
from sidecar.store.reports import ReportedBatch
from sidecar.store.site import Lease

log = logging.getLogger(__name__)

PAGE = 25
"""Deliveries that one transaction settles."""

MALFORMED, OTHER_SITE = "malformed", "other_site"

PURGE_SECONDS = 600.0
"""Pause between looks for deliveries that are old enough to be forgotten."""

TROUBLE_SECONDS = 30.0
"""How long a results queue is left alone that could not be read."""

RECEIVES = 50
"""Most calls that one look makes to a queue, ten messages each."""

PATIENCE = 2.0
"""How long a poll waits for queues that have not answered; what they have comes with the next."""

TURN = 0.2
"""How long what was taken in waits for more, before it is settled."""


class Results:
    """The source of results; used by one thread at a time."""

    def __init__(
        self,
        database: Database,
        lease: Lease,
        recorder: Recorder,
        routes: Routes,
        vault: Vault,
        metrics: Metrics,
        site_uid: str,
    ) -> None:
        self._database = database
        self._lease = lease
        self._recorder = recorder
        self._routes = routes
        self._vault = vault
        self._metrics = metrics
        self._site_uid = site_uid
        self._errands: Errands[Route] = Errands("the results queue cannot be read", TROUBLE_SECONDS)
        self._waits: dict[int, str] = {}
        self._purge_at = 0.0

    def poll(self, companies: Callable[[], Companies]) -> int:
        """Take in what providers have, settle what waits; returns how many deliveries that were.

        companies: reads them; a result may be signed with a key that is younger than this call.
        Raises DatabaseError and LeaseLostError.
        """
        keys = Keys(companies, self._vault)
        reporting = self._routes.reporting(keys.companies)
        self._errands.begin({route: partial(self._collect, route, keys) for route in reporting})
        until = time.monotonic() + PATIENCE
        moved = self._settle_all(keys)
        while self._errands.wait(TURN) and time.monotonic() < until:
            moved += self._settle_all(keys)
        moved += self._settle_all(keys)
        self._purge()
        return moved + self._errands.take()

    def _settle_all(self, keys: Keys) -> int:
        """Settle page after page; the next one is read and proven while the database works."""
        moved, page = 0, self._read(0, keys)
        with ThreadPoolExecutor(1, "results") as ahead:
            while page.read:
                following = ahead.submit(self._read, page.read[-1][0].id, keys)
                moved += self._settle(page)
                page = following.result()
        return moved

    def _read(self, after: int, keys: Keys) -> "_Page":
        deliveries = inbox.waiting(self._database, after, PAGE)
        if not deliveries:
            return _Page([], keys)
        keys = keys.of_now()
        with self._database.read() as conn:
            now = self._database.now(conn)
        return _Page([(each, self._said(each, keys, now)) for each in deliveries], keys)

    def _said(
        self, delivery: Delivery, keys: Keys, now: int
    ) -> "BatchResult | RefusedError | EncryptionError":
        try:
            keys.prove(delivery, now)
            result = parse_result(delivery.payload)
        except (RefusedError, EncryptionError) as error:
            return error
        except MessageError as error:
            return RefusedError(MALFORMED, str(error))
        return result if result.site_uid == self._site_uid else RefusedError(OTHER_SITE)

    def _collect(self, route: Route, keys: Keys) -> int:
        """Take in what a results queue has; in a thread of its own. Raises ConnectorError."""
        connector, number = self._routes.connector(route), 0
        for _ in range(RECEIVES):
            done = self._take_in(connector.collect(), keys)
            if not done:
                break
            connector.forget(done)
            number += len(done)
        return number

    def _take_in(self, collected: Collection[Collected], keys: Keys) -> list[str]:
        """Store results; returns the receipts of what is stored or worth nothing."""
        if not collected:
            return []
        keys = keys.of_now()
        deliveries: list[Delivery] = []
        done: list[str] = []
        for message in collected:
            try:
                delivery = self._open(message.body, keys)
            except RefusedError as refused:
                log.warning("a message in a results queue is refused: %s", refused)
                self._metrics.results.labels(refused.outcome).inc()
                if refused.outcome == OTHER_SITE:
                    continue  # its owner collects it
            except EncryptionError as error:
                log.warning("a result stays in its queue: %s", error)
                continue
            else:
                deliveries.append(delivery)
            done.append(message.receipt)
        if deliveries:
            with self._database.write(self._lease.token) as tx:
                new = inbox.store(tx, self._database, deliveries)
            self._metrics.results.labels("seen_before").inc(len(deliveries) - new)
        return done

    def _open(self, body: str, keys: Keys) -> Delivery:
        try:
            envelope = parse_envelope(body)
            delivery_id, site_uid = _named(envelope.payload)
        except MessageError as error:
            raise RefusedError(MALFORMED, str(error)) from None
        if site_uid != self._site_uid:
            raise RefusedError(OTHER_SITE)
        delivery = Delivery(
            delivery_id, envelope.key, envelope.timestamp, envelope.payload, envelope.signature
        )
        if envelope.kind != RESULT:
            raise RefusedError(MALFORMED, "it is no result")
        keys.prove(delivery, int(time.time()))
        return delivery

    def _settle(self, page: "_Page") -> int:
        """Settle a page of the inbox; returns how many deliveries are done with."""
        outcomes: dict[str, list[int]] = {}
        applied: list[tuple[_Believed, Applied]] = []
        with (
            self._metrics.settle_seconds.labels("results").time(),
            self._database.write(self._lease.token) as tx,
        ):
            for turn in _turns(self._believe(tx, page, outcomes)):
                told = [(each.batch, each.result) for each in turn]
                applied += zip(turn, settle.apply_results(tx, self._database, told), strict=True)
            for each, done in applied:
                outcomes.setdefault(_outcome(done), []).append(each.delivery.id)
            for outcome, ids in outcomes.items():
                inbox.mark_processed(tx, self._database, ids, outcome)
            now = tx.now
        self._recorder.touch({each.batch.id for each, _ in applied})
        for outcome, ids in outcomes.items():
            self._metrics.results.labels(outcome).inc(len(ids))
        for delivery, _ in page.read:
            if delivery.id not in self._waits:
                self._metrics.callback_seconds.observe(max(0, now - delivery.signed_at))
        for each, done in applied:
            batch = each.batch
            for (status, code), number in Counter(done.ended).items():
                self._metrics.ended(
                    batch.company_id, batch.provider, status, code, now - batch.created_at, number
                )
        return sum(map(len, outcomes.values()))

    def _believe(
        self, tx: Transaction, page: "_Page", outcomes: dict[str, list[int]]
    ) -> list["_Believed"]:
        """The deliveries to apply, in order; ``outcomes`` gets those that are refused.

        One whose key cannot be read now is neither: it waits.
        """

        def refuse(delivery: Delivery, refused: RefusedError) -> None:
            log.warning("result %d is refused: %s", delivery.id, refused)
            outcomes.setdefault(refused.outcome, []).append(delivery.id)

        named = {said.batch_key for _, said in page.read if isinstance(said, BatchResult)}
        batches = reports.find_batches(tx, self._database, named)
        believed: list[_Believed] = []
        for delivery, said in page.read:
            waited = self._waits.pop(delivery.id, "")
            if isinstance(said, EncryptionError):
                if waited != str(said):
                    log.warning("result %d waits: %s", delivery.id, said)
                self._waits[delivery.id] = str(said)
            elif isinstance(said, RefusedError):
                refuse(delivery, said)
            elif (batch := batches.get(said.batch_key)) is None:
                refuse(delivery, RefusedError("unknown_batch"))
            elif not page.keys.owns(delivery.callback_key, batch.company_id, tx.now):
                refuse(delivery, RefusedError("other_company"))
            else:
                believed.append(_Believed(delivery, batch, said))
                for text in said.errors:
                    log.warning(
                        "job %d batch %d: the worker says: %s", batch.job_id, batch.id, text
                    )
        return believed

    def _purge(self) -> None:
        if time.monotonic() < self._purge_at:
            return
        with self._database.write(self._lease.token) as tx:
            gone = inbox.purge(tx, self._database)
        if not gone:
            self._purge_at = time.monotonic() + PURGE_SECONDS


class _Page(NamedTuple):
    """A page of the inbox: what each delivery says, or why it is not believed; the keys of then."""

    read: Sequence[tuple[Delivery, BatchResult | RefusedError | EncryptionError]]
    keys: Keys


class _Believed(NamedTuple):
    """A delivery that the company of its batch has signed."""

    delivery: Delivery
    batch: ReportedBatch
    result: BatchResult


def _turns(believed: Iterable[_Believed]) -> Iterator[list[_Believed]]:
    """In order, cut where a batch comes again: each report is judged by what the last one left."""
    turn: list[_Believed] = []
    for each in believed:
        if any(each.batch.id == before.batch.id for before in turn):
            yield turn
            turn = []
        turn.append(each)
    if turn:
        yield turn


def _outcome(applied: Applied) -> str:
    if applied.after_all:
        return "sent_after_all"
    return "applied" if applied.changed else "nothing_new"


def _named(payload: str) -> tuple[str, str]:
    """The delivery and the site that a payload names, before anything of it is believed."""
    try:
        fields = json.loads(payload)
        named = fields["delivery_id"], fields["site_uid"]
    except (ValueError, RecursionError, LookupError, TypeError):
        raise MessageError("the payload names no delivery and no site") from None
    if not all(isinstance(name, str) and 0 < len(name) <= 64 for name in named):
        raise MessageError("the payload names no delivery and no site")
    return named
