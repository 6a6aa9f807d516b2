"""From an empty AWS account to mail, by commands: deploy, verify, status, redrive, rotate."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

import boto3
import pytest

from sidecar.demo.callback import CallbackPage
from sidecar.demo.cloud import Cloud, changed_environment, cloud
from sidecar.demo.lambda_loop import LambdaLoop, load_handler
from sidecar.moodle.encryption import Vault
from sidecar.store.companies import Company, read_companies
from sidecar.store.database import Database
from sidecar.store.site import read_site
from tests.e2e.aws import accept
from tests.e2e.world import World
from tests.support.aws_door import AwsDoor
from tests.support.moto_stack import teach_moto
from tests.support.processes import call_sidecar, run_sidecar
from tests.support.wait import wait_for

DOMAIN = "learn.example.test"
DEPLOY = ("aws", "deploy", "--company", "1", "--region", "eu-west-1", "--sender", DOMAIN)


class Account:
    """A site, and an AWS account in which nothing is."""

    def __init__(self, world: World, cloud: Cloud, door: AwsDoor) -> None:
        self.world, self.cloud, self.door = world, cloud, door
        self.database = Database(world.url, "mdl_")
        self.vault = Vault(world.tmp / "moodledata")

    @property
    def company(self) -> Company:
        return read_companies(self.database, 10).get(1)

    def stack(self) -> dict[str, str]:
        """The stack's resources by the template's names."""
        client = boto3.client("cloudformation", endpoint_url=self.door.url)
        name = f"manireports-{read_site(self.database).site_uid[:8]}-1"
        pages = client.list_stack_resources(StackName=name)["StackResourceSummaries"]
        return {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in pages}

    def keys(self) -> dict[str, str]:
        """The worker's keys, as the secret has them."""
        client = boto3.client("secretsmanager", endpoint_url=self.door.url)
        text = client.get_secret_value(SecretId=self.stack()["WorkerKeys"])["SecretString"]
        return dict(pair.split(":") for pair in text.split(","))

    @contextmanager
    def worker(self) -> Iterator[CallbackPage]:
        """The function as the template makes it, at work."""
        company, stack = self.company, self.stack()
        page = CallbackPage(self.database, self.keys, accept)
        environment = {
            "TABLE": company.ledger_table,
            "SITE_UID": read_site(self.database).site_uid,
            "SECRET_ARN": stack["WorkerKeys"],
            "QUEUE_URL": company.sqs_queue_url,
            "RESULTS_QUEUE_URL": company.results_queue_url,
            "CALLBACK_URL": page.url,
            "CONFIGURATION_SET": company.ses_configuration_set,
            "MAX_RATE": "14",
            "MAX_RECEIVES": "20",
        }
        with closing(page), changed_environment(environment):
            loop = LambdaLoop(company.sqs_queue_url, load_handler, functions=1)
            try:
                yield page
            finally:
                loop.close()

    def run(self, *arguments: str, ok: bool = True) -> str:
        """Run a command; what it printed."""
        done = call_sidecar(self.world.config, *arguments)
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout if "--json" in arguments else done.stdout + done.stderr


@pytest.fixture
def account(world: World) -> Iterator[Account]:
    teach_moto()
    with cloud(DOMAIN) as running, closing(AwsDoor(running.endpoint)) as door:
        world.config = world.write_config(world.url, aws_endpoint_url=door.url)
        made = Account(world, running, door)
        yield made
        made.database.close()


@pytest.mark.slow
def test_from_nothing_to_the_first_job(account: Account) -> None:
    world, door = account.world, account.door
    said = account.run(*DEPLOY, "--no-verify")
    assert f"token0._domainkey.{DOMAIN}  CNAME  token0.dkim.amazonses.com" in said
    assert "SES takes 14 mails a second" in said
    company, stack = account.company, account.stack()
    assert company.sqs_queue_url == stack["JobsQueue"]
    assert company.results_queue_url == stack["ResultsQueue"]
    assert company.feedback_queue_url == stack["FeedbackQueue"]
    assert company.ledger_table == stack["Ledger"]
    assert company.ses_configuration_set == stack["ConfigurationSet"]
    assert (company.aws_region, company.enabled, company.provider) == ("eu-west-1", True, "smtp")
    assert account.keys() == {company.callback_key: account.vault.reveal(company.callback_secret)}
    secret = account.vault.reveal(company.aws_secret_key)
    assert secret
    assert secret not in said
    assert account.keys()[company.callback_key] not in said

    # The sender is not verified: nothing is sent, and the exit code says so.
    assert "not verified yet" in account.run("aws", "verify", "--company", "1", ok=False)
    assert not account.cloud.received()

    # Again: what is there stays, and now everything works.
    door.identities[DOMAIN] = True
    with account.worker():
        said = account.run(*DEPLOY, "--rate", "7.5")
        assert "SES took a mail to success@simulator.amazonses.com" in said
        assert account.company.aws_access_key == company.aws_access_key
        assert account.company.callback_key == company.callback_key
        (mail,) = account.cloud.received()
        assert mail.recipients == ("success@simulator.amazonses.com",)

        world.command("company", "set", "1", "--provider", "aws")
        people = world.site.add_users(1, 25)
        world.site.queue("user_create", 1, people)
        world.drain()
        assert world.states() == {"sent": 25}

        # New keys for all while the daemon works.
        with world.start() as daemon:
            daemon.wait_for_line("leading this site", 60)
            said = account.run("aws", "rotate", "--company", "1")
            assert "the old one is removed" in said
            rotated = account.company
            assert rotated.callback_key != company.callback_key
            assert rotated.callback_key_old == company.callback_key
            assert set(account.keys()) == {rotated.callback_key, company.callback_key}
            assert account.vault.reveal(rotated.aws_access_key) != account.vault.reveal(
                company.aws_access_key
            )
            more = world.site.add_users(1, 15)
            world.site.queue("user_create", 1, more)
            wait_for(lambda: world.states() == {"sent": 40}, 60, "all are sent")
            said = account.run("aws", "verify", "--company", "1", "--json")
            assert [step["level"] for step in json.loads(said)] == ["ok"] * 5
            assert daemon.stop() == 0
    found = json.loads(account.run("aws", "status", "--company", "1", "--json"))
    assert found["quota"]["sent_today"] == 1234
    assert {each["name"]: each["waiting"] for each in found["queues"]} == {
        "jobs queue": 0, "dead-letter queue": 0, "results queue": 0, "feedback queue": 0,
    }  # fmt: skip
    assert "1,234 of 50,000 in 24 hours, 14 a second" in account.run(
        "aws", "status", "--company", "1"
    )


