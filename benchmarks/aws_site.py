"""A site whose company 1 offers its mail to the minimal SQS endpoint."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.site import BenchSite, bench_site
from tests.support.mariadb import MariaDBServer


@contextmanager
def aws_site(server: MariaDBServer) -> Iterator[BenchSite]:
    """``bench_site`` with company 1 enabled for AWS, whose endpoint is a process of its own."""
    with (
        endpoint() as port,
        bench_site(server, aws_endpoint_url=f"http://127.0.0.1:{port}") as made,
    ):
        made.run(
            *("company", "set", "1", "--provider", "aws", "--aws-region", "eu-west-1"),
            *("--aws-access-key", "AKIABENCHMARK", "--aws-secret-key", "--new-callback-key"),
            *("--sqs-queue-url", f"http://127.0.0.1:{port}/1/jobs", "--manager-copies", "none"),
            "--enable",
            input="secret\n",
        )
        yield made


def accepted(made: BenchSite) -> int:
    """How many mails are in batches that SQS has taken."""
    query = (
        "SELECT COALESCE(SUM(email_count), 0) FROM mdl_manireports_cloud_import_batches"
        " WHERE status = 'queued'"
    )
    return int(made.one(query))


@contextmanager
def endpoint() -> Iterator[int]:
    """The minimal SQS in a process of its own; its port."""
    command = [sys.executable, "-m", "benchmarks.sqs_endpoint"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())["port"]
        finally:
            process.terminate()
        if not json.loads(process.stdout.readline())["messages"]:
            sys.exit("no message arrived")
