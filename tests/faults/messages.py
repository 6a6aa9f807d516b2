"""Messages and reports that come twice, in disorder, half a day late, forged, or of another."""

import http.client
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import urlsplit

import boto3

from sidecar.message import (
    JOB,
    RESULT,
    BatchResult,
    MailStatus,
    SigningKey,
    encode_result,
    parse_envelope,
    parse_result,
    seal,
    sign,
)
from sidecar.store.inbox import Delivery
from tests.e2e.aws import AwsWorld, plugin_page
from tests.faults.case import Case, Finding
from tests.faults.ledger import judge
from tests.faults.stage import Stage, queue, quiet
from tests.support.wait import wait_for

MAILS, BATCH = 120, 10
LATE = 12 * 3600
SENDERS = 8
UNREAD = "SELECT COUNT(*) FROM mdl_manireports_cloud_callbacks WHERE processed_at IS NULL"


@dataclass(frozen=True, slots=True)
class Post:
    """A request to the callback page, and the answer that it must get."""

    kind: str
    payload: bytes
    key: str
    signed_at: int
    signature: str
    answers: frozenset[int]


def doubled(stage: Stage, dose: int) -> Finding:
    """The jobs queue holds each message many times over, in any order, half of them 12 h old."""
    finding, chance = Finding(dose=dose), random.Random(dose)
    with stage.aws(batch_size=BATCH) as aws:
        _submit(aws)
        sqs = boto3.client("sqs")
        bodies = list(_taken(aws))
        key = SigningKey(*next(iter(aws.keys.items())))
        old = [
            seal(JOB, parse_envelope(body).payload, key, int(time.time()) - LATE) for body in bodies
        ]
        flood = [*bodies, *(chance.choice([*bodies, *old]) for _ in range(dose - len(bodies)))]
        chance.shuffle(flood)
        for start in range(0, len(flood), 10):
            entries = [
                {"Id": str(i), "MessageBody": body}
                for i, body in enumerate(flood[start : start + 10])
            ]
            sqs.send_message_batch(QueueUrl=aws.cloud.queue_url, Entries=entries)  # type: ignore[arg-type]
        with aws.worker(), aws.world.start() as daemon:
            wait_for(lambda: aws.queued() == 0, 60 + dose, "the worker has seen all messages")
            wait_for(lambda: quiet(aws.world), 60, "all is settled")
            finding.must(daemon.stop() == 0, "the daemon did not end well")
        finding.add(judge(aws.world, aws.cloud.received()))
    return finding


def reports(stage: Stage, dose: int) -> Finding:
    """The plugin's own page and the results queue get a flood of reports of every kind."""
    finding, chance = Finding(dose=dose), random.Random(dose)
    with stage.aws(batch_size=BATCH) as aws:
        aws.world.site.add_company(2, "Globex")
        aws.enable(2)
        _submit(aws)
        told = _told(aws)
        with plugin_page(aws.world) as page, aws.world.start() as daemon:
            posts = list(_posts(aws, told, dose, chance))
            chance.shuffle(posts)
            with ThreadPoolExecutor(SENDERS) as senders:
                answers = list(senders.map(lambda post: _post(page.url, post), posts))
            for post, answer in zip(posts, answers, strict=True):
                finding.must(answer in post.answers, f"{post.kind}: answered {answer}")
            _late(aws, told)
            wait_for(lambda: quiet(aws.world), 120, "all is settled")
            wait_for(lambda: aws.world.one(UNREAD) == 0, 300, "all reports are looked at")
            finding.must(daemon.stop() == 0, "the daemon did not end well")
        finding.wrong = finding.wrong[:10]
        finding.add(judge(aws.world, aws.cloud.received()))
        kinds = Counter(post.kind for post in posts)
        finding.note = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    return finding


