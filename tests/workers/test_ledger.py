"""Nobody gets a mail twice: claims, leases, revocations, messages that come twice."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_workers.aws import lambda_handler
from cloud_workers.aws.lambda_handler import claimable
from sidecar.connectors.accounts import AwsAccount
from sidecar.connectors.aws_client import AwsClients
from sidecar.connectors.aws_ledger import Ledger
from sidecar.connectors.base import Revocation
from sidecar.mail import Mail, MailBatch
from sidecar.message import BatchStatus, MailStatus
from tests.support.wait import wait_for
from tests.workers.rig import (
    CREDENTIALS,
    KEY,
    REGION,
    SITE,
    Mood,
    Refuse,
    Rig,
    make_batch,
    retried,
    statuses,
)

numbers = st.integers(0, 4)
entries = st.fixed_dictionaries(
    {"s": st.sampled_from("csrfux"), "g": numbers, "a": numbers, "m": st.just("")}
)


@given(entries, numbers, numbers)
def test_who_may_claim(entry: dict[str, Any], generation: int, attempt: int) -> None:
    asked_again = generation > entry["g"]
    later = asked_again or (generation == entry["g"] and attempt > entry["a"])
    wanted = {"r": later, "f": asked_again}.get(entry["s"], False)
    assert claimable(entry, generation, attempt) is wanted
    assert claimable(None, generation, attempt)


@contextmanager
def revoker(rig: Rig) -> Iterator[Ledger]:
    """The sidecar's own hand on the ledger."""
    account = AwsAccount(
        region=REGION,
        access_key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        queue_url=rig.queue,
        site_uid=SITE,
        key=KEY,
        ledger_table=rig.name,
        endpoint_url=rig.endpoint,
    )
    clients = AwsClients(account, timeout=10, connections=2)
    yield Ledger(clients)
    clients.close()


def revocations(batch: MailBatch, mails: tuple[Mail, ...]) -> list[Revocation]:
    return [
        Revocation(mail.root_batch or batch.batch_key, mail.mail_key, mail.generation)
        for mail in mails
    ]


def keys(*mails: Mail) -> frozenset[str]:
    return frozenset(mail.mail_key for mail in mails)


# The same message twice


def test_a_message_that_comes_again_is_reported_again(rig: Rig) -> None:
    batch = make_batch(12)
    rig.ask(batch)
    rig.run()
    rig.ask(batch)
    assert rig.run() == 0
    assert rig.ses.times() == Counter({mail.mail_key: 1 for mail in batch.mails})
    first, second = rig.reports()
    assert first == second  # the inbox drops it: it says nothing new


def test_a_new_ask_of_a_finished_batch_is_answered(rig: Rig) -> None:
    """The sidecar has not got our first report: it needs one that its inbox does not drop."""
    batch = make_batch(3)
    for attempt in (1, 2):
        rig.ask(replace(batch, attempt=attempt))
        assert rig.run() == 0
    first, second = rig.reports()
    assert first.delivery_id != second.delivery_id
    assert (first.recipients, second.attempt) == (second.recipients, 2)
    assert len(rig.ses.taken) == 3


def test_the_same_message_at_two_functions_at_once(rig: Rig) -> None:
    batch = make_batch(30)
    rig.ask(batch)
    rig.ask(batch)
    one, two = rig.receive()["Records"]
    go = threading.Event()
    rig.ses.before = lambda to: go.wait(30)
    first = threading.Thread(target=rig.call, args=({"Records": [one]},))
    first.start()
    wait_for(lambda: rig.ses.asked.total() == 8, 30, "the first is sending")
    assert rig.call({"Records": [two]}) == 1  # goes back until the lease ends
    assert min(rig.delays()) in range(300, 312)
    go.set()
    first.join(30)
    assert not first.is_alive()
    rig.wake()
    assert rig.run() == 0
    assert rig.ses.times() == Counter({mail.mail_key: 1 for mail in batch.mails})
    first_report, second_report = rig.reports()
    assert first_report == second_report


def test_many_functions_and_many_copies(rig: Rig) -> None:
    batches = [make_batch(12) for _ in range(3)]
    for batch in batches * 3:
        rig.ask(batch)
    for _ in range(20):
        events = [{"Records": [record]} for record in rig.receive()["Records"]]
        threads = [threading.Thread(target=rig.call, args=(event,)) for event in events]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        if not rig.delays():
            break
        rig.wake()
    else:
        raise AssertionError("the queue is never empty")
    wanted = Counter({mail.mail_key: 1 for batch in batches for mail in batch.mails})
    assert rig.ses.times() == wanted
    assert {report.status for report in rig.reports()} == {BatchStatus.SENT}


