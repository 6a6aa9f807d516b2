"""Our tables become the plugin's: every row, its id and the site's identity."""

import pytest
from sqlalchemy import func, insert, inspect, select, text, update

from sidecar.errors import StoreError
from sidecar.store import hand_over
from sidecar.store.database import Database
from sidecar.store.site import Lease, create_schema, read_site


@pytest.fixture
def database(iomad_db: str) -> Database:
    """Our tables with some jobs in them, ids with gaps."""
    made = Database(iomad_db, "mdl_")
    create_schema(made, "fingerprint")
    with made.write(None) as tx:
        for job_id in (3, 7, 50):
            tx.conn.execute(insert(made.tables.jobs).values(id=job_id, type="csv_import"))
        tx.conn.execute(insert(made.tables.companies).values(company_id=1, enabled=1))
    return made


def install_plugin(database: Database) -> None:
    """What Moodle's installer does: the same tables, one of them with a column of its own."""
    create_schema(database, "made by the plugin")
    with database.engine.begin() as conn:
        conn.execute(
            text(
                "ALTER TABLE mdl_manireports_cloud_jobs ADD COLUMN theirs BIGINT NOT NULL DEFAULT 5"
            )
        )
        conn.execute(
            insert(database.tables.templates).values(name="newuser", lang="en", subject="Hello")
        )


def lead(database: Database) -> bool:
    """Whether a sidecar that is started now leads at once."""
    return Lease(database, 30, "").acquire()


def job_ids(database: Database) -> list[int]:
    jobs = database.tables.jobs
    with database.read() as conn:
        return list(conn.scalars(select(jobs.c.id).order_by(jobs.c.id)))


def test_every_row_is_handed_over(database: Database) -> None:
    uid = read_site(database).site_uid
    assert lead(database)
    assert len(hand_over.begin(database)) == 12
    assert not database.has_schema()
    install_plugin(database)
    copied = hand_over.finish(database)
    assert copied["mdl_manireports_cloud_jobs"] == 3
    assert job_ids(database) == [3, 7, 50]
    assert read_site(database).site_uid == uid
    with database.write(None) as tx:
        assert tx.conn.scalar(text("SELECT MIN(theirs) FROM mdl_manireports_cloud_jobs")) == 5
        tx.conn.execute(insert(database.tables.jobs).values(type="csv_import"))
        assert tx.conn.scalar(select(func.count()).select_from(database.tables.templates)) == 1
    assert max(job_ids(database)) > 50
    left = [name for name in inspect(database.engine).get_table_names() if "_kept" in name]
    assert left == []
    assert lead(database)


def test_it_can_be_undone_and_repeated(database: Database) -> None:
    assert lead(database)
    hand_over.begin(database)
    assert hand_over.begin(database) == []  # nothing is left to rename
    with pytest.raises(StoreError, match="install the plugin first"):
        hand_over.finish(database)
    hand_over.undo(database)
    assert lead(database)
    assert job_ids(database) == [3, 7, 50]
    hand_over.begin(database)
    install_plugin(database)
    with pytest.raises(StoreError, match="finish, or uninstall"):
        hand_over.undo(database)
    with pytest.raises(StoreError, match="both"):
        hand_over.begin(database)
    hand_over.finish(database)
    assert hand_over.finish(database) == {}


def test_rows_of_the_plugins_own_are_never_overwritten(database: Database) -> None:
    hand_over.begin(database)
    install_plugin(database)
    with database.write(None) as tx:
        tx.conn.execute(insert(database.tables.jobs).values(id=1, type="theirs"))
    with pytest.raises(StoreError, match="jobs is in use: 1 rows"):
        hand_over.finish(database)
    assert job_ids(database) == [1]
    with database.write(None) as tx:
        tx.conn.execute(update(database.tables.jobs).values(type="x"))
        tx.conn.execute(database.tables.jobs.delete())
    assert hand_over.finish(database)["mdl_manireports_cloud_jobs"] == 3
