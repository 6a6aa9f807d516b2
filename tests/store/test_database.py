"""What the server itself must do for us when a process stops in the middle of something."""

import pytest
from sqlalchemy import select

from sidecar.errors import DatabaseError
from sidecar.store import database as store
from sidecar.store.database import Database
from sidecar.store.site import Lease, create_schema
from tests.support.wait import wait_for


def test_a_frozen_transaction_gives_the_lease_row_back(
    iomad_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "IDLE_SECONDS", 1)
    frozen, other = Database(iomad_db, "mdl_"), Database(iomad_db, "mdl_")
    create_schema(frozen, "test")

    def freeze_in_a_transaction() -> None:
        with frozen.write(None) as tx:
            tx.conn.execute(select(frozen.tables.sidecar).with_for_update())
            wait_for(Lease(other, 30, "the next leader").acquire, 8, "the lease row is free")

    with pytest.raises(DatabaseError):
        freeze_in_a_transaction()
    frozen.close()
    other.close()