# Retried mails


def test_a_retried_mail_has_its_state_in_the_batch_that_first_carried_it(rig: Rig) -> None:
    batch = make_batch(4)
    bad = batch.mails[1].to
    rig.ses.mood = lambda to, nth: (
        Refuse(400, "MessageRejected", "no") if to == bad and nth == 1 else Mood.TAKE
    )
    rig.ask(batch)
    rig.run()
    assert rig.states(batch) == ["s", "f", "s", "s"]
    child = retried(batch, batch.mails)  # the admin asks for all of them again
    rig.ask(child)
    assert rig.run() == 0
    assert rig.states(batch) == ["s", "s", "s", "s"]
    assert rig.item(child)["mails"] == {"M": {}}
    report = rig.reports()[-1]
    assert (report.batch_key, report.try_) == (child.batch_key, 1)
    assert statuses(report) == {MailStatus.SENT: 4}
    assert set(rig.ses.times().values()) == {1}
    rig.ask(batch)  # the first message comes late: it knows, too
    assert rig.run() == 0
    assert set(rig.ses.times().values()) == {1}


def test_mails_of_many_batches_in_one(rig: Rig) -> None:
    batches = [make_batch(3) for _ in range(5)]
    rig.ses.mood = lambda to, nth: Refuse(400, "Odd", "no") if nth == 1 else Mood.TAKE
    for batch in batches:
        rig.ask(batch)
    assert rig.run() == 0
    again = [retried(batch, batch.mails[:2]).mails for batch in batches]
    child = make_batch([mail for mails in again for mail in mails])
    rig.ask(child)
    assert rig.run() == 0
    assert [rig.states(batch) for batch in batches] == [["s", "s", "r"]] * 5
    assert statuses(rig.reports()[-1]) == {MailStatus.SENT: 10}
    items = [rig.item(batch) for batch in [*batches, child]]
    assert {item["owner"]["S"] for item in items} == {""}


def test_a_lease_of_any_of_its_roots_sends_a_message_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = make_batch(2), make_batch(2)
    rig.ses.mood = lambda to, nth: Refuse(400, "Odd", "no") if nth == 1 else Mood.TAKE
    for batch in (one, two):
        rig.ask(batch)
    rig.run()
    lease(rig, max(one, two, key=lambda batch: batch.batch_key), 100)
    child = make_batch([*retried(one, one.mails).mails, *retried(two, two.mails).mails])
    rig.ask(child)
    assert rig.run() == 1
    assert rig.delays()[0] in range(99, 103)
    assert rig.ses.asked.total() == 4
    free = min(one, two, key=lambda batch: batch.batch_key)
    assert rig.item(free)["owner"] == {"S": ""}
    later = time.time() + 101
    monkeypatch.setattr(lambda_handler, "now", lambda: later)
    rig.wake()
    assert rig.run() == 0
    assert rig.ses.asked.total() == 8


def lease(rig: Rig, batch: MailBatch, seconds: int) -> None:
    """Someone else works on the batch."""
    item = rig.item(batch)
    item |= {"owner": {"S": "someone"}, "until": {"N": str(int(time.time()) + seconds)}}
    item["version"] = {"N": str(int(item["version"]["N"]) + 1)}
    rig.dynamodb.put_item(TableName=rig.name, Item=item)


# Revocation, by the sidecar's own code


def test_what_was_revoked_before_it_was_claimed_is_not_sent(rig: Rig) -> None:
    batch = make_batch(6)
    with revoker(rig) as ledger:
        revoked = ledger.revoke(revocations(batch, batch.mails[:2]))
        assert revoked == keys(*batch.mails[:2])
        rig.ask(batch)
        assert rig.run() == 0
        assert ledger.revoke(revocations(batch, batch.mails)) == revoked
    (report,) = rig.reports()
    assert statuses(report) == {MailStatus.REVOKED: 2, MailStatus.SENT: 4}
    assert len(rig.ses.taken) == 4
    assert rig.states(batch) == ["x", "x", "s", "s", "s", "s"]


