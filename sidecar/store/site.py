"""The one row of manireports_cloud_sidecar: the site's identity and the leader's lease."""

import json
import math
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, or_, select, update

from sidecar import __version__
from sidecar.errors import DatabaseError, LeaseLostError, SchemaMissingError
from sidecar.store.database import Database, Transaction
from sidecar.store.tables import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class SiteRow:
    """What the row says; times are Unix seconds of the database's clock."""

    id: int
    site_uid: str
    fingerprint: str
    lease_token: str
    lease_expires: int
    instance: str
    version: str
    started_at: int
    last_seen: int
    state: Mapping[str, object]
    now: int

    @property
    def leader_alive(self) -> bool:
        """Whether some sidecar holds the lease now."""
        return bool(self.lease_token) and self.lease_expires >= self.now


def create_schema(database: Database, fingerprint: str) -> str:
    """Make our tables where they are missing, and the site's identity; returns the site_uid."""
    database.tables.metadata.create_all(database.engine)
    sidecar = database.tables.sidecar
    with database.write(None) as tx:
        row = tx.conn.execute(select(sidecar.c.site_uid)).first()
        if row is not None:
            return str(row.site_uid)
        uid = secrets.token_hex(16)
        tx.conn.execute(
            insert(sidecar).values(
                site_uid=uid,
                fingerprint=fingerprint,
                state=json.dumps({"schema": SCHEMA_VERSION}),
            )
        )
        return uid


def read_site(database: Database) -> SiteRow:
    """The row; raises SchemaMissingError when there is none."""
    sidecar = database.tables.sidecar
    query = select(sidecar, database.clock().label("now")).order_by(sidecar.c.id).limit(1)
    try:
        with database.read() as conn:
            row = conn.execute(query).first()
    except DatabaseError:
        database.require_schema()
        raise
    if row is None:
        raise SchemaMissingError
    return SiteRow(
        id=row.id,
        site_uid=row.site_uid,
        fingerprint=row.fingerprint,
        lease_token=row.lease_token,
        lease_expires=row.lease_expires,
        instance=row.instance,
        version=row.version,
        started_at=row.started_at,
        last_seen=row.last_seen,
        state=json.loads(row.state or "{}"),
        now=int(row.now),
    )


def read_state(conn: Connection, database: Database) -> Mapping[str, object]:
    """The row's state, as a transaction sees it."""
    state: dict[str, object] = json.loads(
        conn.execute(select(database.tables.sidecar.c.state)).scalar() or "{}"
    )
    return state


def set_identity(tx: Transaction, database: Database, site_uid: str, fingerprint: str) -> None:
    """Write who this site is (``adopt``)."""
    tx.conn.execute(
        update(database.tables.sidecar).values(site_uid=site_uid, fingerprint=fingerprint)
    )


def update_state(tx: Transaction, database: Database, changes: Mapping[str, object]) -> None:
    """Change keys of the row's state (None removes one): what pages show, what admins confirm."""
    sidecar = database.tables.sidecar
    text = tx.conn.execute(select(sidecar.c.state).with_for_update()).scalar()
    state = json.loads(text or "{}") | changes
    kept = {key: value for key, value in state.items() if value is not None}
    tx.conn.execute(update(sidecar).values(state=json.dumps(kept)))


class Lease:
    """Leadership of one site for one process (DESIGN §3).

    The deadline is kept on this process's monotonic clock and counted from before the database
    was asked, so that it always ends before the lease in the database does.
    """

    def __init__(self, database: Database, seconds: float, instance: str) -> None:
        self.token = secrets.token_hex(16)
        self.seconds = seconds
        self._database = database
        self._instance = instance[:255]
        self._deadline = 0.0
        self._lock = threading.Lock()

    def held(self) -> bool:
        """Whether this process may write and send now."""
        return time.monotonic() < self._deadline

    def guard(self) -> None:
        """Raise LeaseLostError unless held; asked before DATA and before the final dot."""
        if not self.held():
            raise LeaseLostError

    def acquire(self) -> bool:
        """Take the lease if it is free or expired, or renew it; False if another leads."""
        table = self._database.tables.sidecar
        with self._lock:
            before = time.monotonic()
            with self._database.write(None) as tx:
                expires = tx.now + math.ceil(self.seconds)
                values: dict[str, object] = {"lease_expires": expires, "last_seen": tx.now}
                if not self.held():
                    values |= {
                        "lease_token": self.token,
                        "instance": self._instance,
                        "version": __version__,
                        "started_at": tx.now,
                    }
                taken = tx.conn.execute(
                    update(table)
                    .where(or_(table.c.lease_token == self.token, table.c.lease_expires < tx.now))
                    .values(values)
                )
            self._deadline = before + self.seconds if taken.rowcount else 0.0
            return bool(taken.rowcount)

    def release(self) -> None:
        """Give the lease up at once, so that another can lead without waiting."""
        table = self._database.tables.sidecar
        with self._lock:
            if not self.held():
                return
            self._deadline = 0.0
            with self._database.write(None) as tx:
                tx.conn.execute(
                    update(table)
                    .where(table.c.lease_token == self.token)
                    .values(lease_token="", lease_expires=0)
                )
