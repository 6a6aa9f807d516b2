"""The results inbox: filled by the callback page and from the providers' results queues.

Results are taken in first and believed later: what a queue or a page brings is stored, committed
and only then deleted at the provider; settling proves signature, company and site again.
"""

import json
import logging
import time
from collections.abc import Callable, Collection
from functools import partial

from sidecar import settle
from sidecar.connectors.base import Collected
from sidecar.errands import Errands
from sidecar.errors import EncryptionError, MessageError, SidecarError
from sidecar.message import RESULT, is_signed, parse_envelope, parse_result
from sidecar.metrics.registry import Metrics
from sidecar.moodle.encryption import Vault
from sidecar.recorder import Recorder
from sidecar.routes import Route, Routes
from sidecar.settle import Applied
from sidecar.store import inbox, reports
from sidecar.store.companies import CallbackKey, Companies
from sidecar.store.database import Database, Transaction
from sidecar.store.inbox import Delivery
from sidecar.store.reports import ReportedBatch
from sidecar.store.site import Lease

log = logging.getLogger(__name__)

PAGE = 50
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
        keys = _Keys(companies, self._vault)
        reporting = self._routes.reporting(keys.companies)
        self._errands.begin({route: partial(self._collect, route, keys) for route in reporting})
        until = time.monotonic() + PATIENCE
        moved = self._settle_all(keys)
        while self._errands.wait(TURN) and time.monotonic() < until:
            moved += self._settle_all(keys)
        moved += self._settle_all(keys)
        self._purge()
        return moved + self._errands.take()

    def _settle_all(self, keys: "_Keys") -> int:
        moved, last = 0, 0
        while page := inbox.waiting(self._database, last, PAGE):
            moved += self._settle(page, keys.of_now())
            last = page[-1].id
        return moved

    def _collect(self, route: Route, keys: "_Keys") -> int:
        """Take in what a results queue has; in a thread of its own. Raises ConnectorError."""
        connector, number = self._routes.connector(route), 0
        for _ in range(RECEIVES):
            done = self._take_in(connector.collect(), keys)
            if not done:
                break
            connector.forget(done)
            number += len(done)
        return number

    def _take_in(self, collected: Collection[Collected], keys: "_Keys") -> list[str]:
        """Store results; returns the receipts of what is stored or worth nothing."""
        if not collected:
            return []
        keys = keys.of_now()
        deliveries: list[Delivery] = []
        done: list[str] = []
        for message in collected:
            try:
                delivery = self._open(message.body, keys)
            except _RefusedError as refused:
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

    def _open(self, body: str, keys: "_Keys") -> Delivery:
        try:
            envelope = parse_envelope(body)
            delivery_id, site_uid = _named(envelope.payload)
        except MessageError as error:
            raise _RefusedError(MALFORMED, str(error)) from None
        if site_uid != self._site_uid:
            raise _RefusedError(OTHER_SITE)
        delivery = Delivery(
            delivery_id, envelope.key, envelope.timestamp, envelope.payload, envelope.signature
        )
        if envelope.kind != RESULT:
            raise _RefusedError(MALFORMED, "it is no result")
        keys.prove(delivery, int(time.time()))
        return delivery

    def _settle(self, page: Collection[Delivery], keys: "_Keys") -> int:
        """Settle a page of the inbox; returns how many deliveries are done with."""
        touched: set[int] = set()
        waits = {delivery.id: self._waits.pop(delivery.id, "") for delivery in page}
        outcomes: dict[str, list[int]] = {}
        ended: list[tuple[ReportedBatch, Applied]] = []
        with (
            self._metrics.settle_seconds.labels("results").time(),
            self._database.write(self._lease.token) as tx,
        ):
            for delivery in page:
                try:
                    batch, applied = self._apply(tx, delivery, keys)
                    touched.add(batch.id)
                    outcome = _outcome(applied)
                    ended.append((batch, applied))
                except _RefusedError as refused:
                    log.warning("result %d is refused: %s", delivery.id, refused)
                    outcome = refused.outcome
                except EncryptionError as error:
                    if waits[delivery.id] != str(error):
                        log.warning("result %d waits: %s", delivery.id, error)
                    self._waits[delivery.id] = str(error)
                    continue
                outcomes.setdefault(outcome, []).append(delivery.id)
                self._metrics.callback_seconds.observe(max(0, tx.now - delivery.signed_at))
            for outcome, ids in outcomes.items():
                inbox.mark_processed(tx, self._database, ids, outcome)
            now = tx.now
        self._recorder.touch(touched)
        for outcome, ids in outcomes.items():
            self._metrics.results.labels(outcome).inc(len(ids))
        for batch, applied in ended:
            for status, code in applied.ended:
                self._metrics.ended(
                    batch.company_id, batch.provider, status, code, now - batch.created_at
                )
        return sum(map(len, outcomes.values()))

    def _apply(
        self, tx: Transaction, delivery: Delivery, keys: "_Keys"
    ) -> tuple[ReportedBatch, Applied]:
        """The batch that a delivery concerns, and what it did.

        Raises _RefusedError; EncryptionError when its key cannot be read now.
        """
        keys.prove(delivery, tx.now)
        try:
            result = parse_result(delivery.payload)
        except MessageError as error:
            raise _RefusedError(MALFORMED, str(error)) from None
        if result.site_uid != self._site_uid:
            raise _RefusedError(OTHER_SITE)
        batch = reports.find_batch(tx, self._database, result.batch_key)
        if batch is None:
            raise _RefusedError("unknown_batch")
        theirs = keys.companies.get(batch.company_id).callback_keys(tx.now)
        if all(key.key != delivery.callback_key for key in theirs):
            raise _RefusedError("other_company")
        for text in result.errors:
            log.warning("job %d batch %d: the worker says: %s", batch.job_id, batch.id, text)
        return batch, settle.apply_result(tx, self._database, batch, result)

    def _purge(self) -> None:
        if time.monotonic() < self._purge_at:
            return
        with self._database.write(self._lease.token) as tx:
            gone = inbox.purge(tx, self._database)
        if not gone:
            self._purge_at = time.monotonic() + PURGE_SECONDS


def _outcome(applied: Applied) -> str:
    if applied.after_all:
        return "sent_after_all"
    return "applied" if applied.changed else "nothing_new"


class _RefusedError(SidecarError):
    """A result that changes nothing."""

    def __init__(self, outcome: str, why: str = "") -> None:
        super().__init__(f"{outcome.replace('_', ' ')} {why}".strip())
        self.outcome = outcome


class _Keys:
    """The companies' callback keys with their secrets, decrypted when first needed."""

    def __init__(
        self,
        read: Callable[[], Companies],
        vault: Vault,
        secrets: dict[CallbackKey, str] | None = None,
    ) -> None:
        self._read, self._vault = read, vault
        self.companies = read()
        self._secrets = {} if secrets is None else secrets

    def of_now(self) -> "_Keys":
        """The keys read anew: what was fetched before is signed with one of them, or with none."""
        return _Keys(self._read, self._vault, self._secrets)

    def prove(self, delivery: Delivery, now: int) -> None:
        """Raise _RefusedError unless a key that is valid at ``now`` signed the delivery.

        EncryptionError: the secret cannot be read.
        """
        key = self.companies.find_key(delivery.callback_key, now)
        if key is None:
            raise _RefusedError("unknown_key")
        if key not in self._secrets:
            self._secrets[key] = self._vault.reveal(key.secret)
        if not is_signed(
            RESULT,
            delivery.signed_at,
            delivery.payload,
            delivery.signature,
            [self._secrets[key]],
        ):
            raise _RefusedError("bad_signature")


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
