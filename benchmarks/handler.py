"""Recipients a second through the AWS worker, beside a loop that asks SES for one after the other.

The real ``handler`` gets signed batches of 100 mails; the loop builds each mail with email.message,
sends it by boto3 and keeps no ledger. Both talk to a server in a process of its own that answers
for SES after 0, 20 and 50 ms and for DynamoDB after 5 ms. Ways run in the order A B … B A, so that
a machine that warms up or tires favours none; medians count.
"""

import argparse
import asyncio
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3

from cloud_workers.aws import lambda_handler
from sidecar.mail import Address, Content, Mail, MailBatch
from sidecar.message import SigningKey, encode_batch

LATENCIES = (0, 20, 50)
CONCURRENCY = 30
LEDGER_LATENCY = 5
BATCH = 100

KEY = SigningKey("bench", "secret")
SITE = "bench"
SENDER = "noreply@learn.example.test"
SUBJECT = "A new on-line learning account has been created for you"
HTML = "<p>Dear Björn,</p>\n" + "<p>A new user account has been made for you.</p>\n" * 16
TEXT = "Dear Björn,\n" + "A new user account has been made for you.\n" * 16


@dataclass(frozen=True)
class Measured:
    """latency: of SES, milliseconds; rate: recipients a second; ratio: to the loop's."""

    latency: int
    way: str
    mails: int
    rate: float
    ratio: float


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``handler`` to the benchmarks."""
    parser = commands.add_parser("handler", help=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mails", type=int, default=500, help="mails a run")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of A B … B A")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    rows = measure(LATENCIES, options.mails, options.rounds)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    show(rows)


def show(rows: Sequence[Measured]) -> None:
    """Print a table."""
    print(f"{os.cpu_count()} cpus; at most {CONCURRENCY} in flight; DynamoDB {LEDGER_LATENCY} ms")
    print(f"{'latency':>8} {'way':<8} {'mails/s':>9} {'x loop':>8}")
    for row in rows:
        print(f"{row.latency:>5} ms {row.way:<8} {row.rate:>9} {row.ratio:>8}")


def measure(latencies: Sequence[int], mails: int, rounds: int = 1) -> list[Measured]:
    """Both ways at each latency of SES (milliseconds), ``mails`` mails a run."""
    ways: Mapping[str, Callable[[str, int], float]] = {"handler": run_handler, "loop": run_loop}
    rows = []
    for latency in latencies:
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name in [*ways, *reversed(list(ways))]:
                with provider(latency, mails) as url:
                    rates[name].append(mails / ways[name](url, mails))
        medians = {name: statistics.median(each) for name, each in rates.items()}
        rows += [
            Measured(latency, name, mails, round(rate, 1), round(rate / medians["loop"], 2))
            for name, rate in medians.items()
        ]
    return rows


@contextmanager
def provider(latency: int, expected: int, calls: dict[str, int] | None = None) -> Iterator[str]:
    """Its URL, which is in the environment, too. Every mail must have come to it once.

    calls: gets how many there were, by what was asked.
    """
    command = [sys.executable, "-m", "benchmarks.handler", str(latency)]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        before = dict(os.environ)
        os.environ.update(
            AWS_ENDPOINT_URL=url,
            AWS_DEFAULT_REGION="eu-west-1",
            AWS_ACCESS_KEY_ID="bench",
            AWS_SECRET_ACCESS_KEY="bench",
        )
        try:
            yield url
        finally:
            os.environ.clear()
            os.environ.update(before)
            process.terminate()
        counted: dict[str, int] = json.loads(process.stdout.readline())
    if calls is not None:
        calls.update(counted)
    accepted = counted.get("SendEmail", 0)
    if accepted != expected:
        sys.exit(f"{accepted} mails arrived, {expected} were sent")


class Context:
    """Lambda's, with all the time of the world."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds."""
        return 900_000


