"""Company settings: what is inherited from row 0, and the keys that workers sign with."""

from typing import Any

import pytest
from sqlalchemy import update

from sidecar.errors import ConfigError, DatabaseError
from sidecar.pollers.new_users import NewUsers
from sidecar.store.companies import (
    OLD_KEY_SECONDS,
    SETTABLE,
    CallbackKey,
    Companies,
    Company,
    disable_all,
    read_companies,
    replace_callback_key,
    set_company,
)
from tests.support.books import Books

AWS: dict[str, object] = {
    "provider": "aws",
    "aws_access_key": "sodium:AKIA",
    "aws_secret_key": "sodium:secret",
    "aws_region": "eu-west-1",
    "sqs_queue_url": "https://sqs/jobs",
    "results_queue_url": "https://sqs/results",
    "ledger_table": "ledger",
    "ses_sender_email": "office@x.test",
    "sender_name": "Office",
}


def put(books: Books, company: int, **values: object) -> None:
    with books.write() as tx:
        set_company(tx, books.database, company, values)


def new_key(books: Books, company: int, key: str) -> None:
    with books.write() as tx:
        replace_callback_key(tx, books.database, company, key, f"sodium:{key}")


def read(books: Books) -> Companies:
    return read_companies(books.database, 10)


def names(books: Books, company: int, later: int = 0) -> list[str]:
    """The names of a company's valid keys."""
    return [key.key for key in read(books).get(company).callback_keys(books.now() + later)]


def fields(company: Company) -> dict[str, Any]:
    return {name: getattr(company, name) for name in AWS}


def test_without_any_row_everything_is_built_in(books: Books) -> None:
    assert read(books).get(5) == Company(5, bulk_threshold=10)
    assert not read(books).get(0).claims
    assert list(read(books)) == []


def test_the_account_of_row_0_is_everybodys(books: Books) -> None:
    put(books, 0, **AWS, enabled=1, max_send_rate=14, bulk_threshold=3, fallback="smtp")
    put(books, 5, enabled=1)
    for company in (read(books).get(5), read(books).get(99)):
        assert fields(company) == AWS
        assert (company.max_send_rate, company.bulk_threshold, company.fallback) == (14, 3, "smtp")
    assert read(books).get(5).claims
    assert not read(books).get(99).enabled  # never inherited


def test_a_password_that_is_stored_must_get_out(books: Books) -> None:
    put(books, 5, enabled=1)
    put(books, 6, enabled=1, fallback="hold")
    sources = (NewUsers.name, "iomad_mail")
    assert [read(books).get(5).fallback_for(source) for source in sources] == ["smtp", "hold"]
    assert [read(books).get(6).fallback_for(source) for source in sources] == ["hold", "hold"]


def test_neither_enabled_nor_paused_is_inherited(books: Books) -> None:
    put(books, 0, enabled=1, paused=1)
    put(books, 5, provider="smtp")
    for company in (5, 99):
        found = read(books).get(company)
        assert (found.enabled, found.paused) == (False, False)


def test_a_value_of_ones_own_wins_and_zero_is_one(books: Books) -> None:
    put(books, 0, **AWS, max_send_rate=14)
    put(books, 5, aws_region="us-east-1", max_send_rate=0, provider="smtp", sender_name="")
    found = read(books).get(5)
    assert (found.aws_region, found.max_send_rate, found.provider) == ("us-east-1", 0, "smtp")
    assert found.sender_name == "Office"
    assert found.sqs_queue_url == AWS["sqs_queue_url"]


