"""The results inbox: each delivery once, settled once, forgotten in the end."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from sqlalchemy import func, select

from sidecar.store import inbox
from sidecar.store.database import Database
from sidecar.store.inbox import KEPT_SECONDS, Delivery
from tests.support.books import Books


def delivery(number: int, payload: str = "{}") -> Delivery:
    return Delivery(f"{number:064x}", "c1-key", 1_800_000_000 + number, payload, "5" * 64)


def store(books: Books, *deliveries: Delivery) -> int:
    with books.write() as tx:
        return inbox.store(tx, books.database, deliveries)


def waiting(books: Books, after: int = 0, limit: int = 100) -> list[Delivery]:
    return inbox.waiting(books.database, after, limit)


def done(books: Books, row_id: int, ago: int = 0) -> None:
    with books.write() as tx:
        inbox.mark_processed(tx, books.database, [row_id], "applied")
    if ago:
        books.set(books.tables.callbacks, row_id, processed_at=books.now() - ago)


def purge(books: Books, limit: int = 1000) -> int:
    with books.write() as tx:
        return inbox.purge(tx, books.database, limit)


def ids(books: Books) -> list[str]:
    c = books.tables.callbacks
    with books.database.read() as conn:
        return list(conn.scalars(select(c.c.delivery_id).order_by(c.c.id)))


def test_a_delivery_comes_out_as_it_went_in(books: Books) -> None:
    text = '{"error":"søn 🎉 \\u0007 \'"}' + "x" * 900_000
    before = books.now()
    assert store(books, delivery(1, text)) == 1
    (found,) = waiting(books)
    assert found == replace(delivery(1, text), id=found.id)
    assert books.row(books.tables.callbacks, found.id).received_at >= before
    assert text[:20] not in repr(found)


def test_a_delivery_is_stored_once(books: Books) -> None:
    assert store(books, delivery(1), delivery(2)) == 2
    assert store(books, delivery(1), delivery(3), delivery(1)) == 1
    assert store(books) == 0
    assert len(waiting(books)) == 3


def test_what_came_first_stays(books: Books) -> None:
    store(books, delivery(1, "first"))
    assert store(books, delivery(1, "forged")) == 0
    assert [found.payload for found in waiting(books)] == ["first"]


def test_one_seen_before_costs_the_others_of_its_transaction_nothing(books: Books) -> None:
    store(books, delivery(2))
    assert store(books, *(delivery(number) for number in range(1, 6))) == 4
    assert sorted(ids(books)) == [f"{number:064x}" for number in range(1, 6)]


def test_a_settled_delivery_is_not_taken_in_again(books: Books) -> None:
    store(books, delivery(1))
    done(books, waiting(books)[0].id)
    assert store(books, delivery(1)) == 0
    assert waiting(books) == []


def test_the_page_and_the_poller_may_bring_the_same_at_the_same_time(books: Books) -> None:
    page = Database(books.database.url, "mdl_")

    def bring(database: Database) -> int:
        with database.write(None) as tx:
            return inbox.store(tx, database, [delivery(n) for n in range(20)])

    with ThreadPoolExecutor(4) as pool:
        new = list(pool.map(bring, [books.database, page] * 4))
    page.close()
    assert sum(new) == 20
    assert len(waiting(books)) == 20


def test_a_delivery_that_another_is_storing_is_waited_for(books: Books) -> None:
    other = Database(books.database.url, "mdl_")
    with ThreadPoolExecutor(1) as pool:
        with books.write() as tx:
            assert inbox.store(tx, books.database, [delivery(1)]) == 1

            def bring() -> int:
                with other.write(None) as theirs:
                    return inbox.store(theirs, other, [delivery(1), delivery(2)])

            late = pool.submit(bring)
        assert late.result(10) == 1
    other.close()
    assert sorted(ids(books)) == [f"{number:064x}" for number in (1, 2)]


def test_what_waits_comes_in_pages_oldest_first(books: Books) -> None:
    store(books, *(delivery(number) for number in range(7)))
    first = waiting(books, limit=3)
    second = waiting(books, first[-1].id, 3)
    last = waiting(books, second[-1].id, 3)
    assert [int(found.delivery_id, 16) for found in (*first, *second, *last)] == list(range(7))
    assert waiting(books, last[-1].id, 3) == []
    done(books, first[1].id)
    assert [found.id for found in waiting(books, limit=2)] == [first[0].id, first[2].id]


def test_what_became_of_a_delivery_is_kept_for_two_weeks(books: Books) -> None:
    store(books, *(delivery(number) for number in range(4)))
    old, older, recent, _waiting = waiting(books)
    done(books, old.id, KEPT_SECONDS + 10)
    done(books, older.id, 10 * KEPT_SECONDS)
    done(books, recent.id, KEPT_SECONDS - 60)
    row = books.row(books.tables.callbacks, recent.id)
    assert row.outcome == "applied"
    assert purge(books) == 2
    assert ids(books) == [f"{number:064x}" for number in (2, 3)]
    assert purge(books) == 0


def test_forgetting_goes_by_small_steps(books: Books) -> None:
    store(books, *(delivery(number) for number in range(5)))
    for found in waiting(books):
        done(books, found.id, KEPT_SECONDS + 10)
    assert [purge(books, limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_delivery_that_waits_is_never_forgotten(books: Books) -> None:
    store(books, delivery(1))
    books.set(books.tables.callbacks, waiting(books)[0].id, received_at=1)
    assert purge(books) == 0
    with books.database.read() as conn:
        count = select(func.count()).select_from(books.tables.callbacks)
        assert conn.execute(count).scalar_one() == 1
