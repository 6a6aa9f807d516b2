"""Campaigns: the outbox into which any plugin may queue, claimed by its state."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from urllib.parse import urlsplit

from sqlalchemy import Connection

from sidecar.errors import EncryptionError
from sidecar.grouping import Group
from sidecar.jobs import Prepared, close_jobs
from sidecar.metrics.registry import Metrics
from sidecar.moodle.config import MoodleConfig, RecentConfig
from sidecar.moodle.encryption import Vault
from sidecar.moodle.tables import MoodleTables
from sidecar.operations import Operations
from sidecar.pollers.base import Gate
from sidecar.pollers.campaign_claim import CampaignClaim
from sidecar.pollers.campaign_prepare import CampaignPreparation
from sidecar.pollers.campaign_writing import unsubscribe_page
from sidecar.settings import Settings
from sidecar.store import campaign_jobs, campaigns, capture
from sidecar.store.campaigns import Campaign, Status
from sidecar.store.companies import Companies
from sidecar.store.database import Database
from sidecar.store.operations import read_operations
from sidecar.store.queue import DueBatch, PendingMail
from sidecar.store.site import Lease
from sidecar.suppressing import CAMPAIGNS
from sidecar.unsubscribe import PURPOSE, Links

log = logging.getLogger(__name__)

DRAIN_SECONDS = 2.0
"""How long one look may claim before the leader does other things again."""

COUNT_SECONDS = 60.0
"""How often the rows that may not be claimed are counted anew."""

HANDED_BACK = "mails were taken back into the outbox"


class Campaigns:
    """The source ``campaigns``. No task of Moodle sends its mail, and no cron lock guards it: what
    is not claimed waits, and nobody else sends it."""

    name = CAMPAIGNS
    task = ""

    def __init__(
        self,
        database: Database,
        tables: MoodleTables,
        settings: Settings,
        lease: Lease,
        vault: Vault,
        site_uid: str,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._settings = settings
        self._lease = lease
        self._metrics = metrics
        self._config = RecentConfig(tables, settings)
        host = urlsplit(settings.wwwroot).hostname or "localhost"
        self._claim = CampaignClaim(database, tables, settings.batch_size, site_uid, host)
        self._vault = vault
        self._links: Links | None = None
        self._trouble = ""
        self._preparation = CampaignPreparation(database, tables, settings, self._make_links)
        self._old_until: dict[int, int] = {}
        self._left: Counter[tuple[str, int]] = Counter()
        self._counted: tuple[float, Mapping[int, str]] = (0.0, {})
        self.stopping = False
        self.hurried = False
        self.settled = False
        self.resting = False

    def poll(
        self,
        config: MoodleConfig,  # noqa: ARG002 - as the protocol says
        companies: Companies,
        gate: Gate,
        claimed: Callable[[], None],
    ) -> float | None:
        """``Poller.poll``."""
        with self._database.read() as conn:
            # Before the look: the rows of an operation that is over by now are seen by it.
            operations = read_operations(conn, self._database, self._settings.quiet_period)
            found = campaigns.active(conn, self._database)
            jobs = capture.open_jobs(conn, self._database, self.name)
            now = self._database.now(conn)
        open_jobs = {job.id: job for job in jobs}
        until = time.monotonic() + DRAIN_SECONDS
        moments: list[float] = []
        left: dict[int, str] = {}
        held: dict[int, Campaign] = {}
        for campaign, waits in found:
            if not waits:
                continue
            reason = self._why_not(campaign, gate, open_jobs, now)
            if reason == "not_yet":
                moments.append(time.monotonic() + (campaign.send_at or 0) - now)
            elif reason == "job_closed":
                held[campaign.id] = campaign
            elif not reason:
                provider = companies.get(campaign.company_id).provider
                if not self._drain(campaign, provider, until, claimed):
                    moments.append(time.monotonic())
            if reason:
                left[campaign.id] = reason
        self._hold(held)
        self._end(found, open_jobs, operations, now)
        self._show_left({campaign.id: campaign for campaign, _ in found}, left)
        self.settled = not moments or min(moments) > time.monotonic()
        self.resting = not found
        return min(moments, default=None)

    def _why_not(
        self, campaign: Campaign, gate: Gate, open_jobs: Mapping[int, capture.OpenJob], now: int
    ) -> str:
        """Why rows of a campaign are not claimed now; '' if they are."""
        if campaign.status == Status.RUNNING and campaign.job_id not in open_jobs:
            return "job_closed"
        due = campaign.send_at or campaign.created_at
        if due > now:
            return "not_yet"
        confirmed = campaign.id <= self._old_until.get(campaign.company_id, -1)
        queued = campaign.status == Status.QUEUED
        if queued and now - due > self._settings.max_age and not confirmed:
            return "too_old"
        return gate(campaign.company_id) or self._unlinkable()

    def _unlinkable(self) -> str:
        """Why no mail could be written for want of the site's address or key; '' if it could."""
        if not urlsplit(self._settings.wwwroot).hostname:
            return "wwwroot_unknown"
        try:
            self._make_links()
        except EncryptionError as error:
            if str(error) != self._trouble:
                log.warning("campaigns wait: %s", error)
            self._trouble = str(error)
            return "no_site_key"
        return ""

    def _make_links(self) -> Links:
        if self._links is None:
            self._links = Links(unsubscribe_page(self._settings), self._vault.derive(PURPOSE))
        return self._links

    def _drain(
        self, campaign: Campaign, provider: str, until: float, claimed: Callable[[], None]
    ) -> bool:
        """Claim chunk after chunk; False if rows are left because the time is over."""
        if campaign.status == Status.QUEUED and self._claim.refuse_bad_text(
            self._lease.token, campaign
        ):
            return True
        number = 1
        while number and not self.stopping:
            if self.hurried or time.monotonic() > until:
                return False
            with (
                self._metrics.claim_seconds.time(),
                self._database.write(self._lease.token) as tx,
            ):
                number = self._claim.claim(tx, campaign.id, provider)
            if number:
                log.info("claimed %d rows: campaign %d", number, campaign.id)
                labels = (str(campaign.company_id), campaign.type)
                self._metrics.claimed.labels(*labels).inc(number)
                claimed()
        return True

    def _hold(self, held: Mapping[int, Campaign]) -> None:
        """Somebody ended the job of these campaigns, and rows of them still wait."""
        if not held:
            return
        with self._database.write(self._lease.token) as tx:
            campaigns.set_status(
                tx, self._database, list(held), Status.HELD, "its job takes no more mails"
            )
        log.warning("campaigns %s are held: their jobs take no more mails", sorted(held))

    def _end(
        self,
        found: Sequence[tuple[Campaign, bool]],
        open_jobs: Mapping[int, capture.OpenJob],
        operations: Operations,
        now: int,
    ) -> None:
        """Close the jobs of campaigns of which no row waits; if its job has ended, it is done.

        A job is closed at once if whoever sent the campaign has said that these were all its rows.
        """
        still = [c for c, waits in found if c.status == Status.RUNNING and not waits]
        running = {campaign.job_id: campaign.id for campaign in still}
        quiet = [
            job.id
            for campaign in still
            if (job := open_jobs.get(campaign.job_id or 0))
            and (
                now - job.last_joined > self._settings.quiet_period
                or operations.queued(
                    Group(job.type, job.company_id),
                    campaign.created_by,
                    job.rows,
                    campaign.created_at,
                )
            )
        ]
        closed = [running[job_id] for job_id in running.keys() - open_jobs.keys()]
        if not quiet and not closed:
            return
        with self._database.write(self._lease.token) as tx:
            close_jobs(tx, self._database, quiet)
            campaign_jobs.end(tx, self._database, closed)

    def _show_left(self, found: Mapping[int, Campaign], left: Mapping[int, str]) -> None:
        """Count what waits by reason, when the reasons change and once a minute."""
        now, (counted_at, before) = time.monotonic(), self._counted
        if left != before or (left and now - counted_at > COUNT_SECONDS):
            with self._database.read() as conn:
                numbers = campaigns.waiting_numbers(conn, self._database, list(left))
            shown, self._left = self._left, Counter()
            for campaign_id, reason in left.items():
                key = reason, found[campaign_id].company_id
                self._left[key] += numbers.get(campaign_id, 0)
            self._counted = (now, dict(left))
            gauge = self._metrics.left
            for reason, company in shown.keys() - self._left.keys():
                gauge.remove(self.name, reason, str(company))
            for (reason, company), number in self._left.items():
                gauge.labels(self.name, reason, str(company)).set(number)
            self._metrics.backlog.labels(self.name).set(self._left.total())

    def newest(self, conn: Connection) -> int:
        """``Poller.newest``."""
        return campaigns.newest(conn, self._database)

    def release_old(self, company_id: int, up_to: int) -> None:
        """``Poller.release_old``."""
        self._old_until[company_id] = up_to

    def close_all(self) -> None:
        """``Poller.close_all``; a campaign of which rows wait keeps its job open."""
        with self._database.read() as conn:
            found = campaigns.active(conn, self._database)
        jobs = [c.job_id for c, waits in found if c.job_id and not waits]
        if jobs:
            with self._database.write(self._lease.token) as tx:
                close_jobs(tx, self._database, jobs)
                campaign_jobs.end(tx, self._database, [c.id for c, _ in found if c.job_id in jobs])

    def prepare(
        self, conn: Connection, batch: DueBatch, waiting: Sequence[PendingMail]
    ) -> Prepared:
        """``jobs.Source.prepare``."""
        return self._preparation.prepare(conn, self._config.read(conn), batch, waiting)

    def give_back(self, conn: Connection, originals: Mapping[int, int], stamp: int) -> set[int]:  # noqa: ARG002
        """``jobs.Source.give_back``: the rows wait in the outbox again, their campaign is held."""
        return campaigns.put_back(conn, self._database, originals.keys(), HANDED_BACK)

    def still_wait(
        self,
        conn: Connection,  # noqa: ARG002 - as the protocol says
        rows: Collection[tuple[int, int]],  # noqa: ARG002
    ) -> set[tuple[int, int]]:
        """``jobs.Source.still_wait``: none; a row that waits again may be claimed again."""
        return set()
