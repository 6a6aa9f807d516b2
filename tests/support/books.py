"""The sidecar's tables with jobs in any state, made as the sidecar makes them, without Moodle."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import RowMapping, Table, delete, inspect, select, update

from sidecar import jobs, settle
from sidecar.grouping import Group
from sidecar.jobs import ClaimedRow
from sidecar.lifecycle import Recipient
from sidecar.mail import capture_hash, mail_key
from sidecar.message import BatchResult, BatchStatus, MailResult, MailStatus, delivery_id
from sidecar.store import asks, reports, results
from sidecar.store.capture import CapturedRow, NewRecipient
from sidecar.store.database import Database, Transaction
from sidecar.store.queue import DueBatch
from sidecar.store.site import Lease, create_schema

SOURCE = "iomad_mail"
TIMEOUT = 600
"""Seconds until a batch that was handed over counts as silent."""

_rows = itertools.count(1)


@dataclass(frozen=True)
class Captured:
    """A job of one batch. mails: recipient ids, in order."""

    job: int
    batch: int
    mails: list[int]


class Books:
    """Empty tables and the lease on them; closed at the end of the ``with`` block."""

    def __init__(self, url: str) -> None:
        self.database = Database(url, "mdl_")
        with self.database.engine.begin() as conn:
            for table in inspect(conn).get_table_names():
                if "manireports_cloud_" in table:
                    conn.execute(delete(self.database.tables.metadata.tables[table]))
        self.site_uid = create_schema(self.database, "test")
        self.lease = Lease(self.database, 60, "test")
        self.tables = self.database.tables

    def __enter__(self) -> Self:
        assert self.lease.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction of the leader."""
        with self.database.write(self.lease.token) as tx:
            yield tx

    def capture(
        self, number: int = 3, *, company: int = 1, provider: str = "aws", copies: int = 0
    ) -> Captured:
        """A closed job of one batch; each of its rows has one mail and so many copies."""
        with self.write() as tx:
            job_id = jobs.capture_rows(
                tx,
                self.database,
                source=SOURCE,
                group=Group("user_create", company),
                job=None,
                company_name=f"Company {company}",
                provider=provider,
                batch_size=1000,
                stamp=tx.now,
                rows=[ClaimedRow(self._row(copies), 1000) for _ in range(number)],
            )
            jobs.close_jobs(tx, self.database, [job_id])
        (batch_id,) = self.batches(job_id)
        return Captured(job_id, batch_id, self.mails(batch_id))

    def _row(self, copies: int) -> CapturedRow:
        row = next(_rows)
        recipients = []
        for copy in range(1 + copies):
            role, address = "manager" if copy else "user", f"u{row}-{copy}@x.test"
            captured = capture_hash(SOURCE, row, 0, role, address)
            key = mail_key(self.site_uid, captured)
            recipients.append(NewRecipient(role, address, row, captured, key, f"{key[:40]}@x.test"))
        return CapturedRow(row, 0, tuple(recipients))

    def ask(self, batch_id: int, states: Collection[Recipient] | None = None) -> frozenset[int]:
        """A provider takes what of a batch may be asked for; the ids of those mails."""
        wanted = states or (Recipient.PENDING, Recipient.RETRY_PENDING)
        batch = self.due(batch_id)
        with self.write() as tx:
            due = tx.now + TIMEOUT
            assert asks.take_batch(tx, self.database, batch, f"{batch_id:032x}", "aws", due)
        mails = [i for i in self.mails(batch_id) if self.mail(i).status in wanted]
        with self.write() as tx:
            leaving, new = asks.lock_mails(tx, self.database, batch_id, mails)
            asks.mark_asked(tx, self.database, new)
        with self.write() as tx:
            asks.accept(tx, self.database, batch_id, "message-id", tx.now + TIMEOUT)
        return leaving

    def tell(self, batch_id: int, *told: MailResult) -> settle.Applied:
        """Apply a report on a batch, and bring its job up to date."""
        with self.write() as tx:
            (batch,) = reports.find_batches(tx, self.database, [f"{batch_id:032x}"]).values()
            report = batch, self.result(batch_id, *told)
            (applied,) = settle.apply_results(tx, self.database, [report])
        self.refresh(batch_id)
        return applied

    def result(
        self, batch_id: int, *told: MailResult, attempt: int = 1, try_: int = 1
    ) -> BatchResult:
        """A report on a batch, as a worker makes it."""
        key, row = f"{batch_id:032x}", self.batch(batch_id)
        return BatchResult(
            site_uid=self.site_uid,
            delivery_id=delivery_id(self.site_uid, key, attempt, try_, 0),
            batch_key=key,
            job_id=row.job_id,
            batch_id=batch_id,
            attempt=attempt,
            try_=try_,
            final=True,
            status=BatchStatus.PARTIAL_FAILURE,
            emails_sent=0,
            emails_failed=0,
            errors=(),
            recipients=told,
        )

    def says(
        self,
        mail_id: int,
        status: MailStatus,
        *,
        retryable: bool = False,
        not_before: int = 0,
        code: str = "",
    ) -> MailResult:
        """What a worker says of a mail."""
        key = self.mail(mail_id).mail_key
        if status is MailStatus.SENT:
            return MailResult(key, mail_id, status, message_id=f"ses-{mail_id}")
        error = f"{status}: {code}"
        return MailResult(key, mail_id, status, "", code, error, retryable, not_before)

    def refresh(self, *batch_ids: int) -> None:
        """Recompute batches, their jobs, and what they repeat."""
        settle.refresh(self.database, self.lease, batch_ids)

    def retry(self, job_id: int, *states: Recipient) -> Captured:
        """Repeat the failed mails of a job; they all fit one batch."""
        with self.write() as tx:
            wanted = states or (Recipient.FAILED,)
            child, _ = jobs.retry(tx, self.database, job_id, wanted, "aws", 1000)
        (batch_id,) = self.batches(child)
        return Captured(child, batch_id, self.mails(batch_id))

    # What is true

    def now(self) -> int:
        """The database's clock."""
        with self.database.read() as conn:
            return self.database.now(conn)

    def due(self, batch_id: int) -> DueBatch:
        """A batch as dispatch sees it, due or not."""
        batch, job = self.batch(batch_id), self.job(self.batch(batch_id).job_id)
        known = {name: batch[name] for name in DueBatch.__dataclass_fields__ if name in batch}
        return DueBatch(**known, job_type=job.type, company_id=job.company_id, source=job.source)

    def batches(self, job_id: int) -> list[int]:
        """Ids of a job's batches."""
        b = self.tables.batches
        with self.database.read() as conn:
            return list(conn.scalars(select(b.c.id).filter_by(job_id=job_id).order_by(b.c.id)))

    def mails(self, batch_id: int) -> list[int]:
        """Ids of a batch's mails."""
        r = self.tables.recipients
        with self.database.read() as conn:
            return list(conn.scalars(select(r.c.id).filter_by(batch_id=batch_id).order_by(r.c.id)))

    def mail(self, mail_id: int) -> "Row":
        """A recipient row."""
        return self.row(self.tables.recipients, mail_id)

    def batch(self, batch_id: int) -> "Row":
        """A batch row."""
        return self.row(self.tables.batches, batch_id)

    def job(self, job_id: int) -> "Row":
        """A job row."""
        return self.row(self.tables.jobs, job_id)

    def states(self, mail_ids: Sequence[int]) -> list[str]:
        """The states of mails."""
        return [self.mail(mail_id).status for mail_id in mail_ids]

    def set(self, table: Table, row_id: int, **values: object) -> None:
        """Write into a row what no code of ours would, or not so soon."""
        with self.write() as tx:
            tx.conn.execute(update(table).where(table.c.id == row_id).values(values))

    def ledger_difference(self) -> int:
        """Captured mails that no state accounts for."""
        with self.database.read() as conn:
            return results.ledger_difference(conn, self.database)

    def row(self, table: Table, row_id: int) -> "Row":
        """A row by its id."""
        with self.database.read() as conn:
            return Row(conn.execute(select(table).where(table.c.id == row_id)).mappings().one())


class Row(Mapping[str, Any]):
    """A row whose columns are attributes."""

    def __init__(self, row: RowMapping) -> None:
        self._row = row

    def __getattr__(self, name: str) -> Any:
        return self._row[name]

    def __getitem__(self, name: str) -> Any:
        return self._row[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)
