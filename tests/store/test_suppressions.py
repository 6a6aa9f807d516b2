"""Who gets no bulk mail: scopes, companies, and the letters of an address."""

import pytest

from sidecar.store import suppressions
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