def test_what_is_revoked_while_the_batch_is_sent(rig: Rig) -> None:
    batch = make_batch(20)
    revoked: set[str] = set()

    def revoke(to: str) -> None:
        with rig.ses.lock:
            if not revoked:
                with revoker(rig) as ledger:
                    revoked.update(ledger.revoke(revocations(batch, batch.mails)))

    rig.ses.before = revoke
    rig.ask(batch)
    assert rig.run() == 0
    assert revoked == keys(*batch.mails[8:])  # all but the window that was claimed
    assert rig.ses.times() == Counter({mail.mail_key: 1 for mail in batch.mails[:8]})
    (report,) = rig.reports()
    assert statuses(report) == {MailStatus.SENT: 8, MailStatus.REVOKED: 12}
    assert report.final


def test_what_is_revoked_while_it_waits_is_not_tried_again(rig: Rig) -> None:
    batch = make_batch(3)
    rig.ses.mood = lambda to, nth: Refuse(500, "InternalFailure", "oops")
    rig.ask(batch)
    assert rig.run() == 1
    with revoker(rig) as ledger:
        assert ledger.revoke(revocations(batch, batch.mails)) == keys(*batch.mails)
    rig.wake()
    assert rig.run() == 0
    first, last = rig.reports()
    assert (first.final, last.final) == (False, True)
    assert first.delivery_id != last.delivery_id
    assert statuses(last) == {MailStatus.REVOKED: 3}
    assert rig.ses.asked.total() == 3


def test_what_failed_may_be_revoked_and_is_not_asked_again(rig: Rig) -> None:
    batch = make_batch(1)
    rig.ses.mood = lambda to, nth: Refuse(400, "Odd", "no")
    rig.ask(batch)
    rig.run()
    assert rig.states(batch) == ["r"]
    with revoker(rig) as ledger:
        assert ledger.revoke(revocations(batch, batch.mails))
    rig.ask(replace(batch, attempt=2))
    assert rig.run() == 0
    (revoked,) = rig.reports()[-1].recipients
    assert (revoked.status, revoked.error_code) == (MailStatus.REVOKED, "revoked")
    assert rig.ses.asked.total() == 1


# The item


def test_the_item_is_as_both_writers_know_it(rig: Rig) -> None:
    batch = make_batch(2)
    bad = batch.mails[1].to
    rig.ses.mood = lambda to, nth: Refuse(400, "MessageRejected", "x") if to == bad else Mood.TAKE
    rig.ask(batch)
    rig.run()
    item = rig.item(batch)
    assert int(item.pop("version")["N"]) >= 2
    assert abs(int(item.pop("expires")["N"]) - time.time() - 30 * 86400) < 60
    sent, failed = (mail.mail_key[:16] for mail in batch.mails)
    assert item == {
        "batch_key": {"S": batch.batch_key},
        "site_uid": {"S": SITE},
        "owner": {"S": ""},
        "until": {"N": "0"},
        "try": {"N": "1"},
        "asked": {"N": "1"},
        "waits": {"N": "0"},
        "mails": {"M": {sent: entry("s", f"ses-{batch.mails[0].to}"), failed: entry("f")}},
    }


def entry(state: str, note: str = "MessageRejected") -> dict[str, Any]:
    fields = {"s": {"S": state}, "g": {"N": "0"}, "a": {"N": "1"}, "m": {"S": note}}
    return {"M": fields}


def test_what_another_writer_has_noted_is_kept(rig: Rig) -> None:
    batch = make_batch(1)
    with revoker(rig) as ledger:
        ledger.revoke([Revocation(batch.batch_key, "f" * 64, 0)])
    item = rig.item(batch) | {"note": {"SS": ["a", "b"]}}
    rig.dynamodb.put_item(TableName=rig.name, Item=item)
    rig.ask(batch)
    assert rig.run() == 0
    found = rig.item(batch)
    assert set(found["note"]["SS"]) == {"a", "b"}
    assert found["mails"]["M"]["f" * 16]["M"]["s"] == {"S": "x"}
    assert rig.states(batch) == ["s"]


def test_every_touch_renews_the_items_life(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make_batch(1)
    rig.ask(batch)
    rig.run()
    later = time.time() + 20 * 86400
    monkeypatch.setattr(lambda_handler, "now", lambda: later)
    rig.ask(batch)
    rig.run()
    assert int(rig.item(batch)["expires"]["N"]) == int(later) + 30 * 86400
