"""Plays Lambda's event source mapping: the real handler, fed from the jobs queue.

Like the service with ReportBatchItemFailures: what the handler does not name is deleted, what it
names comes again when it becomes visible, and an exception leaves everything in the queue.
"""

import importlib.util
import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

log = logging.getLogger(__name__)

HANDLER = Path(__file__).parents[2] / "cloud_workers" / "aws" / "lambda_handler.py"
FUNCTION_SECONDS = 120
VISIBILITY_SECONDS = 30
"""Of the queue; short, so that a killed invocation is made good soon."""

_copies = itertools.count()

Event = Mapping[str, Any]
Handler = Callable[[Event, Any], Mapping[str, list[Mapping[str, str]]]]


class Context:
    """What the handler asks of Lambda's context object."""

    def __init__(self, seconds: float = FUNCTION_SECONDS) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """As Lambda's context says it."""
        return max(0, int((self._end - time.monotonic()) * 1000))


def load_handler() -> Handler:
    """The worker, with clients of its own; raises SidecarError without the source tree."""
    if not HANDLER.is_file():
        raise SidecarError(f"{HANDLER} is missing: the AWS demo runs from a source checkout")
    spec = importlib.util.spec_from_file_location(f"lambda_handler_{next(_copies)}", HANDLER)
    if spec is None or spec.loader is None:
        raise SidecarError(f"{HANDLER} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    # What the worker prints is Lambda's log, not this program's output.
    vars(module)["print"] = lambda line, **_: log.info("%s", line)
    made: Handler = module.handler
    return made


class LambdaLoop:
    """Functions at work until closed; ``handler`` makes one for each, as Lambda does.

    repeats: so many messages are delivered once more.
    visibility: seconds after which a message comes again of which nobody was told.
    """

    def __init__(
        self,
        queue_url: str,
        handler: Callable[[], Handler],
        *,
        functions: int = 2,
        repeats: int = 0,
        visibility: int = VISIBILITY_SECONDS,
    ) -> None:
        self._sqs: SQSClient = boto3.client("sqs")
        self._queue_url = queue_url
        self._handler = handler
        self._repeats = repeats
        self._visibility = visibility
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"lambda-{number}", daemon=True)
            for number in range(functions)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish the invocations at work."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        handler = self._handler()
        while not self._stop.is_set():
            try:
                for message in self._receive():
                    self._invoke(handler, message)
            except (BotoCoreError, ClientError) as error:
                if not self._stop.wait(0.5):
                    log.warning("the jobs queue does not answer: %s", error)

    def _receive(self) -> "list[MessageTypeDef]":
        return self._sqs.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=1,
            WaitTimeSeconds=1,
            VisibilityTimeout=self._visibility,
            MessageSystemAttributeNames=["All"],
        ).get("Messages", [])

    def _invoke(self, handler: Handler, message: "MessageTypeDef") -> None:
        record = {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": dict(message.get("Attributes", {})),
            "messageAttributes": {},
            "eventSource": "aws:sqs",
        }
        with self._lock:
            again = self._repeats > 0
            self._repeats -= again
        for _ in range(1 + again):
            try:
                answer = handler({"Records": [record]}, Context())
            except Exception:
                log.exception("the function failed: the message comes again")
                return
        if not answer["batchItemFailures"]:
            receipt = message["ReceiptHandle"]
            self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=receipt)
