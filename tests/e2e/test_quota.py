"""The daily quota of a company: what is above it waits, says why, and goes on by itself."""

import json

import pytest

from tests.e2e.aws import AwsWorld
from tests.support.wait import wait_for

LATER = "UPDATE mdl_manireports_cloud_recipients SET sent_at = sent_at - 86400"


@pytest.mark.parametrize("provider", ["aws", "smtp"])
def test_no_more_leave_than_the_quota(aws: AwsWorld, provider: str) -> None:
    world = aws.world
    world.command("company", "set", "1", "--provider", provider, "--daily-quota", "25")
    world.site.queue("user_create", 1, world.site.add_users(1, 40))
    with aws.worker():
        world.drain()  # ends, as it does outside the hours of a company
        assert world.states() == {"sent": 25, "pending": 15}
        world.drain()
        assert world.states() == {"sent": 25, "pending": 15}
        reason = "its quota of 25 mails a day is used up (25 left within 24 hours)"
        shown = json.loads(world.command("job", "1", "--json"))
        assert reason in shown["plan"]["note"]
        assert reason in str(json.loads(world.command("status", "--json"))["blocked"])
        with world.start() as daemon:
            daemon.wait_for_line("mail of company 1 is held: its quota")
            world.sql(LATER)  # as if it were tomorrow
            wait_for(lambda: world.states() == {"sent": 40}, 30, "the rest")
            assert daemon.stop() == 0
    served = aws.rcpts() if provider == "aws" else world.rcpts()
    assert len(served) == 40
    assert max(served.values()) == 1
    assert aws.ledger_difference() == 0
