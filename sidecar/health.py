"""What the daemon knows of itself: alive, ready, and if not, why; for /healthz, /readyz, systemd
and the metrics. Asks nobody: a scrape during an outage is answered at once."""

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from sqlalchemy import Connection

from sidecar.breaker import Breaker
from sidecar.context import Context
from sidecar.holds import Holds
from sidecar.metrics.facts import Values
from sidecar.store import facts, quota, retention
from sidecar.store.database import Database

HEALTHY_SECONDS = 120.0
"""How old the last cycle may be before the process counts as dead."""


class Part(StrEnum):
    """What mail needs; the names in /readyz and of the label ``part``."""

    DATABASE = "database"
    SITE = "site"
    LEADER = "leader"
    SWITCHES = "switches"
    LOCKS = "locks"
    PROVIDERS = "providers"


@dataclass(frozen=True, slots=True)
class Inside:
    """What a leading process knows. doubts: why a cron lock may not be shared."""

    breakers: Mapping[tuple[int, str], Breaker]
    holds: Holds
    doubts: tuple[str, ...]


class Health:
    """Told by the main loop, asked from other threads.

    inside: what the leader knows now; None while this process does not lead.
    """

    def __init__(self, context: Context, inside: Callable[[], Inside | None]) -> None:
        self._context = context
        self._inside = inside
        self._lock = threading.Lock()
        self._cycle_at = time.monotonic()
        self._begun = False
        self._trouble: tuple[Part, str] | None = None
        self._leader = ""

    def cycle(self, trouble: tuple[Part, str] | None, leader: str) -> None:
        """The main loop went round. trouble: what kept it from working; leader: '' if this
        process leads, else who does, as far as is known."""
        with self._lock:
            self._cycle_at = time.monotonic()
            self._begun = True
            self._trouble, self._leader = trouble, leader

    @property
    def begun(self) -> bool:
        """Whether the main loop went round at all."""
        return self._begun

    def age(self) -> float:
        """Seconds since the main loop last went round."""
        return time.monotonic() - self._cycle_at

    def alive(self) -> bool:
        """Whether the main loop still goes round."""
        return self.age() < HEALTHY_SECONDS

    def troubles(self) -> dict[Part, str]:
        """What is out of order, in words; parts that are in order are left out."""
        with self._lock:
            begun, trouble, leader = self._begun, self._trouble, self._leader
        found: dict[Part, str] = {}
        if not begun:
            found[Part.DATABASE] = "not asked yet"
        if not self.alive():
            found[Part.DATABASE] = f"the main loop has stood still for {self.age():.0f} s"
        if trouble:
            found[trouble[0]] = trouble[1]
        inside = self._inside()
        if inside is None:
            if Part.DATABASE not in found and not leader:
                found.setdefault(Part.LEADER, "nobody leads this site yet")
            return found
        if inside.doubts:
            found[Part.LOCKS] = "; ".join(inside.doubts)
        refused = {f"company {c} by {p}": b.reason for (c, p), b in _failing(inside.breakers)}
        if refused:
            found[Part.PROVIDERS] = "; ".join(f"{who}: {why}" for who, why in refused.items())
        return found

    def ready(self) -> tuple[bool, Mapping[str, object]]:
        """Whether mail can flow, and each part with the reason why not.

        A provider that refuses some companies does not stop the others: only if it refuses all
        that were tried, the site is not ready. A process that waits while another leads is ready.
        """
        troubles, inside = self.troubles(), self._inside()
        stopping = set(troubles) - {Part.PROVIDERS}
        if inside and inside.breakers and all(b.failures for b in inside.breakers.values()):
            stopping |= {Part.PROVIDERS} & troubles.keys()
        parts = {
            part.value: {"ok": part not in troubles, "reason": troubles.get(part, "")}
            for part in Part
        }
        leads = inside is not None
        return not stopping, {"ready": not stopping, "leads": leads, "parts": parts}

    def line(self) -> str:
        """The same in one line, for systemd."""
        troubles = self.troubles()
        if troubles:
            return "; ".join(f"{part}: {why}" for part, why in troubles.items())
        return "waiting: another sidecar leads" if self._inside() is None else "leading"

    def now(self) -> Mapping[str, Values]:
        """The numbers of ``metrics.facts.NOW``."""
        troubles, inside = self.troubles(), self._inside()
        found: dict[str, Values] = {
            "manireports_heartbeat_age_seconds": {(): self.age()},
            "manireports_ready": {(part.value,): float(part not in troubles) for part in Part},
            **self._connections(),
            **self._disk(),
        }
        if inside is None:
            return found
        now = time.monotonic()
        found["manireports_paused"] = {(): float(inside.holds.everything)}
        found["manireports_company_held"] = {(str(c),): 1.0 for c in inside.holds.companies}
        breakers = {(str(c), p): b for (c, p), b in inside.breakers.items()}
        found["manireports_breaker_open"] = {k: float(b.is_open(now)) for k, b in breakers.items()}
        found["manireports_breaker_failing_seconds"] = {
            k: b.down_for(now) for k, b in breakers.items()
        }
        return found

    def _connections(self) -> dict[str, Values]:
        used, idle, limit = self._context.database.connections()
        return {
            "manireports_database_connections": {
                ("in_use",): float(used),
                ("idle",): float(idle),
            },
            "manireports_database_connections_limit": {(): float(limit)},
        }

    def _disk(self) -> dict[str, Values]:
        settings = self._context.settings
        free: dict[tuple[str, ...], float] = {}
        size: dict[tuple[str, ...], float] = {}
        for name, folder in (("state", settings.state_dir), ("dataroot", settings.dataroot)):
            try:
                if folder is not None:
                    usage = shutil.disk_usage(folder)
                    free[(name,)], size[(name,)] = float(usage.free), float(usage.total)
            except OSError:
                continue
        return {"manireports_disk_free_bytes": free, "manireports_disk_size_bytes": size}

    def tables(self) -> Mapping[str, Values]:
        """The numbers of ``metrics.facts.FACTS``; raises DatabaseError."""
        database = self._context.database
        with database.read() as conn:
            now = database.now(conn)
            jobs = facts.recent_jobs(conn, database, now)
            recent = facts.mails_by_state(conn, database, jobs)
            waiting, oldest = facts.inbox(conn, database)
            found: dict[str, Values] = {
                "manireports_jobs": facts.jobs_by_status(conn, database, now),
                "manireports_recent_mails": recent,
                "manireports_recent_failures": facts.failures_by_reason(conn, database, jobs),
                "manireports_inbox_deliveries": {(): float(waiting)},
                "manireports_inbox_oldest_age_seconds": {
                    (): float(max(0, now - oldest)) if oldest else 0.0
                },
                "manireports_requests_waiting": {(): float(facts.requests_waiting(conn, database))},
                "manireports_purged_mails": {
                    (state,): float(number)
                    for state, number in retention.purged(database).items()
                    if state != "jobs"
                },
                "manireports_site_led": {(): float(facts.site_led(conn, database))},
            }
            found |= _flights(facts.flights(conn, database), now)
            found |= _limits(facts.limits(conn, database), partial(_used, conn, database))
        return found


