"""Queries of the observers' notes, ``manireports_cloud_operations``."""

from sqlalchemy import Connection, select

from sidecar.grouping import Group
from sidecar.operations import LATELY, Operation, Operations
from sidecar.store.database import Database

NEWEST = 500
"""Notes that are looked at: a site that makes users one by one leaves one for each."""


def read_operations(conn: Connection, database: Database, patience: float) -> Operations:
    """The notes of late.

    patience: seconds after which an operation without an end is over. What an operation that is
    over has queued is seen by whoever looks after this.
    """
    t = database.tables.operations
    now = database.now(conn)
    newest = select(t).order_by(t.c.id.desc()).limit(NEWEST).subquery()
    query = select(newest).where(newest.c.last_at >= now - int(max(LATELY, patience)))
    return Operations(
        (
            Operation(
                id=row.id,
                group=Group(row.type, row.company_id),
                userid=row.userid,
                count=row._mapping["count"],
                first_at=row.first_at,
                last_at=row.last_at,
                finished=bool(row.finished),
            )
            for row in conn.execute(query)
        ),
        now,
        patience,
    )