def test_a_second_change_keeps_the_first(books: Books) -> None:
    put(books, 5, **AWS)
    put(books, 5, aws_region="us-east-1")
    put(books, 5)
    assert fields(read(books).get(5)) == AWS | {"aws_region": "us-east-1"}
    put(books, 6)
    assert [company.company_id for company in read(books)] == [5, 6]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"provider": "azure"}, "provider must be one of smtp, aws, cloudflare, not 'azure'"),
        ({"fallback": "never"}, "fallback must be one of moodle, smtp, hold"),
        ({"manager_copies": "all"}, "manager_copies must be one of"),
        ({"callback_secret": "x"}, "callback_secret cannot be set"),
        ({"company_id": 7}, "company_id cannot be set"),
        ({"id": 1}, "id cannot be set"),
    ],
)
def test_what_is_not_allowed_is_not_written(
    books: Books, values: dict[str, object], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        put(books, 5, **values)
    assert list(read(books)) == []


def test_everything_settable_can_be_set(books: Books) -> None:
    choices: dict[str, object] = {
        "manager_copies": "none",
        "fallback": "moodle",
        "provider": "aws",
        "send_window": "08:00-18:00 Europe/Berlin",
    }
    numbers: dict[str, object] = {
        "enabled": 1,
        "paused": 1,
        "bulk_threshold": 2,
        "max_send_rate": 3,
        "daily_quota": 4,
    }
    values = {name: f"my {name}" for name in SETTABLE} | choices | numbers
    put(books, 5, **values)
    found = read(books).get(5)
    assert {name: getattr(found, name) for name in SETTABLE} == values


def test_a_company_without_a_key_has_none(books: Books) -> None:
    put(books, 5, **AWS)
    assert names(books, 5) == []
    assert read(books).find_key("", books.now()) is None


def test_a_key_needs_its_secret(books: Books) -> None:
    put(books, 5)
    new_key(books, 5, "c5-a")
    with books.write() as tx:
        tx.conn.execute(update(books.tables.companies).values(callback_secret=None))
    assert names(books, 5) == []
    assert read(books).find_key("c5-a", books.now()) is None


def test_the_key_of_row_0_is_that_of_all_who_have_none(books: Books) -> None:
    put(books, 0, **AWS)
    put(books, 5, enabled=1)
    new_key(books, 0, "c0-a")
    assert names(books, 0) == names(books, 5) == names(books, 99) == ["c0-a"]
    assert read(books).find_key("c0-a", books.now()) == CallbackKey("c0-a", "sodium:c0-a")


def test_a_new_key_leaves_the_old_one_valid_for_a_day(books: Books) -> None:
    put(books, 5)
    new_key(books, 5, "c5-a")
    assert names(books, 5) == ["c5-a"]
    new_key(books, 5, "c5-b")
    assert names(books, 5) == ["c5-b", "c5-a"]
    assert names(books, 5, OLD_KEY_SECONDS - 10) == ["c5-b", "c5-a"]
    assert names(books, 5, OLD_KEY_SECONDS + 1) == ["c5-b"]
    new_key(books, 5, "c5-c")
    assert names(books, 5) == ["c5-c", "c5-b"]
    companies, now = read(books), books.now()
    assert companies.find_key("c5-a", now) is None
    assert companies.find_key("c5-b", now) == CallbackKey("c5-b", "sodium:c5-b")
    assert companies.find_key("c5-b", now + OLD_KEY_SECONDS + 1) is None
    assert companies.find_key("c5-c", now + OLD_KEY_SECONDS + 1)


def test_rotating_the_key_of_row_0_keeps_its_old_one_for_all_who_have_none(books: Books) -> None:
    put(books, 0, **AWS)
    put(books, 5, enabled=1)
    new_key(books, 0, "c0-a")
    new_key(books, 0, "c0-b")
    assert names(books, 5) == ["c0-b", "c0-a"]
    assert names(books, 5, OLD_KEY_SECONDS + 1) == ["c0-b"]


def test_beside_a_key_of_ones_own_no_other_companys_key_is_valid(books: Books) -> None:
    put(books, 0, **AWS)
    put(books, 5, enabled=1)
    new_key(books, 5, "c5-a")
    new_key(books, 0, "c0-a")
    new_key(books, 0, "c0-b")
    assert names(books, 5) == ["c5-a"]
    assert names(books, 0) == ["c0-b", "c0-a"]


def test_a_key_belongs_to_one_company(books: Books) -> None:
    put(books, 5)
    put(books, 6)
    new_key(books, 5, "same")
    with pytest.raises(DatabaseError):
        new_key(books, 6, "same")


def test_a_copied_site_keeps_no_key(books: Books) -> None:
    put(books, 0, **AWS, enabled=1)
    put(books, 5, **AWS, enabled=1)
    for key in ("a", "b"):
        new_key(books, 0, f"c0-{key}")
        new_key(books, 5, f"c5-{key}")
    with books.write() as tx:
        disable_all(tx, books.database)
    for company in (0, 5, 99):
        found = read(books).get(company)
        assert not found.enabled
        assert (found.aws_access_key, found.aws_secret_key) == ("", "")
        assert names(books, company) == []
    assert read(books).find_key("c5-b", books.now()) is None


def test_no_secret_is_shown(books: Books) -> None:
    put(books, 5, **AWS)
    new_key(books, 5, "c5-a")
    new_key(books, 5, "c5-b")
    company = read(books).get(5)
    shown = f"{company!r} {company.callback_keys(books.now())!r}"
    assert "c5-b" in shown
    assert "sodium" not in shown
