"""What every connector must do, whatever its provider: derive from ``ConnectorContract``.

A new connector gives its provider in six moods, as fixtures, and gets these tests.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from sidecar.connectors.base import Collected, Connector, Revocation, Submission, Verdict
from sidecar.errors import ConnectorError, DatabaseError, LeaseLostError, SidecarError
from sidecar.lifecycle import ENDED, Recipient
from sidecar.mail import Content, Mail, MailBatch
from tests.connectors.ledger import Ledger
from tests.connectors.mails import make_batch, make_mail
from tests.support.wait import wait_for

BAD_ADDRESS = "nobody@example.test"
REFUSED = {Verdict.REFUSED, Verdict.REFUSED_FOR_GOOD}


@dataclass(frozen=True)
class Provider:
    """A connector and the provider behind it.

    taken: the Message-IDs of the mails that the provider took responsibility for, one for each
    time that it did. heal: end the trouble that the fixture's name promises. report: have a worker
    say so in the results queue; only where outcomes come later.
    """

    connector: Connector
    taken: Callable[[], list[str]]
    heal: Callable[[], None] = lambda: None
    report: Callable[[str], None] | None = None


class ConnectorContract:
    """Derive, name it Test…, and override the fixtures.

    in_flight: the most mails that the connector has in flight, if it learns outcomes at once.
    appetite: the most batches that it has asked for and not yet handed over.
    """

    in_flight: ClassVar[int] = 4
    appetite: ClassVar[int] = 5

    @pytest.fixture
    def healthy(self) -> Provider:
        """Takes everything."""
        raise NotImplementedError

    @pytest.fixture
    def wrong_credentials(self) -> Provider:
        """Refuses us for good."""
        raise NotImplementedError

    @pytest.fixture
    def unreachable(self) -> Provider:
        """Nobody answers."""
        raise NotImplementedError

    @pytest.fixture
    def picky(self) -> Provider:
        """Refuses mail to BAD_ADDRESS for good."""
        raise NotImplementedError

    @pytest.fixture
    def failing(self) -> Provider:
        """Takes a few mails, then is gone until healed."""
        raise NotImplementedError

    @pytest.fixture
    def throttling(self) -> Provider:
        """Wants us to come later, until healed."""
        raise NotImplementedError

    # Handing over

    def test_every_mail_of_every_batch_is_taken_once(self, healthy: Provider) -> None:
        batches = [make_batch(size) for size in (20, 1, 0, 7, 20)]
        ledger = Ledger()
        submissions = list(healthy.connector.submit(iter(batches), ledger))
        assert_one_each(submissions, batches)
        assert {s.verdict for s in submissions} == {Verdict.ACCEPTED}
        assert Counter(healthy.taken()) == Counter(ids(batches))
        if healthy.connector.learns_at_once:
            assert ledger.states(mails_of(batches)) == {Recipient.SENT: 48}
        else:
            assert not ledger.calls

    def test_no_batch_is_no_work(self, healthy: Provider) -> None:
        assert list(healthy.connector.submit(iter(()), Ledger())) == []

    def test_a_batch_is_answered_only_when_its_mails_are(self, healthy: Provider) -> None:
        batches = {batch.id: batch for batch in (make_batch(8) for _ in range(4))}
        ledger = Ledger()
        for submission in healthy.connector.submit(iter(batches.values()), ledger):
            assert submission.verdict is Verdict.ACCEPTED
            mails = batches[submission.batch_id].mails
            assert set(healthy.taken()) >= {mail.message_id for mail in mails}
            if healthy.connector.learns_at_once:
                assert ledger.states(mails).keys() <= ENDED | {Recipient.PENDING}

    def test_nothing_leaves_before_it_is_committed_as_processing(self, healthy: Provider) -> None:
        learning_at_once(healthy)
        batches = [make_batch(10) for _ in range(4)]
        started: set[str] = set()
        by_id = {mail.id: mail.message_id for mail in mails_of(batches)}

        def check(_: int) -> None:
            started.update(by_id[mail_id] for mail_id in ledger.started)
            assert set(healthy.taken()) <= started

        ledger = Ledger(check)
        list(healthy.connector.submit(iter(batches), ledger))
        assert set(ledger.started.values()) == {1}
        assert ledger.most_in_flight <= self.in_flight

    def test_a_mail_that_may_not_be_processed_is_not_sent(self, healthy: Provider) -> None:
        learning_at_once(healthy)
        batch = make_batch(10)
        ledger = Ledger()
        ledger.cancelled = {mail.id for mail in batch.mails[2:9]}
        (submission,) = healthy.connector.submit(iter([batch]), ledger)
        assert submission.verdict is Verdict.ACCEPTED
        assert set(healthy.taken()) == {
            mail.message_id for mail in batch.mails if mail.id not in ledger.cancelled
        }

    def test_batches_are_asked_for_only_when_there_is_room(self, healthy: Provider) -> None:
        asked: list[MailBatch] = []

        def batches() -> Iterator[MailBatch]:
            for _ in range(30):
                taken = set(healthy.taken())
                assert sum(not taken.issuperset(ids([batch])) for batch in asked) < self.appetite
                asked.append(make_batch(3))
                yield asked[-1]

        submissions = healthy.connector.submit(batches(), Ledger())
        answered = list(itertools.islice(submissions, 3))
        close(submissions)
        assert len(answered) == 3
        taken = Counter(healthy.taken())
        assert set(taken.values()) == {1}
        assert taken.keys() <= set(ids(asked))

    def test_several_submits_at_once(self, healthy: Provider) -> None:
        batches = [make_batch(20) for _ in range(6)]
        ledger = Ledger()
        found: list[Submission] = []

        def submit(part: list[MailBatch]) -> None:
            found.extend(healthy.connector.submit(iter(part), ledger))

        threads = [threading.Thread(target=submit, args=[batches[i::3]]) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert_one_each(found, batches)
        assert Counter(healthy.taken()) == Counter(ids(batches))

    # Refusals

    def test_wrong_credentials_charge_no_mail(self, wrong_credentials: Provider) -> None:
        batches = [make_batch(5) for _ in range(3)]
        ledger = Ledger()
        submissions = list(wrong_credentials.connector.submit(iter(batches), ledger))
        assert_one_each(submissions, batches)
        assert {s.verdict for s in submissions} == {Verdict.REFUSED_FOR_GOOD}
        assert all(s.code and s.reason for s in submissions)
        assert_untouched(wrong_credentials, ledger, batches)

    def test_an_unreachable_provider_charges_no_mail(self, unreachable: Provider) -> None:
        batches = [make_batch(5) for _ in range(3)]
        ledger = Ledger()
        submissions = list(unreachable.connector.submit(iter(batches), ledger))
        assert_one_each(submissions, batches)
        assert {s.verdict for s in submissions} == {Verdict.REFUSED}
        assert all(s.reason for s in submissions)
        assert_untouched(unreachable, ledger, batches)

    def test_throttling_charges_no_mail_and_passes(self, throttling: Provider) -> None:
        batches = [make_batch(5) for _ in range(3)]
        ledger = Ledger()
        submissions = list(throttling.connector.submit(iter(batches), ledger))
        assert_one_each(submissions, batches)
        assert {s.verdict for s in submissions} == {Verdict.REFUSED}
        assert_untouched(throttling, ledger, batches)
        throttling.heal()
        again = list(throttling.connector.submit(iter(batches), ledger))
        assert {s.verdict for s in again} == {Verdict.ACCEPTED}
        assert Counter(throttling.taken()) == Counter(ids(batches))

    def test_one_bad_mail_does_not_spoil_its_batch(self, picky: Provider) -> None:
        learning_at_once(picky)
        bad = make_mail(BAD_ADDRESS)
        batch = make_batch(
            [*(make_mail() for _ in range(4)), bad, *(make_mail() for _ in range(5))]
        )
        ledger = Ledger()
        (submission,) = picky.connector.submit(iter([batch]), ledger)
        assert submission.verdict is Verdict.ACCEPTED
        assert ledger.states(batch.mails) == {Recipient.SENT: 9, Recipient.PERMANENTLY_FAILED: 1}
        assert ledger.state[bad.id] is Recipient.PERMANENTLY_FAILED
        assert ledger.outcome[bad.id].error_code
        assert ledger.outcome[bad.id].error
        assert bad.message_id not in picky.taken()

    @pytest.mark.parametrize(
        "changes",
        [
            {"content": Content("x\r\nBcc: everybody@example.test", "", "")},
            {"content": Content("x", "\udc80", "")},
            {"to": "a@b.test\r\nRCPT TO:<c@d.test>"},
            {"to": "a@b.test,c@d.test"},
            {"headers": (("Cc", "a\r\n\r\nbody"),)},
        ],
    )
    def test_a_mail_that_cannot_be_sent_fails_alone(
        self, healthy: Provider, changes: dict[str, Any]
    ) -> None:
        learning_at_once(healthy)
        bad = make_mail(**changes)
        batch = make_batch([make_mail(), bad, make_mail()])
        ledger = Ledger()
        (submission,) = healthy.connector.submit(iter([batch]), ledger)
        assert submission.verdict is Verdict.ACCEPTED
        assert ledger.states(batch.mails) == {Recipient.SENT: 2, Recipient.PERMANENTLY_FAILED: 1}
        assert ledger.outcome[bad.id].error
        assert len(healthy.taken()) == 2

    def test_a_provider_that_fails_in_between_loses_and_doubles_nothing(
        self, failing: Provider
    ) -> None:
        batches = [make_batch(10) for _ in range(3)]
        ledger = Ledger()
        submissions = list(failing.connector.submit(iter(batches), ledger))
        assert_one_each(submissions, batches)
        assert any(s.verdict in REFUSED for s in submissions)
        failing.heal()
        for _ in range(5):
            left = [rest for s in submissions if (rest := left_of(failing, s, batches, ledger))]
            if not left:
                break
            submissions = list(failing.connector.submit(iter(left), ledger))
        assert not left
        unknown = {
            m.message_id for m in mails_of(batches) if ledger.state[m.id] is Recipient.UNKNOWN
        }
        taken = Counter(failing.taken())
        assert set(taken.values()) == {1}
        assert taken.keys() >= set(ids(batches)) - unknown

    # Errors of our own

    @pytest.mark.parametrize("error", [LeaseLostError, DatabaseError])
    @pytest.mark.parametrize("call", [1, 2, 9])
    def test_a_report_that_fails_stops_the_sending(
        self, healthy: Provider, error: type[SidecarError], call: int
    ) -> None:
        learning_at_once(healthy)

        def fail(number: int) -> None:
            if number >= call:
                raise error

        batches = [make_batch(10) for _ in range(10)]
        ledger = Ledger(fail)
        with pytest.raises(error):
            list(healthy.connector.submit(iter(batches), ledger))
        by_id = {mail.id: mail.message_id for mail in mails_of(batches)}
        committed = {by_id[mail_id] for mail_id in ledger.started}
        taken = healthy.taken()
        assert set(taken) <= committed
        started = [o for said in ledger.calls for o in said if o.status is Recipient.PROCESSING]
        assert len(ledger.calls) <= call - 1
        assert len(taken) == len(set(taken)) <= len(started)

    def test_an_error_of_the_batches_is_raised(self, healthy: Provider) -> None:
        def batches() -> Iterator[MailBatch]:
            yield make_batch(3)
            raise DatabaseError

        with pytest.raises(DatabaseError):
            list(healthy.connector.submit(batches(), Ledger()))

    # Results, and taking back

    def test_what_is_not_there_is_not_collected(self, healthy: Provider) -> None:
        list(healthy.connector.submit(iter([make_batch(3)]), Ledger()))
        assert healthy.connector.collect() == []
        healthy.connector.forget([])

    def test_a_result_comes_again_until_it_is_forgotten(self, healthy: Provider) -> None:
        report = learning_later(healthy)
        sent = {f'{{"number":{number}}}' for number in range(12)}
        for body in sent:
            report(body)
        for _ in range(2):
            found = collect(healthy, 12)
            assert {result.body for result in found.values()} == sent
        first, second, *_ = found.values()
        healthy.connector.forget([first.receipt, second.receipt])
        left = sent - {first.body, second.body}
        found = collect(healthy, 10)
        assert {result.body for result in found.values()} == left
        healthy.connector.forget([result.receipt for result in found.values()])
        assert healthy.connector.collect() == []

    @pytest.mark.parametrize("mood", ["wrong_credentials", "unreachable", "throttling"])
    def test_trouble_is_no_empty_answer(self, mood: str, request: pytest.FixtureRequest) -> None:
        provider: Provider = request.getfixturevalue(mood)
        assert provider.connector.depth() is None
        if provider.connector.learns_at_once:
            assert provider.connector.collect() == []
            return
        mail = Revocation("ab" * 16, "cd" * 32, 0)
        with pytest.raises(ConnectorError):
            provider.connector.collect()
        with pytest.raises(ConnectorError):
            provider.connector.forget(["a receipt"])
        with pytest.raises(ConnectorError):
            provider.connector.revoke([mail])

    def test_mails_are_revoked_surely_or_not_at_all(self, healthy: Provider) -> None:
        batch = make_batch(3)
        list(healthy.connector.submit(iter([batch]), Ledger()))
        mails = [Revocation(batch.batch_key, mail.mail_key, 0) for mail in batch.mails]
        assert healthy.connector.revoke([]) == frozenset()
        revoked = healthy.connector.revoke(mails[:2])
        if healthy.connector.learns_at_once:
            assert revoked == frozenset()
        else:
            assert revoked == {mail.mail_key for mail in mails[:2]}
            assert healthy.connector.revoke(mails) == {mail.mail_key for mail in mails}

    def test_the_depth_is_what_waits_there(self, healthy: Provider) -> None:
        if healthy.connector.learns_at_once:
            assert healthy.connector.depth() is None
            return
        assert healthy.connector.depth() == 0
        list(healthy.connector.submit(iter([make_batch(2), make_batch(2)]), Ledger()))
        assert healthy.connector.depth() == 2

    # Probing and closing

    def test_probe_of_a_healthy_provider(self, healthy: Provider) -> None:
        probe = healthy.connector.probe()
        assert probe.ok
        assert probe.detail
        assert not healthy.taken()

    @pytest.mark.parametrize("mood", ["wrong_credentials", "unreachable", "throttling"])
    def test_probe_of_a_provider_in_trouble(
        self, mood: str, request: pytest.FixtureRequest
    ) -> None:
        provider: Provider = request.getfixturevalue(mood)
        probe = provider.connector.probe()
        assert not probe.ok
        assert probe.detail
        assert not provider.taken()

    def test_close_finishes_what_is_in_flight_and_takes_nothing_new(
        self, healthy: Provider
    ) -> None:
        asked: list[MailBatch] = []

        def batches() -> Iterator[MailBatch]:
            while True:
                asked.append(make_batch(10))
                yield asked[-1]

        ledger = Ledger()
        found: list[Submission] = []
        submitting = threading.Thread(
            target=lambda: found.extend(healthy.connector.submit(batches(), ledger))
        )
        submitting.start()
        wait_for(lambda: len(healthy.taken()) > 20, 30, "it is sending")
        healthy.connector.close(time.monotonic() + 30)
        taken = Counter(healthy.taken())
        submitting.join(30)
        assert not submitting.is_alive()
        assert_one_each(found, asked)
        assert Counter(healthy.taken()) == taken
        assert set(taken.values()) == {1}
        if healthy.connector.learns_at_once:
            states = ledger.states(mails_of(asked))
            assert states.keys() <= {Recipient.SENT, Recipient.PENDING}
            assert states[Recipient.SENT] == len(taken)

    def test_after_close_nothing_is_asked_for(self, healthy: Provider) -> None:
        healthy.connector.close(time.monotonic() + 5)
        batches = iter([make_batch(3)])
        assert list(healthy.connector.submit(batches, Ledger())) == []
        assert len(list(batches)) == 1
        assert not healthy.taken()


def learning_at_once(provider: Provider) -> None:
    """Skip a test of what only connectors do that learn outcomes at once."""
    if not provider.connector.learns_at_once:
        pytest.skip("this connector's outcomes come later")


def learning_later(provider: Provider) -> Callable[[str], None]:
    """How results come; skip where they do not."""
    if provider.connector.learns_at_once:
        pytest.skip("this connector's outcomes come at once")
    assert provider.report
    return provider.report


def collect(provider: Provider, number: int) -> dict[str, Collected]:
    """Collect until so many different results were seen, by their body."""
    found: dict[str, Collected] = {}

    def all_of_them() -> bool:
        found.update((result.body, result) for result in provider.connector.collect())
        return len(found) >= number

    wait_for(all_of_them, 30, f"{number} results")
    return found


def left_of(
    provider: Provider, submission: Submission, batches: list[MailBatch], ledger: Ledger
) -> MailBatch | None:
    """What of the batch is still to be submitted, as dispatch would see it."""
    batch = next(batch for batch in batches if batch.id == submission.batch_id)
    if not provider.connector.learns_at_once:
        return batch if submission.verdict in REFUSED else None
    mails = tuple(m for m in batch.mails if ledger.state[m.id] is Recipient.PENDING)
    return MailBatch(batch.id, batch.batch_key, 1, 1, 2, mails) if mails else None


def mails_of(batches: list[MailBatch]) -> list[Mail]:
    return [mail for batch in batches for mail in batch.mails]


def ids(batches: list[MailBatch]) -> list[str]:
    return [mail.message_id for mail in mails_of(batches)]


def assert_one_each(submissions: list[Submission], batches: list[MailBatch]) -> None:
    assert sorted(s.batch_id for s in submissions) == sorted(batch.id for batch in batches)


def assert_untouched(provider: Provider, ledger: Ledger, batches: list[MailBatch]) -> None:
    assert not provider.taken()
    assert ledger.states(mails_of(batches)).keys() == {Recipient.PENDING}
    assert not ledger.tries


def close(submissions: object) -> None:
    """Leave an iteration early."""
    assert isinstance(submissions, Iterator)
    if callable(end := getattr(submissions, "close", None)):
        end()
