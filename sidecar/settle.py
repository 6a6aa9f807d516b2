"""Results become the truth in the tables: batches and jobs follow their recipients."""

from collections.abc import Collection

from sidecar.store import results
from sidecar.store.database import Database
from sidecar.store.site import Lease


def refresh(database: Database, lease: Lease, batch_ids: Collection[int]) -> None:
    """Recompute the counters and states of batches and of their jobs."""
    ordered = sorted(batch_ids)
    for start in range(0, len(ordered), 200):
        page = ordered[start : start + 200]
        with database.write(lease.token) as tx:
            results.refresh_batches(tx, database, page)
            results.refresh_jobs(tx, database, results.jobs_of(tx.conn, database, page))
