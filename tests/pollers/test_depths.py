"""What the metrics say of the providers' queues."""

import json
import math

import boto3
import pytest
from prometheus_client import CollectorRegistry

from sidecar.demo.cloud import ACCESS_KEY, REGION, SECRET_KEY, cloud
from sidecar.metrics.registry import Metrics
from sidecar.pollers.depths import Depths
from sidecar.routes import Routes
from sidecar.settings import Settings
from sidecar.store.companies import Company
from tests.support.wait import wait_for


def company(number: int, queue_url: str, results_queue_url: str) -> Company:
    return Company(
        number,
        provider="aws",
        enabled=True,
        aws_region=REGION,
        aws_access_key=ACCESS_KEY,
        aws_secret_key=SECRET_KEY,
        sqs_queue_url=queue_url,
        results_queue_url=results_queue_url,
        callback_key="key",
        callback_secret="secret",
    )


def shown(registry: CollectorRegistry, number: int) -> dict[str, float]:
    """Queue → messages, of one company."""
    return {
        sample.labels["queue"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "manireports_provider_queue_messages"
        and sample.labels["company"] == str(number)
    }


def is_unknown(depths: dict[str, float]) -> bool:
    return bool(depths) and all(math.isnan(value) for value in depths.values())


@pytest.mark.parametrize("redrive", [True, False])
def test_the_gauge_knows_the_dead_letters(redrive: bool) -> None:
    metrics = Metrics()
    with cloud() as running:
        sqs = boto3.client("sqs")
        dead = sqs.create_queue(QueueName="given-up")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
        policy = {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": 3}
        if redrive:
            sqs.set_queue_attributes(
                QueueUrl=running.queue_url, Attributes={"RedrivePolicy": json.dumps(policy)}
            )
        for queue, number in ((running.queue_url, 3), (dead, 2), (running.results_queue_url, 1)):
            for _ in range(number):
                sqs.send_message(QueueUrl=queue, MessageBody="waits")
        routes = Routes(Settings(aws_endpoint_url=running.endpoint), lambda: None, str)
        routes.site_uid = "site"
        depths = Depths(routes, metrics)
        ours = company(1, running.queue_url, running.results_queue_url)
        theirs = company(2, f"{running.endpoint}/123456789012/no-such-queue", "")
        depths.show([ours, theirs])
        there = {"jobs": 3.0, "results": 1.0} | ({"dead_letters": 2.0} if redrive else {})
        # Whoever takes longer than ``show`` waits is shown when he answers.
        wait_for(lambda: shown(metrics.registry, 1) == there, 30, "the first has answered")
        wait_for(lambda: is_unknown(shown(metrics.registry, 2)), 30, "the second is not known")

        sqs.delete_queue(QueueUrl=running.queue_url)
        depths.show([ours, theirs])
        wait_for(lambda: is_unknown(shown(metrics.registry, 1)), 30, "its queue is gone")
        assert shown(metrics.registry, 1).keys() == there.keys()
        routes.close(1)
