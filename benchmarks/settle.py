"""Results a second: from signed reports in the inbox to settled recipients.

The daemon claims and offers the mails as ever; its own process is stopped while every report is put
into the inbox, so that what is measured is settling alone: signature, parsing, state, commit.
"""

import argparse
import json
import time
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import text

from benchmarks.aws_site import accepted, aws_site
from benchmarks.site import BenchSite, commit_seconds, durable_server
from sidecar.config import load
from sidecar.context import Context
from sidecar.message import (
    RESULT,
    BatchResult,
    BatchStatus,
    MailResult,
    MailStatus,
    delivery_id,
    encode_result,
    sign,
)
from sidecar.store import inbox
from sidecar.store.inbox import Delivery
from sidecar.store.site import read_site
from tests.support.mariadb import MariaDBServer
from tests.support.processes import Sidecar


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``settle`` to the benchmarks."""
    parser = commands.add_parser("settle", help=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=50_000, help="results")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    with durable_server() as server:
        commit = commit_seconds(server)
        rate = settle(server, options.rows).rate
    measured = {
        "results": options.rows,
        "mariadb_commit_ms": round(commit * 1000, 3),
        "results_per_second": round(rate, 1),
    }
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        for name, value in measured.items():
            print(f"{name}: {value}")


class Settled(NamedTuple):
    """seconds: from a leader with a full inbox to the last mail that is counted. rate: results a
    second, from the first that is settled on."""

    seconds: float
    rate: float


def settle(server: MariaDBServer, rows: int) -> Settled:
    """Have so many results settled."""
    with aws_site(server) as made:
        made.site.queue("user_create", 1, made.site.add_users(1, rows), due=0)
        with Sidecar(made.config) as daemon:
            made.wait(lambda: accepted(made), rows)
            daemon.stop()
        fill_inbox(made)
        with Sidecar(made.config) as daemon:
            daemon.wait_for_line("leading this site")
            start = made.wait(lambda: settled_mails(made), 1)
            before = settled_mails(made)
            spent = made.wait(made.counted, rows)
            daemon.stop()
    return Settled(start + spent, (rows - before) / spent)


def settled_mails(made: BenchSite) -> int:
    """Mails whose reports are settled; their batches may not be counted yet."""
    query = (
        "SELECT COALESCE(SUM(b.email_count), 0) FROM mdl_manireports_cloud_callbacks c"
        " JOIN mdl_manireports_cloud_import_batches b"
        " ON b.batch_key = JSON_VALUE(c.payload, '$.batch_key')"
        " WHERE c.processed_at IS NOT NULL"
    )
    return int(made.one(query))


def fill_inbox(made: BenchSite) -> None:
    """A signed report for every batch: all of its mails are sent."""
    context = Context(load(made.config, {}))
    company = context.companies().get(1)
    secret, now = context.vault.reveal(company.callback_secret), int(time.time())
    uid = read_site(context.database).site_uid
    query = text(
        "SELECT b.id, b.job_id, b.batch_key, b.attempt, r.id AS mail, r.mail_key"
        " FROM mdl_manireports_cloud_recipients r"
        " JOIN mdl_manireports_cloud_import_batches b ON b.id = r.batch_id ORDER BY b.id, r.id"
    )
    deliveries = []
    with made.engine.connect() as conn:
        for _, group in groupby(conn.execute(query), key=lambda row: row.id):
            mails = list(group)
            first = mails[0]
            result = BatchResult(
                site_uid=uid,
                delivery_id=delivery_id(uid, first.batch_key, first.attempt, 1, 0),
                batch_key=first.batch_key,
                job_id=first.job_id,
                batch_id=first.id,
                attempt=first.attempt,
                try_=1,
                final=True,
                status=BatchStatus.SENT,
                emails_sent=len(mails),
                emails_failed=0,
                errors=(),
                recipients=tuple(
                    MailResult(row.mail_key, row.mail, MailStatus.SENT, f"m-{row.mail}")
                    for row in mails
                ),
            )
            payload = encode_result(result)
            deliveries.append(
                Delivery(
                    delivery_id=result.delivery_id,
                    callback_key=company.callback_key,
                    signed_at=now,
                    payload=payload,
                    signature=sign(RESULT, now, payload, secret),
                )
            )
    assert context.lease.acquire()
    with context.database.write(context.lease.token) as tx:
        inbox.store(tx, context.database, deliveries)
    context.lease.release()
    context.close()
