"""What became of mails, written together."""

from collections.abc import Sequence

import pytest

from sidecar.lifecycle import Recipient
from sidecar.mail import Outcome
from sidecar.store.outcomes import apply_outcomes
from tests.support.books import Books


@pytest.mark.parametrize(("started", "sent"), [(0, 1), (1, 0), (1, 2), (3, 3)])
def test_outcomes_of_any_number_are_written_together(books: Books, started: int, sent: int) -> None:
    job = books.capture(started + sent)
    begin, end = job.mails[:started], job.mails[started:]

    def outcomes(mails: Sequence[int], status: Recipient) -> list[Outcome]:
        return [Outcome(mail, job.batch, status) for mail in mails]

    with books.write() as tx:
        assert not apply_outcomes(tx, books.database, outcomes(end, Recipient.PROCESSING))
    together = [*outcomes(begin, Recipient.PROCESSING), *outcomes(end, Recipient.SENT)]
    with books.write() as tx:
        assert not apply_outcomes(tx, books.database, together)
    for mail in begin:
        row = books.mail(mail)
        assert (row.status, row.tries, row.sent_at) == ("processing", 0, None)
    for mail in end:
        row = books.mail(mail)
        assert (row.status, row.tries, row.sent_at) == ("sent", 1, row.timemodified)
    with books.write() as tx:  # once more: what is sent cannot start
        refused = apply_outcomes(tx, books.database, outcomes(end, Recipient.PROCESSING))
    assert {outcome.mail_id for outcome in refused} == set(end)
