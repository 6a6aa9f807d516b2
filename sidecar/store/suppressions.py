"""Addresses that get no bulk mail: every query on ``manireports_cloud_suppressions``.

Addresses are stored as they go to the wire, in lower case. Company 0 means the whole site. Of a
person who was deleted only a hash is kept: ``sha256:`` and the hex SHA-256 of the address.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from sidecar.store.database import Database, Transaction
from sidecar.store.tables import Tables

ALL, CAMPAIGNS = "all", "campaigns"
SCOPES = (ALL, CAMPAIGNS)
"""``all`` (a page may leave it empty): every bulk mail; ``campaigns``: those of campaigns only."""

REASONS = ("manual", "unsubscribe", "bounce", "complaint")

HASHED = "sha256:"
"""How an entry begins of which only the hash is kept; the plugin writes these."""

SUPPRESSED = "suppressed"
"""The ``error_code`` of a mail that is not sent because of it."""

_WORDS = {
    "manual": "suppressed by the admin",
    "unsubscribe": "unsubscribed",
    "bounce": "suppressed after a bounce",
    "complaint": "suppressed after a complaint",
}


@dataclass(frozen=True, slots=True)
class Suppression:
    """One entry. created_at: Unix seconds."""

    id: int
    email: str
    company_id: int
    scope: str
    reason: str
    created_at: int

    @property
    def words(self) -> str:
        """Why a mail is not sent, for the admin."""
        day = datetime.fromtimestamp(self.created_at, UTC).date().isoformat()
        where = f"company {self.company_id}" if self.company_id else "the whole site"
        what = "campaigns of " if self.scope == CAMPAIGNS else ""
        return f"{_WORDS.get(self.reason, self.reason)} since {day} ({what}{where})"


def find(
    conn: Connection,
    database: Database,
    company_id: int,
    addresses: Collection[str],
    *,
    campaign: bool,
) -> dict[str, Suppression]:
    """Which of the addresses get no mail of this company; keys are in lower case.

    campaign: the mail belongs to a campaign, so that entries for campaigns only count too.
    """
    s = database.tables.suppressions
    if not addresses or conn.execute(select(s.c.id).limit(1)).first() is None:
        return {}
    wanted = _forms(addresses)
    scopes = ["", *(SCOPES if campaign else (ALL,))]
    query = _entries(database.tables).where(
        s.c.email.in_(sorted(wanted)),
        s.c.company_id.in_((0, company_id)),
        s.c.scope.in_(scopes),
    )
    found = (Suppression(*row) for row in conn.execute(query.order_by(s.c.id.desc())))
    return {wanted[entry.email.lower()]: entry for entry in found if entry.email.lower() in wanted}


def add(
    tx: Transaction,
    database: Database,
    address: str,
    *,
    company_id: int,
    scope: str,
    reason: str,
    job_id: int | None = None,
) -> bool:
    """Suppress an address; False if just that was there already."""
    s = database.tables.suppressions
    same = _is(database.tables, address, company_id, scope)
    if tx.conn.execute(select(s.c.id).where(same).limit(1)).first():
        return False
    tx.conn.execute(
        insert(s).values(
            email=address.lower(),
            company_id=company_id,
            scope=scope,
            reason=reason,
            job_id=job_id,
            created_at=tx.now,
        )
    )
    return True


def remove(
    tx: Transaction, database: Database, address: str, company_id: int, scope: str | None
) -> int:
    """Take entries of an address back; scope None: whatever their scope. Returns how many."""
    statement = delete(database.tables.suppressions)
    return tx.conn.execute(
        statement.where(_is(database.tables, address, company_id, scope))
    ).rowcount


def of_addresses(
    conn: Connection, database: Database, addresses: Collection[str]
) -> list[Suppression]:
    """Entries of these addresses, of whatever company and scope."""
    forms = sorted(_forms(addresses))
    query = _entries(database.tables).where(database.tables.suppressions.c.email.in_(forms))
    return [Suppression(*row) for row in conn.execute(query)]


def list_all(
    conn: Connection, database: Database, company_id: int | None, after: int = 0, limit: int = 1000
) -> list[Suppression]:
    """Entries by id; of one company if it is given."""
    s = database.tables.suppressions
    query = _entries(database.tables).where(s.c.id > after).order_by(s.c.id).limit(limit)
    if company_id is not None:
        query = query.where(s.c.company_id == company_id)
    return [Suppression(*row) for row in conn.execute(query)]


def _forms(addresses: Collection[str]) -> dict[str, str]:
    """What an entry of each address may say → the address in lower case."""
    lower = {address.lower() for address in addresses}
    hashed = {HASHED + hashlib.sha256(text.encode()).hexdigest(): text for text in lower}
    return hashed | {text: text for text in lower}


def _entries(tables: Tables):  # type: ignore[no-untyped-def]
    s = tables.suppressions
    return select(s.c.id, s.c.email, s.c.company_id, s.c.scope, s.c.reason, s.c.created_at)


def _is(tables: Tables, address: str, company_id: int, scope: str | None) -> ColumnElement[bool]:
    s = tables.suppressions
    same = s.c.email.in_(sorted(_forms([address]))) & (s.c.company_id == company_id)
    if scope is None:
        return same
    return same & s.c.scope.in_(("", ALL) if scope == ALL else (scope,))
