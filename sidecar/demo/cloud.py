"""A whole AWS in this process, by moto: SQS, DynamoDB, SES, and the real worker between them."""

import contextlib
import logging
import os
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import boto3
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.server import ThreadedMotoServer
from moto.ses.models import ses_backends

from sidecar.demo.lambda_loop import VISIBILITY_SECONDS, LambdaLoop, load_handler
from sidecar.demo.ses_door import SesDoor
from sidecar.demo.sink import Received

REGION = "eu-west-1"
ACCESS_KEY, SECRET_KEY = "AKIADEMODEMODEMODEMO", "demo-secret-key"
TABLE = "manireports-ledger"


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where things are."""

    endpoint: str
    queue_url: str
    results_queue_url: str
    door: SesDoor

    def received(self) -> list[Received]:
        """What SES took, one recipient each."""
        return [
            Received(
                sender=message.source,
                recipients=(message.destinations[0],),
                data=message.raw_data.encode(),
                at=0.0,
                bare=False,
            )
            for message in list(ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages)
            if hasattr(message, "raw_data")
        ]

    def worker_environment(self, site_uid: str, keys: str, callback_url: str) -> dict[str, str]:
        """What the worker is configured by. keys: as ``company set`` shows them."""
        return {
            "TABLE": TABLE,
            "SITE_UID": site_uid,
            "KEYS": keys,
            "QUEUE_URL": self.queue_url,
            "RESULTS_QUEUE_URL": self.results_queue_url,
            "CALLBACK_URL": callback_url,
        }

    @contextlib.contextmanager
    def worker(
        self, site_uid: str, keys: str, callback_url: str, *, repeats: int = 0, functions: int = 2
    ) -> Iterator[None]:
        """The real handler at work on the queue."""
        with changed_environment(self.worker_environment(site_uid, keys, callback_url)):
            loop = LambdaLoop(self.queue_url, load_handler, functions=functions, repeats=repeats)
            try:
                yield
            finally:
                loop.close()


@contextlib.contextmanager
def changed_environment(values: Mapping[str, str]) -> Iterator[None]:
    """``os.environ`` with these values, for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def cloud(*senders: str) -> Iterator[Cloud]:
    """An AWS with a jobs queue, a results queue, a ledger; it may send as ``senders``: domains."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it prints every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    door = SesDoor(endpoint, {})
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_SESV2": door.url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
    try:
        with changed_environment(environment):
            yield _furnished(endpoint, door, senders)
    finally:
        door.close()
        server.stop()


def _furnished(endpoint: str, door: SesDoor, senders: Iterable[str]) -> Cloud:
    reset = urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")  # noqa: S310
    urllib.request.urlopen(reset).close()  # noqa: S310 - moto keeps one state a process
    sqs = boto3.client("sqs")
    jobs = sqs.create_queue(
        QueueName="manireports-jobs", Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS)}
    )["QueueUrl"]
    results = sqs.create_queue(QueueName="manireports-results")["QueueUrl"]
    boto3.client("dynamodb").create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "batch_key", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "batch_key", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    ses = boto3.client("sesv2", endpoint_url=endpoint)
    for sender in senders:
        ses.create_email_identity(EmailIdentity=sender)
    return Cloud(endpoint, jobs, results, door)
