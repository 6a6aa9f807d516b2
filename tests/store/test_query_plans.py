"""The queries of every cycle read what is new, not the history: their plans on MariaDB."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Select, create_engine, text

from sidecar.moodle import mail_queue, new_users
from sidecar.moodle.tables import moodle_tables
from sidecar.store import queue
from sidecar.store.database import Database
from sidecar.store.finding import mails_to
from sidecar.store.site import create_schema

HISTORY = 1_000_000


@pytest.fixture
def history(iomad_db: str) -> Iterator[Connection]:
    """A queue with a million old rows, all sent."""
    engine = create_engine(iomad_db)
    with engine.connect() as conn:
        conn.execute(
            text(
                "INSERT INTO mdl_email (id, templatename, modifiedtime, sent, subject, body,"
                " userid)"
                f" SELECT seq, 'user_create', 1, 1, '', '', 2 FROM seq_1_to_{HISTORY}"
            )
        )
        conn.commit()
        conn.execute(text("ANALYZE TABLE mdl_email"))
        conn.commit()
        yield conn
    engine.dispose()


def explain(conn: Connection, query: str) -> list[dict[str, object]]:
    return [dict(row) for row in conn.execute(text("EXPLAIN " + query)).mappings()]


def sql(conn: Connection, query: Select[tuple[int]]) -> str:
    return str(query.compile(conn, compile_kwargs={"literal_binds": True}))


def rows_read(conn: Connection) -> int:
    found = conn.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'"))
    return sum(int(row[1]) for row in found)


def test_peeking_reads_only_what_lies_above_the_mark(history: Connection) -> None:
    tables = moodle_tables("mdl_")
    history.execute(
        text(
            "INSERT INTO mdl_email (templatename, modifiedtime, subject, body, userid)"
            " SELECT 'user_create', 1, '', '', 2 FROM seq_1_to_20"
        )
    )
    query = mail_queue.entries_above_query(tables, HISTORY, 5000)
    (plan,) = explain(history, sql(history, query))
    assert (plan["type"], plan["key"]) == ("range", "PRIMARY")
    before = rows_read(history)
    assert len(mail_queue.entries_above(history, tables, HISTORY, 5000)) == 20
    assert rows_read(history) - before <= 30


def test_a_slice_of_the_walk_reads_just_its_slice(history: Connection) -> None:
    tables = moodle_tables("mdl_")
    before = rows_read(history)
    entries, position = mail_queue.waiting_below(history, tables, HISTORY, 1000)
    assert (entries, position) == ([], HISTORY - 1000)
    assert rows_read(history) - before <= 1_010
    before = rows_read(history)
    entries, position = mail_queue.waiting_above(history, tables, 0, 1000)
    assert (entries, position) == ([], 1000)
    assert rows_read(history) - before <= 1_010


def test_looking_for_new_users_reads_only_them(iomad_db: str) -> None:
    tables = moodle_tables("mdl_")
    engine = create_engine(iomad_db)
    with engine.connect() as conn:
        conn.execute(
            text(
                "INSERT INTO mdl_user_preferences (userid, name, value) SELECT 3 + seq DIV 10,"
                " IF(seq % 5000 = 0, 'create_password', CONCAT('p', seq % 10)), '1'"
                " FROM seq_1_to_50000"
            )
        )
        conn.execute(
            text(
                "INSERT INTO mdl_user (id, username, email, auth)"
                " SELECT 3 + seq, CONCAT('u', seq), 'a@b.test', 'manual' FROM seq_1_to_5000"
            )
        )
        conn.commit()
        conn.execute(text("ANALYZE TABLE mdl_user_preferences, mdl_user"))
        conn.commit()
        before = rows_read(conn)
        assert len(new_users.waiting(conn, tables, 100)) == 10
        assert rows_read(conn) - before < 100
    engine.dispose()


def test_due_batches_come_from_their_index(iomad_db: str) -> None:
    database = Database(iomad_db, "mdl_")
    create_schema(database, "x")
    with database.engine.connect() as conn:
        conn.execute(
            text(
                "INSERT INTO mdl_manireports_cloud_jobs (id, company_id) SELECT seq, seq % 50"
                " FROM seq_1_to_500"
            )
        )
        conn.execute(
            text(
                "INSERT INTO mdl_manireports_cloud_import_batches (job_id, status,"
                " next_attempt_at) SELECT 1 + seq % 500, IF(seq % 1000 = 0, 'pending', 'sent'), 1"
                " FROM seq_1_to_50000"
            )
        )
        conn.commit()
        conn.execute(text("ANALYZE TABLE mdl_manireports_cloud_import_batches"))
        conn.commit()
        before = rows_read(conn)
        due = queue.due_batches(conn, database, exclude=[], exclude_ways=[], limit=40)
        assert len(due) == 40
        assert rows_read(conn) - before < 1_000
    database.close()


def test_a_persons_mails_come_from_their_indexes(iomad_db: str) -> None:
    database = Database(iomad_db, "mdl_")
    create_schema(database, "x")
    with database.engine.connect() as conn:
        conn.execute(text("INSERT INTO mdl_manireports_cloud_jobs (id) VALUES (1)"))
        conn.execute(
            text("INSERT INTO mdl_manireports_cloud_import_batches (id, job_id) VALUES (1, 1)")
        )
        conn.execute(
            text(
                "INSERT INTO mdl_manireports_cloud_recipients (job_id, batch_id, email, userid,"
                " email_hash) SELECT 1, 1, CONCAT('u', seq % 10000, '@x.test'), seq % 10000, seq"
                " FROM seq_1_to_50000"
            )
        )
        conn.commit()
        conn.execute(text("ANALYZE TABLE mdl_manireports_cloud_recipients"))
        conn.commit()
        before = rows_read(conn)
        assert len(mails_to(conn, database, [77], ["u78@x.test"])) == 10
        assert rows_read(conn) - before < 200
    database.close()