def run_handler(url: str, mails: int) -> float:
    """The worker, with its ledger and its reports; seconds."""
    os.environ.update(
        TABLE="ledger",
        SITE_UID=SITE,
        KEYS=f"{KEY.key}:{KEY.secret}",
        QUEUE_URL=f"{url}/1/jobs",
        RESULTS_QUEUE_URL=f"{url}/1/results",
        CALLBACK_URL=f"{url}/callback",
        CONCURRENCY=str(CONCURRENCY),
    )
    lambda_handler.aws_clients.cache_clear()
    events = [
        {"Records": [{"messageId": str(at), "receiptHandle": "", "body": message(at, mails)}]}
        for at in range(0, mails, BATCH)
    ]
    lambda_handler.aws_clients(CONCURRENCY).ses()  # a warm function has its clients
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        started = time.perf_counter()
        for event in events:
            assert not lambda_handler.handler(event, Context())["batchItemFailures"]
        return time.perf_counter() - started


def message(first: int, mails: int) -> str:
    """The signed batch that starts with this mail."""
    chosen = tuple(mail(number) for number in range(first, min(first + BATCH, mails)))
    now = int(time.time())
    batch = MailBatch(first, secrets.token_hex(16), 1, 1, 1, chosen, first_issued_at=now)
    return encode_batch(batch, SITE, KEY, now)


def mail(number: int) -> Mail:
    """A mail like IOMAD's user_create: no two share a body."""
    return Mail(
        id=number,
        mail_key=sha256(str(number).encode()).hexdigest(),
        message_id=f"{number}@learn.example.test",
        to=f"user{number}@example.test",
        sender=Address(SENDER, "Rig Support"),
        envelope_from=SENDER,
        content=Content(SUBJECT, f"{HTML}<p>{number}</p>", f"{TEXT}{number}"),
    )


def run_loop(_: str, mails: int) -> float:
    """What a script would do; seconds."""
    client: Any = boto3.session.Session().client("sesv2")
    started = time.perf_counter()
    for number in range(mails):
        built = EmailMessage()
        built["From"] = f"Rig Support <{SENDER}>"
        built["To"] = f"user{number}@example.test"
        built["Subject"] = SUBJECT
        built.set_content(f"{TEXT}{number}")
        built.add_alternative(f"{HTML}<p>{number}</p>", subtype="html")
        client.send_email(
            FromEmailAddress=SENDER,
            Destination={"ToAddresses": [f"user{number}@example.test"]},
            Content={"Raw": {"Data": built.as_bytes()}},
        )
    spent = time.perf_counter() - started
    client.close()
    return spent


# The provider: just enough HTTP for boto3 and the callback, so that it is not what is measured.


class Provider(asyncio.Protocol):
    """A connection of boto3. Takes mails, keeps items, answers 202 to callbacks."""

    mails = 0
    items: dict[str, Any] = {}  # noqa: RUF012 - one table for all connections
    calls: Counter[str] = Counter()  # noqa: RUF012

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        self._got += data
        while b"\r\n\r\n" in self._got:
            head, _, rest = self._got.partition(b"\r\n\r\n")
            headers = dict(
                line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
            )
            length = int(headers.get(b"content-length", 0))
            if headers.get(b"expect") and not rest:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(rest) < length:
                return
            body, self._got = rest[:length], rest[length:]
            self._answer(head.split(b" ", 2)[1], headers.get(b"x-amz-target", b""), body)

    def _answer(self, path: bytes, target: bytes, body: bytes) -> None:
        status, answer, wait = b"200 OK", b"{}", LEDGER_LATENCY / 1000
        action = target.rpartition(b".")[2].decode() or path.decode()
        if path.endswith(b"outbound-emails"):
            action = "SendEmail"
            Provider.mails += 1
            answer, wait = b'{"MessageId":"%060d"}' % Provider.mails, self._latency
        elif target.lower().endswith(b".putitem"):
            item = json.loads(body)["Item"]
            self.items[item["batch_key"]["S"]] = item
        elif target.lower().endswith(b".getitem"):
            found = self.items.get(json.loads(body)["Key"]["batch_key"]["S"])
            answer = json.dumps({"Item": found} if found else {}).encode()
        elif path == b"/callback":
            status = b"202 Accepted"
        self.calls[action] += 1
        reply = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(answer), answer)
        if wait:
            asyncio.get_running_loop().call_later(wait, self._transport.write, reply)
        else:
            self._transport.write(reply)


async def serve(latency: float) -> None:
    """Serve until SIGTERM; prints the port, and at the end how often what was asked, as JSON."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Provider(latency), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    print(json.dumps(Provider.calls), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) / 1000))