def _failing(breakers: Mapping[tuple[int, str], Breaker]) -> list[tuple[tuple[int, str], Breaker]]:
    return [(who, breaker) for who, breaker in sorted(breakers.items()) if breaker.failures]


def _flights(found: list[facts.Flight], now: int) -> dict[str, Values]:
    batches: dict[tuple[str, ...], float] = {}
    mails: dict[tuple[str, ...], float] = {}
    ages: dict[tuple[str, ...], float] = {}
    for flight in found:
        who = (str(flight.company), flight.provider)
        batches[*who, flight.status] = float(flight.batches)
        mails[who] = mails.get(who, 0.0) + flight.mails
        if flight.oldest is not None:
            ages[who] = max(ages.get(who, 0.0), float(now - flight.oldest))
    return {
        "manireports_batches_in_flight": batches,
        "manireports_waiting_mails": mails,
        "manireports_waiting_oldest_age_seconds": ages,
    }


def _used(conn: Connection, database: Database, company_id: int) -> float:
    return float(quota.used(conn, database, company_id).mails)


def _limits(found: list[facts.Limits], used: Callable[[int], float]) -> dict[str, Values]:
    """Quotas and rates; what row 0 says holds where a company says nothing."""
    default = next((row for row in found if row.company == 0), None)
    quotas: dict[tuple[str, ...], float] = {}
    rates: dict[tuple[str, ...], float] = {}
    enabled: dict[tuple[str, ...], float] = {}
    for row in found:
        who = (str(row.company),)
        enabled[who] = float(row.enabled)
        most = row.quota if row.quota is not None else default and default.quota
        rate = row.rate if row.rate is not None else default and default.rate
        if most:
            quotas[who] = float(most)
        if rate:
            rates[who] = float(rate)
    return {
        "manireports_company_enabled": enabled,
        "manireports_daily_quota_mails": quotas,
        "manireports_daily_quota_used_mails": {c: used(int(c[0])) for c in quotas},
        "manireports_send_rate_limit_mails_per_second": rates,
    }
