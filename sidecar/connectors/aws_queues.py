"""How much waits in the queues of an AWS account, the dead-letter queue among them."""

import json
from dataclasses import dataclass

from sidecar.connectors.aws_client import FEEDBACK_QUEUE, JOBS_QUEUE, RESULTS_QUEUE, AwsClients

DEAD_LETTERS = "dead-letter queue"


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages a queue holds, about: those that wait, are in work, or come later."""

    name: str
    waiting: int
    in_work: int
    delayed: int

    @property
    def messages(self) -> int:
        """All of them."""
        return self.waiting + self.in_work + self.delayed


class AwsQueues:
    """Everything here raises ConnectorError."""

    def __init__(self, clients: AwsClients) -> None:
        self._clients, self._account = clients, clients.account

    def depths(self) -> list[Depth]:
        """The company's queues, the dead-letter queue among them if there is one."""
        account = self._account
        jobs = self._attributes(JOBS_QUEUE, account.queue_url)
        queues = [
            (DEAD_LETTERS, self._dead_letters_of(jobs)),
            (RESULTS_QUEUE, account.results_queue_url),
            (FEEDBACK_QUEUE, account.feedback_queue_url),
        ]
        return [
            _depth(JOBS_QUEUE, jobs),
            *(_depth(name, self._attributes(name, url)) for name, url in queues if url),
        ]

    def dead_letters_url(self) -> str:
        """Where the jobs queue puts what it gives up; '' if it gives up nothing."""
        return self._dead_letters_of(self._attributes(JOBS_QUEUE, self._account.queue_url))

    def depth(self, name: str, url: str) -> Depth:
        """One queue."""
        return _depth(name, self._attributes(name, url))

    def _dead_letters_of(self, jobs: dict[str, str]) -> str:
        policy = jobs.get("RedrivePolicy")
        if not policy:
            return ""
        name = str(json.loads(policy)["deadLetterTargetArn"]).rpartition(":")[2]
        return f"{self._account.queue_url.rpartition('/')[0]}/{name}"

    def _attributes(self, name: str, url: str) -> dict[str, str]:
        def call() -> dict[str, str]:
            answer = self._clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
            return {str(key): value for key, value in answer["Attributes"].items()}

        return self._clients.ask(name, call)


def _depth(name: str, attributes: dict[str, str]) -> Depth:
    kinds = ("", "NotVisible", "Delayed")
    numbers = [int(attributes.get(f"ApproximateNumberOfMessages{kind}", "0")) for kind in kinds]
    return Depth(name, *numbers)
