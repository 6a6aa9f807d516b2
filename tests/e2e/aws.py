"""A site whose company goes the AWS way: moto's SQS, DynamoDB and SES, and the real worker."""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import boto3

from sidecar.demo.callback import CallbackPage, Refuse
from sidecar.demo.cloud import ACCESS_KEY, REGION, SECRET_KEY, TABLE, Cloud
from sidecar.store.database import Database
from sidecar.store.inbox import Delivery
from sidecar.store.site import read_site
from tests.e2e.world import World
from tests.support.aws_door import AwsDoor
from tests.support.php_site import PhpSite
from tests.support.processes import call_sidecar


def accept(_delivery: Delivery) -> HTTPStatus | None:
    """What a page that works says of a good report."""
    return None


def plugin_page(world: World) -> PhpSite:
    """The plugin's own callback page."""
    return PhpSite(Path(tempfile.mkdtemp(dir=world.tmp)), world.url, world.tmp / "moodledata")


@dataclass
class AwsWorld:
    """A World whose company 1 has an AWS account; nothing works the queue until ``worker``."""

    world: World
    cloud: Cloud
    database: Database
    keys: dict[str, str] = field(default_factory=dict)

    def enable(self, company: int = 1, *options: str, queue_url: str = "") -> None:
        """Set a company up with an account and a key of its own."""
        done = run_sidecar_with_input(
            self.world,
            f"{SECRET_KEY}\n",
            *("company", "set", str(company), "--provider", "aws", "--aws-region", REGION),
            *("--aws-access-key", ACCESS_KEY, "--aws-secret-key", "--ledger-table", TABLE),
            *("--sqs-queue-url", queue_url or self.cloud.queue_url, "--new-callback-key"),
            *("--results-queue-url", self.cloud.results_queue_url, "--enable", *options),
        )
        key, secret = re.findall(r"KEYS, shown only now: (\S+):(\S+)", done)[0]
        self.keys[key] = secret

    @property
    def pairs(self) -> str:
        """The keys as the worker gets them: two at most, the new one and the one before."""
        newest = list(self.keys.items())[-2:]
        return ",".join(f"{key}:{secret}" for key, secret in newest)

    @contextmanager
    def page(self, refuse: Refuse = accept) -> Iterator[CallbackPage]:
        """The callback page alone."""
        page = CallbackPage(self.database, lambda: self.keys, refuse)
        try:
            yield page
        finally:
            page.close()

    @contextmanager
    def worker(self, refuse: Refuse = accept, repeats: int = 0) -> Iterator[None]:
        """The worker and the callback page at work: the plugin's own, unless it is to refuse."""
        with (
            plugin_page(self.world) if refuse is accept else self.page(refuse) as page,
            self.cloud.worker(self.site_uid, self.pairs, page.url, repeats=repeats),
        ):
            yield

    @property
    def site_uid(self) -> str:
        """Who this site is."""
        return read_site(self.database).site_uid

    def rcpts(self) -> Counter[str]:
        """How often SES took a mail to each address."""
        return Counter(message.recipients[0] for message in self.cloud.received())

    def queued(self) -> int:
        """Messages in the jobs queue, also those in work or delayed."""
        return messages(self.cloud.queue_url)

    def told(self) -> int:
        """Messages in the results queue."""
        return messages(self.cloud.results_queue_url)

    def ledger_difference(self) -> int:
        """Captured mails that no state accounts for."""
        jobs = self.world.one(
            "SELECT COALESCE(SUM(email_count), 0) FROM mdl_manireports_cloud_jobs"
            " WHERE parent_job_id IS NULL"
        )
        mails = self.world.one(
            "SELECT COUNT(*) FROM mdl_manireports_cloud_recipients WHERE retry_of IS NULL"
        )
        return int(jobs) - int(mails)


class Stormy(AwsWorld):
    """An AwsWorld behind a door: what the sidecar asks goes through it, and what asks SES."""

    door: AwsDoor

    def write_config(self, **settings: object) -> None:
        """Change the sidecar's configuration."""
        self.world.config = self.world.write_config(
            self.world.url, aws_endpoint_url=self.door.url, batch_size=50, **settings
        )


def run_sidecar_with_input(world: World, text: str, *arguments: str) -> str:
    """Run a command that asks for something; its standard output."""
    done = call_sidecar(world.config, *arguments, input=text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def messages(queue_url: str) -> int:
    """All that is in a queue."""
    attributes: dict[str, str] = dict(
        boto3.client("sqs").get_queue_attributes(  # type: ignore[arg-type]
            QueueUrl=queue_url, AttributeNames=["All"]
        )["Attributes"]
    )
    names = ("", "NotVisible", "Delayed")
    return sum(int(attributes[f"ApproximateNumberOfMessages{name}"]) for name in names)