def _submit(aws: AwsWorld) -> None:
    """A job in the jobs queue, and no daemon any more."""
    queue(aws.world, MAILS)
    with aws.world.start() as daemon:
        wait_for(lambda: aws.queued() >= MAILS // BATCH, 60, "all batches are queued")
        assert daemon.stop() == 0


def _taken(aws: AwsWorld) -> Iterator[str]:
    """The messages of the jobs queue, taken out of it."""
    sqs, url = boto3.client("sqs"), aws.cloud.queue_url
    while found := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in found:
            yield message["Body"]
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def _told(aws: AwsWorld) -> Sequence[Delivery]:
    """What the worker reports of that job, to a page that loses it."""
    told: list[Delivery] = []

    def lose(delivery: Delivery) -> HTTPStatus:
        told.append(delivery)
        return HTTPStatus.ACCEPTED

    with aws.worker(refuse=lose):
        wait_for(lambda: aws.queued() == 0, 120, "the worker has sent all")
    return told


def _posts(
    aws: AwsWorld, told: Sequence[Delivery], dose: int, chance: random.Random
) -> Iterator[Post]:
    """Every report of the worker once, and so many of every kind beside them."""
    ours = SigningKey(told[0].callback_key, aws.keys[told[0].callback_key])
    other = SigningKey(*next(item for item in aws.keys.items() if item[0] != ours.key))
    now = int(time.time())
    taken, refused, malformed = frozenset({200, 202}), frozenset({401}), frozenset({400})
    for delivery in told:
        yield _signed("a report", delivery.payload, ours, now, taken)
    for _ in range(dose - len(told)):
        result = parse_result(chance.choice(told).payload)
        payload = encode_result(result)
        match chance.randrange(8):
            case 0 | 1:
                yield _signed("repeated", payload, ours, now, taken)
            case 2:
                yield _signed("12 h old", payload, ours, now - LATE, refused)
            case 3:
                post = _signed("forged", payload, ours, now, refused)
                yield replace(post, signature=secrets.token_hex(32))
            case 4:
                strange = replace(result, site_uid="another", delivery_id=secrets.token_hex(32))
                yield _signed("of another site", encode_result(strange), ours, now, taken)
            case 5:
                again = replace(result, delivery_id=secrets.token_hex(32))
                yield _signed("of another company", encode_result(again), other, now, taken)
            case 6:
                part = payload[: chance.randrange(len(payload))]
                yield _signed("malformed", part, ours, now, malformed)
            case _:
                yield _signed("contradicting", _denied(result), ours, now, taken)


def _denied(result: BatchResult) -> str:
    """A later report that takes back what an earlier one told."""
    mails = tuple(
        replace(
            mail, status=MailStatus.UNKNOWN, message_id="", error_code="lease", error="who knows"
        )
        for mail in result.recipients
    )
    return encode_result(
        replace(result, delivery_id=secrets.token_hex(32), recipients=mails, emails_sent=0)
    )


def _signed(kind: str, payload: str, key: SigningKey, when: int, answers: frozenset[int]) -> Post:
    signature = sign(RESULT, when, payload, key.secret)
    return Post(kind, payload.encode(), key.key, when, signature, answers)


def _post(url: str, post: Post) -> int:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=60)) as connection:
        headers = {
            "X-ManiReports-Key": post.key,
            "X-ManiReports-Timestamp": str(post.signed_at),
            "X-ManiReports-Signature": post.signature,
            "Content-Type": "application/json",
        }
        connection.request("POST", parts.path, post.payload, headers)
        return connection.getresponse().status


def _late(aws: AwsWorld, told: Sequence[Delivery]) -> None:
    """The results queue has no age limit: the same reports, signed half a day ago."""
    sqs = boto3.client("sqs")
    for delivery in told:
        key = SigningKey(delivery.callback_key, aws.keys[delivery.callback_key])
        body = seal(RESULT, delivery.payload, key, int(time.time()) - LATE)
        sqs.send_message(QueueUrl=aws.cloud.results_queue_url, MessageBody=body)


CASES = [
    Case(
        "queue messages doubled, disordered, late", 2_000, doubled,
        covered="tests/workers/test_ledger.py",
    ),
    Case("reports repeated, late, forged, foreign", 8_000, reports, small=200),
]  # fmt: skip
