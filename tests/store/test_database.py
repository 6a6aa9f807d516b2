"""What the server itself must do for us when a process stops in the middle of something."""

import sys
import time

import pytest
from sqlalchemy import insert, select

from sidecar.errors import DatabaseError
from sidecar.store import engines
from sidecar.store.database import Database
from sidecar.store.site import Lease, create_schema
from tests.conftest import on_every_database
from tests.support.wait import wait_for


@on_every_database
def test_a_frozen_transaction_gives_the_lease_row_back(
    iomad_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "IDLE_SECONDS", 1)
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


@on_every_database
def test_errors_are_one_line_without_values(iomad_db: str) -> None:
    database = Database(iomad_db, "mdl_")
    create_schema(database, "test")
    recipients = database.tables.recipients

    def store(**values: object) -> None:
        with database.write(None) as tx:
            tx.conn.execute(insert(recipients).values(values))

    with pytest.raises(DatabaseError) as caught:
        store(email="anna@x.test", secret="hunter2", status=None)
    said = str(caught.value)
    assert "status" in said
    assert "\n" not in said
    assert not any(value in said for value in ("anna", "hunter2"))
    database.close()


@on_every_database
def test_the_clock_is_the_servers_in_whole_seconds(iomad_db: str) -> None:
    database = Database(iomad_db, "mdl_")
    with database.read() as conn:
        before, now, after = int(time.time()), database.now(conn), int(time.time())
    assert before <= now <= after
    database.close()


def test_a_missing_driver_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseError, match=r"install manireports-sidecar\[postgres\]"):
        Database("postgresql://u:hunter2@h/db", "mdl_")
