"""Who gets no bulk mail: scopes, companies, and the letters of an address."""

import hashlib

import pytest
from sqlalchemy import insert

from sidecar import suppressing
from sidecar.lifecycle import Recipient
from sidecar.store import suppressions
from sidecar.store.capture import CapturedRow, NewRecipient
from tests.support.books import Books


@pytest.mark.parametrize(
    ("company", "scope", "own_campaign", "own_account", "others"),
    [
        (1, "campaigns", True, False, False),
        (1, "all", True, True, False),
        (1, "", True, True, False),
        (0, "campaigns", True, False, False),
        (0, "all", True, True, True),
    ],
)
def test_what_a_scope_covers(
    books: Books, company: int, scope: str, own_campaign: bool, own_account: bool, others: bool
) -> None:
    with books.write() as tx:
        for _ in range(2):
            suppressions.add(
                tx, books.database, "Anna@X.test", company_id=company, scope=scope, reason="manual"
            )
        assert len(suppressions.list_all(tx.conn, books.database, None)) == 1

        def covered(company_id: int, *, campaign: bool) -> bool:
            asked = ["ANNA@x.test", "änna@x.test", "bob@x.test"]
            found = suppressions.find(tx.conn, books.database, company_id, asked, campaign=campaign)
            assert set(found) <= {"anna@x.test"}
            return bool(found)

        assert covered(1, campaign=True) is own_campaign
        assert covered(1, campaign=False) is own_account
        assert covered(2, campaign=False) is others
        assert suppressions.remove(tx, books.database, "anna@X.test", company, None) == 1
        assert not covered(1, campaign=True)


def test_a_copy_to_a_suppressed_manager_is_spared_and_nobody_else(books: Books) -> None:
    def mail(role: str, address: str, status: Recipient = Recipient.PENDING) -> NewRecipient:
        error = "" if status is Recipient.PENDING else "no address"
        return NewRecipient(role, address, 1, address, "", "", status=status, error=error)

    bad = mail("cc", "boss@x.test", Recipient.PERMANENTLY_FAILED)
    row = CapturedRow(1, 0, (mail("user", "anna@x.test"), mail("manager", "Boss@x.test"), bad))
    with books.write() as tx:
        suppressions.add(
            tx, books.database, "boss@x.test", company_id=0, scope="all", reason="complaint"
        )
        (marked,) = suppressing.mark(tx.conn, books.database, "iomad_mail", 1, [row])
    user, manager, cc = marked.recipients
    assert (user, cc) == (row.recipients[0], bad)
    assert manager.status is Recipient.PERMANENTLY_FAILED
    assert manager.error_code == "suppressed"
    assert manager.error.startswith("suppressed after a complaint since 20")


def test_of_a_deleted_person_a_hash_is_enough(books: Books) -> None:
    s = books.tables.suppressions
    hashed = "sha256:" + hashlib.sha256(b"anna@x.test").hexdigest()
    with books.write() as tx:
        row = {"email": hashed, "company_id": 1, "scope": "all", "reason": "complaint"}
        tx.conn.execute(insert(s).values(row))
        found = suppressions.find(
            tx.conn, books.database, 1, ["Anna@X.test", "bob@x.test"], campaign=False
        )
        assert set(found) == {"anna@x.test"}
        assert found["anna@x.test"].email == hashed
        assert not suppressions.add(
            tx, books.database, "anna@x.test", company_id=1, scope="all", reason="manual"
        )
        assert suppressions.of_addresses(tx.conn, books.database, ["ANNA@x.test"])
        assert suppressions.remove(tx, books.database, "Anna@x.test", 1, None) == 1
