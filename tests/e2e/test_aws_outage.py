"""AWS fails in the middle of a job: what moves was never sent by it, and nothing is lost."""

import os

import pytest

from tests.e2e.aws import Stormy
from tests.support.aws_door import Break, Call, Outage, Trouble
from tests.support.wait import wait_for

MAILS = int(os.environ.get("AWS_TEST_MAILS", "200"))
"""Of each company; the proof of record is made with 5,000."""
FALLBACKS = {1: "moodle", 2: "smtp", 3: "hold"}


class Companies:
    """A job for each way to fall back, all at the same AWS; one of them has a key of its own."""

    def __init__(self, aws: Stormy) -> None:
        self._aws = aws
        self.addresses: dict[int, set[str]] = {}
        site = aws.world.site
        aws.enable(0)
        for company, fallback in FALLBACKS.items():
            if company != 1:
                site.add_company(company, f"Company {company}")
            options = ("--enable", "--provider", "aws", "--fallback", fallback)
            aws.world.command("company", "set", str(company), *options, "--max-send-rate", "1")
            people = site.add_users(company, MAILS)
            site.queue("user_create", company, people)
            self.addresses[company] = {person.email for person in people}

    def let_all_leave(self) -> None:
        """Until now a few minutes' mail was at AWS."""
        for company in FALLBACKS:
            self._aws.world.command("company", "set", str(company), "--max-send-rate", "0")

    def least(self) -> int:
        """The fewest mails that AWS has sent of any company."""
        served = set(self._aws.rcpts())
        return min(len(served & addresses) for addresses in self.addresses.values())

    def states(self, company: int) -> dict[str, int]:
        """A company's mails by state."""
        rows = self._aws.world.sql(
            "SELECT r.status, COUNT(*) FROM mdl_manireports_cloud_recipients r"
            " JOIN mdl_manireports_cloud_jobs j ON j.id = r.job_id"
            " WHERE j.company_id = :company GROUP BY r.status",
            company=company,
        )
        return {row[0]: row[1] for row in rows}

    def ended(self, company: int, *states: str) -> bool:
        """Whether all of a company's mails are in these states."""
        found = self.states(company)
        return sum(found.get(state, 0) for state in states) == MAILS


@pytest.mark.slow
def test_an_outage_in_the_middle_of_jobs(stormy: Stormy) -> None:
    aws, world = stormy, stormy.world
    aws.write_config(give_up_after=1, result_timeout=20)
    companies = Companies(aws)
    aws.door.plan = outage = Outage("sqs")
    with world.start() as daemon:
        daemon.wait_for_line("leading this site", 90)
        with aws.worker():
            wait_for(lambda: companies.least() >= MAILS // 6, 60 + MAILS / 4, "a part is sent")
        outage.on = True
        # What waits for the worker is in the queue; the rest of the jobs has not left.
        companies.let_all_leave()
        before = set(aws.rcpts())
        patience = 120 + MAILS / 10
        wait_for(lambda: companies.ended(1, "sent", "returned"), patience, "the rest is Moodle's")
        wait_for(lambda: companies.ended(2, "sent"), patience, "the rest went by SMTP")
        assert not companies.ended(3, "sent")
        outage.on = False
        with aws.worker():
            wait_for(lambda: companies.ended(3, "sent"), 2 * patience, "AWS is back: all is sent")
            # The worker looks at what was in the queue all the time: it was taken back.
            wait_for(lambda: aws.queued() == 0, patience, "the queue is empty")
        assert daemon.stop() == 0
    by_aws, by_smtp = aws.rcpts(), world.rcpts()
    assert before <= set(by_aws)
    assert max(by_aws.values()) == max(by_smtp.values()) == 1
    assert not by_aws.keys() & by_smtp.keys()
    handed_back, by_mail_server, held = companies.addresses.values()
    assert not by_smtp.keys() & (handed_back | held)
    assert held <= by_aws.keys()
    assert by_mail_server == (by_aws.keys() | by_smtp.keys()) & by_mail_server
    sent = len(handed_back & by_aws.keys())
    assert companies.states(1) == {"sent": sent, "returned": MAILS - sent}
    assert world.unsent() == MAILS - sent
    assert aws.ledger_difference() == 0
    print(
        f"{MAILS:,} mails a company: {sent:,} by AWS and {MAILS - sent:,} Moodle's;"
        f" {len(by_mail_server & by_aws.keys()):,} by AWS and {len(by_smtp):,} by SMTP;"
        f" {len(held & before):,} by AWS before and {len(held - before):,} after; none twice"
    )


def test_a_ledger_that_never_answers_holds_up_no_other_company(stormy: Stormy) -> None:
    """What is taken back when a provider is down is asked for where it keeps nobody waiting."""
    aws, world = stormy, stormy.world
    world.command("company", "set", "1", "--fallback", "moodle")
    world.site.add_company(2, "Beta Learning")
    world.command("company", "set", "2", "--provider", "smtp", "--enable")
    aws.write_config(give_up_after=0.1)
    out = False

    def plan(call: Call) -> Trouble:
        if not out:
            return None
        return Break.HANG if call.service == "dynamodb" else Break.DROP

    aws.door.plan = plan
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    with world.start() as daemon:
        wait_for(lambda: aws.queued() == 1, 60, "a batch is at AWS")
        out = True
        world.site.queue("user_create", 1, world.site.add_users(1, 12))
        daemon.wait_for_line("waits 5 s", 60)
        wait_for(lambda: aws.door.calls["dynamodb:GetItem"], 60, "the ledger is asked")
        theirs = world.site.add_users(2, 15)
        world.site.queue("user_create", 2, theirs)
        wait_for(lambda: len(world.rcpts()) == 15, 20, "their mails")
        assert aws.door.calls["dynamodb:GetItem"] == 1  # which has not been answered yet
