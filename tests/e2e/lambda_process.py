"""The worker as a process of its own that can be killed, fed by a queue that misbehaves.

``python -m tests.e2e.lambda_process QUEUE_URL SEED``; the environment is the worker's.
"""

import logging
import random
import sys
import threading
from typing import TYPE_CHECKING

import boto3

from sidecar.demo.lambda_loop import Context, Handler, LambdaLoop, load_handler

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

FUNCTION_SECONDS = 32
"""The worker begins nothing in the last 28 of them, and its lease ends 5 s after them."""
DELAYS, BREATH = (1, 1, 2), 0.1
"""For what the worker waits longer elsewhere."""
SHARE = 0.1
"""Of the messages: delivered twice, and as many put back for some seconds."""


def short_lived() -> Handler:
    """The worker as a function with little time, and little to wait for."""
    handler = load_handler()
    handler.__globals__.update(DELAYS=DELAYS, BREATH=BREATH)
    return lambda event, _context: handler(event, Context(FUNCTION_SECONDS))


class Misbehaving(LambdaLoop):
    """10 % of the messages are delivered twice, 10 % later than others."""

    def __init__(self, queue_url: str, chance: random.Random) -> None:
        self._chance = chance
        self._client = boto3.client("sqs")
        super().__init__(queue_url, short_lived, visibility=8)

    def _receive(self) -> "list[MessageTypeDef]":
        messages = super()._receive()
        for message in messages:
            draw = self._chance.random()
            if draw < SHARE:
                self._repeats += 1
            elif draw < 2 * SHARE:
                self._client.change_message_visibility(
                    QueueUrl=self._queue_url,
                    ReceiptHandle=message["ReceiptHandle"],
                    VisibilityTimeout=self._chance.randint(1, 4),
                )
                return []
        return messages


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    Misbehaving(sys.argv[1], random.Random(int(sys.argv[2])))
    threading.Event().wait()
