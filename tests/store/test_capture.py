"""Recipients as they were captured, on each kind of server."""

import json
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DataError, IntegrityError

from sidecar.lifecycle import Recipient
from sidecar.store.capture import CapturedRow, NewRecipient, insert_batch
from tests.support.books import Books

ODD = "Björn 😀 שלום \"q\" 'a' \\ %s {x} $[0] \t\r\n ' ; -- \ufffd end"


def recipient(number: int, **changes: Any) -> NewRecipient:
    key = f"{number:064x}"
    made = NewRecipient("user", f"u{number}@x.test", number, key, key, f"{number}@x.test")
    return made._replace(**changes)


def insert(books: Books, *recipients: NewRecipient) -> int:
    with books.database.connection_for_writing() as conn, conn.begin():
        tx = books.database.enter(conn, books.lease.token)
        return insert_batch(
            tx,
            books.database,
            job_id=7,
            batch_num=1,
            provider="aws",
            stamp=tx.now,
            due=0,
            source=ODD[:30],
            rows=[CapturedRow(5, 2**40, recipients)],
        )


def test_what_is_captured_is_stored_as_it_is(books: Books) -> None:
    plain = recipient(1)
    odd = recipient(
        2**40,
        email="a" * 300,
        data={"name": ODD, "nested": {"n": 1}},
        secret=ODD,
        status=Recipient.PERMANENTLY_FAILED,
        error_code="bad_address",
        error=ODD,
        role="supervisor",
    )
    batch = insert(books, plain, odd)
    first, second = (books.mail(mail) for mail in books.mails(batch))
    assert (first.job_id, first.source, first.source_id, first.source_stamp) == (
        7, ODD[:30], 5, 2**40,
    )  # fmt: skip
    assert (first.status, first.error_code, first.error_message) == ("pending", "", None)
    assert (first.secret, first.tries, first.sent_at, first.retry_of) == (None, 0, None, None)
    assert (first.email, first.recipient_data) == ("u1@x.test", "{}")
    assert first.timemodified > 0
    assert second.email == "a" * 255
    assert json.loads(second.recipient_data) == odd.data
    assert (second.secret, second.error_message, second.userid) == (ODD, ODD, 2**40)
    assert (second.role, second.status) == ("supervisor", "permanently_failed")
    assert (second.email_hash, second.mail_key) == (odd.email_hash, odd.mail_key)
    assert second.message_id == odd.message_id


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"email_hash": "f" * 65}, DataError),
        ({"message_id": "m" * 256}, DataError),
        ({"email_hash": f"{1:064x}"}, IntegrityError),
    ],
    ids=["too long", "too long as well", "there already"],
)
def test_what_cannot_be_stored_is_an_error_and_nothing_is(
    books: Books, bad: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        insert(books, recipient(1), recipient(2, **bad))
    with books.database.read() as conn:
        assert not conn.execute(select(books.tables.recipients.c.id)).all()
