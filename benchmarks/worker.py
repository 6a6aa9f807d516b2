"""What an invocation of the AWS worker does and costs: rates, calls, memory, cold start.

The real ``handler`` in a process of its own, as Lambda starts it: time of its import and of making
its clients, peak memory before and after one message of almost 1 MiB, and the calls of AWS that
1,000 ordinary mails need; its rate beside a loop's (``benchmarks handler``).
"""

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from benchmarks import handler as bench
from sidecar.mail import Address, Content, Mail, MailBatch
from sidecar.message import encode_batch

FULL = 1_040_000
"""Bytes of a message that just fits the queue."""


@dataclass(frozen=True)
class Footprint:
    """import_ms, clients_ms: of a cold start. before, after: peak memory in MB, around a message
    of so many bytes."""

    import_ms: float
    clients_ms: float
    message_bytes: int
    before: float
    after: float


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``worker`` to the benchmarks."""
    parser = commands.add_parser("worker", help=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mails", type=int, default=500, help="mails a run, of the rates")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    calls: dict[str, int] = {}
    with bench.provider(0, 1000, calls) as url:
        bench.run_handler(url, 1000)
    with bench.provider(0, 100):
        found = footprint()
    rates = bench.measure(bench.LATENCIES, options.mails)
    if options.json:
        told = {"calls": calls, **found.__dict__, "rates": [asdict(rate) for rate in rates]}
        print(json.dumps(told, indent=2))
        return
    bench.show(rates)
    print(f"calls per 1,000 mails: {sum(calls.values())}, {json.dumps(calls)}")
    print(f"cold start: import {found.import_ms:.0f} ms, clients {found.clients_ms:.0f} ms")
    print(
        f"peak memory: {found.before:.0f} MB before, {found.after:.0f} MB after a message of"
        f" {found.message_bytes:,} bytes"
    )


def footprint() -> Footprint:
    """Of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cold"]
    environment = os.environ | {
        "TABLE": "ledger",
        "SITE_UID": bench.SITE,
        "KEYS": f"{bench.KEY.key}:{bench.KEY.secret}",
        "QUEUE_URL": f"{os.environ['AWS_ENDPOINT_URL']}/1/jobs",
        "RESULTS_QUEUE_URL": f"{os.environ['AWS_ENDPOINT_URL']}/1/results",
        "CALLBACK_URL": f"{os.environ['AWS_ENDPOINT_URL']}/callback",
        "CONCURRENCY": str(bench.CONCURRENCY),
    }
    root = Path(__file__).parents[1]
    body = full_message()
    done = subprocess.run(
        command,
        input=body,
        env=environment,
        cwd=root,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Footprint(message_bytes=len(body), **json.loads(done.stdout))


def full_message() -> str:
    """A signed batch of 100 mails that hardly compress, as large as the queue takes."""
    chance = random.Random(1)
    size = 11_000
    while True:
        mails = tuple(_mail(number, size, chance) for number in range(100))
        now = int(time.time())
        batch = MailBatch(1, secrets.token_hex(16), 1, 1, 1, mails, first_issued_at=now)
        body = encode_batch(batch, bench.SITE, bench.KEY, now)
        if len(body) <= FULL:
            return body
        size -= 100


def _mail(number: int, size: int, chance: random.Random) -> Mail:
    noise = "".join(
        chance.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234", k=size)
    )
    lines = "\n".join(noise[at : at + 70] for at in range(0, size, 70))
    return Mail(
        id=number,
        mail_key=sha256(str(number).encode()).hexdigest(),
        message_id=f"{number}@learn.example.test",
        to=f"user{number}@example.test",
        sender=Address(bench.SENDER, "Rig Support"),
        envelope_from=bench.SENDER,
        content=Content(bench.SUBJECT, f"<p>{lines}</p>", lines[: size // 3]),
    )
