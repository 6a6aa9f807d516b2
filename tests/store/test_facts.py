"""What the metrics ask of the tables is right, and costs what is open or a day old, no more."""

from sqlalchemy import create_engine, text

from sidecar.lifecycle import Recipient
from sidecar.message import MailStatus
from sidecar.store import facts
from sidecar.store.database import Database
from sidecar.store.site import create_schema
from tests.support.books import Books


def test_flights_jobs_states_and_reasons(books: Books) -> None:
    done, running = books.capture(3), books.capture(2, company=7)
    for job in (done, running):
        books.ask(job.batch)
    ok, bad, worse = done.mails
    books.tell(
        done.batch,
        books.says(ok, MailStatus.SENT),
        books.says(bad, MailStatus.PERMANENTLY_FAILED, code="550 5.1.1"),
        books.says(worse, MailStatus.PERMANENTLY_FAILED, code="u@x.test is unknown"),
    )
    database = books.database
    with database.read() as conn:
        now = database.now(conn)
        (flight,) = facts.flights(conn, database)
        recent = facts.recent_jobs(conn, database, now)
        states = facts.mails_by_state(conn, database, recent)
        reasons = facts.failures_by_reason(conn, database, recent)
        jobs = facts.jobs_by_status(conn, database, now)
        assert facts.inbox(conn, database) == (0, None)
        assert facts.requests_waiting(conn, database) == 0
        assert facts.site_led(conn, database)
    assert (flight.company, flight.provider, flight.batches, flight.mails) == (7, "aws", 1, 2)
    assert flight.oldest is not None
    assert abs(flight.oldest - now) < 60
    assert set(recent) == {done.job, running.job}
    assert states["1", "aws", Recipient.SENT.value] == 1
    assert states["1", "aws", Recipient.PERMANENTLY_FAILED.value] == 2
    assert states["7", "aws", Recipient.PROCESSING.value] == 2
    assert reasons == {("1", "550"): 1, ("1", "other"): 1}
    assert sum(jobs.values()) == 2
    assert {status for _, _, status in jobs} == {"completed", "pending"}


def test_paused_jobs_do_not_age(books: Books) -> None:
    job = books.capture(1)
    books.set(books.tables.jobs, job.job, paused=1)
    with books.database.read() as conn:
        (flight,) = facts.flights(conn, books.database)
    assert flight.oldest is None


def test_nothing_is_not_an_error(books: Books) -> None:
    with books.database.read() as conn:
        assert facts.flights(conn, books.database) == []
        assert facts.mails_by_state(conn, books.database, []) == {}
        assert facts.failures_by_reason(conn, books.database, []) == {}


def test_a_long_history_is_not_read(iomad_db: str) -> None:
    """50,000 batches and mails of jobs that ended long ago; three jobs are recent."""
    database = Database(iomad_db, "mdl_")
    create_schema(database, "x")
    engine = create_engine(iomad_db)
    with engine.begin() as conn:
        for statement in (
            (
                "INSERT INTO mdl_manireports_cloud_jobs (id, company_id, status, closed_at)"
                " SELECT seq, seq % 50, 'completed', 1 FROM seq_1_to_5000"
            ),
            (
                "INSERT INTO mdl_manireports_cloud_jobs (id, company_id, status, closed_at)"
                " SELECT 5000 + seq, 1, IF(seq = 1, 'processing', 'completed'), UNIX_TIMESTAMP()"
                " FROM seq_1_to_3"
            ),
            (
                "INSERT INTO mdl_manireports_cloud_import_batches (job_id, status)"
                " SELECT 1 + seq % 5000, 'sent' FROM seq_1_to_50000"
            ),
            (
                "INSERT INTO mdl_manireports_cloud_recipients (job_id, status, email_hash,"
                " error_code)"
                " SELECT 1 + seq % 5003, IF(seq % 9 = 0, 'failed', 'sent'), seq, '550'"
                " FROM seq_1_to_50000"
            ),
        ):
            conn.execute(text(statement))
        conn.execute(
            text(
                "ANALYZE TABLE mdl_manireports_cloud_jobs, mdl_manireports_cloud_import_batches,"
                " mdl_manireports_cloud_recipients"
            )
        )
    with database.engine.connect() as conn:

        def rows_read() -> int:
            found = conn.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'"))
            return sum(int(row[1]) for row in found)

        before = rows_read()
        recent = facts.recent_jobs(conn, database, database.now(conn))
        states = facts.mails_by_state(conn, database, recent)
        facts.failures_by_reason(conn, database, recent)
        facts.flights(conn, database)
        facts.jobs_by_status(conn, database, database.now(conn))
        facts.inbox(conn, database)
        facts.requests_waiting(conn, database)
        assert rows_read() - before < 500
    assert sorted(recent) == [5001, 5002, 5003]
    assert sum(states.values()) == 27
    engine.dispose()
    database.close()