def test_what_the_queue_gave_up_is_sent_after_a_redrive(account: Account) -> None:
    world = account.world
    account.door.identities[DOMAIN] = True
    account.run(*DEPLOY, "--no-verify")
    world.command("company", "set", "1", "--provider", "aws")
    assert "is empty" in account.run("aws", "redrive", "--company", "1")
    people = world.site.add_users(1, 12)
    world.site.queue("user_create", 1, people)
    sqs = boto3.client("sqs", endpoint_url=account.door.url)
    company, dead = account.company, account.stack()["DeadLetterQueue"]
    with world.start() as daemon:
        wait_for(lambda: world.accepted() == 1, 60, "all are queued")
        assert daemon.stop() == 0
    (planned,) = json.loads(account.run("plan", "--json"))
    assert (planned["mails"], planned["provider"]) == (12, "aws")
    assert planned["cost"]["seconds"] == pytest.approx(12 / 14)
    assert planned["cost"]["requests"]["SES"] == 12
    assert "Costs are list prices" in account.run("plan", "1")
    taken = sqs.receive_message(QueueUrl=company.sqs_queue_url, WaitTimeSeconds=10)
    for message in taken["Messages"]:
        sqs.send_message(QueueUrl=dead, MessageBody=message["Body"], MessageGroupId="1")
        sqs.delete_message(QueueUrl=company.sqs_queue_url, ReceiptHandle=message["ReceiptHandle"])
    looked = account.run("aws", "verify", "--company", "1", "--no-mail")
    assert "1 messages: `aws redrive`" in looked
    assert "1 messages are in the jobs queue again" in account.run(
        "aws", "redrive", "--company", "1", "--yes"
    )
    with account.worker():
        world.drain()
    assert world.states() == {"sent": 12}
    assert len(account.cloud.received()) == 12


def test_verify_says_what_is_wrong_and_sends_nothing(account: Account) -> None:
    door = account.door
    assert "no jobs queue is set" in account.run("aws", "verify", "--company", "1", ok=False)
    door.identities[DOMAIN] = True
    account.run(*DEPLOY, "--no-verify")
    door.production, door.enforcement = False, "PROBATION"
    looked = account.run("aws", "verify", "--company", "1", "--no-mail")
    assert "PROBATION" in looked
    door.enforcement = "HEALTHY"
    assert "sandbox" in account.run("aws", "verify", "--company", "1", "--no-mail")
    door.sending = False
    assert "switched off" in account.run("aws", "verify", "--company", "1", ok=False)
    # Nobody works the queue: the mail does not come back.
    door.sending = door.production = True
    said = account.run("aws", "verify", "--company", "1", "--wait", "1", ok=False)
    assert "nobody has told what became of the test mail" in said
    assert not account.cloud.received()


def test_a_company_may_act_by_a_role_of_another_account(account: Account) -> None:
    """The role's principal is a user of ours; the external id is what keeps others out."""
    principal = "arn:aws:iam::210987654321:user/manireports"
    options = ("--principal", principal, "--external-id", "acme-2026", "--no-verify")
    said = account.run(*DEPLOY, *options)
    assert "the sidecar acts by a role" in said
    company = account.company
    assert company.aws_role_arn.startswith("arn:aws:iam::123456789012:role/")
    assert company.aws_external_id == "acme-2026"
    assert "SidecarUser" not in account.stack()
    account.world.command("company", "set", "1", "--aws-access-key", "AKIAOFANOTHERACCOUNT")
    done = run_sidecar(
        account.world.config, "company", "set", "1", "--aws-secret-key", input="a-secret-of-it\n"
    )
    assert done.returncode == 0
    account.door.identities[DOMAIN] = True
    with account.worker():
        assert "SES took a mail" in account.run("aws", "verify", "--company", "1")
    assert account.door.calls["sts:AssumeRole"] >= 1
