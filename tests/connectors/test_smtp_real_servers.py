"""Real mail servers, not our sink: ``SMTP_SERVERS="127.0.0.1:25 …" pytest THIS_FILE``.

Each must take mail to example.test for anybody and deliver it nowhere; CONTRIBUTING.md has the
settings of Postfix, Exim and OpenSMTPD for that.
"""

import os

import pytest

from sidecar.connectors.base import Verdict
from sidecar.connectors.smtp_servers import SmtpServer
from sidecar.lifecycle import Recipient
from tests.connectors.mails import make_batch
from tests.connectors.smtp_rig import Make, submit

SERVERS = os.environ.get("SMTP_SERVERS", "").split()
BATCHES, MAILS = 10, 100


@pytest.mark.skipif(not SERVERS, reason="SMTP_SERVERS names no real mail server")
@pytest.mark.parametrize("server", SERVERS)
def test_a_real_server_takes_every_mail(make: Make, server: str) -> None:
    host, _, port = server.rpartition(":")
    connector = make(servers=[SmtpServer(host, int(port), helo="localhost")], max_connections=8)
    assert connector.probe().ok
    batches = [make_batch(MAILS) for _ in range(BATCHES)]
    submissions, ledger = submit(connector, *batches)
    assert {submission.verdict for submission in submissions} == {Verdict.ACCEPTED}
    states = ledger.states(mail for batch in batches for mail in batch.mails)
    assert states == {Recipient.SENT: BATCHES * MAILS}
    assert set(ledger.tries.values()) == {1}
