"""What waits in a large queue is seen in bounded memory, and nobody hides behind a big company."""

from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, text

from sidecar.grouping import Waiting
from sidecar.moodle.tables import moodle_tables
from sidecar.pollers import peek as module
from sidecar.pollers.peek import Peek

SMALL, BIG = 1, 2


@pytest.fixture
def conn(iomad_db: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    monkeypatch.setattr(module, "PAGE", 50)
    monkeypatch.setattr(module, "MAX_OF_GROUP", 100)
    engine = create_engine(iomad_db)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def queue(
    conn: Connection,
    company: int,
    number: int,
    modified: int = 100,
    template: str = "user_create",
) -> None:
    """Rows of one company, above all others."""
    conn.execute(
        text(
            "INSERT INTO mdl_email (templatename, modifiedtime, subject, body, varsreplaced,"
            " companyid, courseid, userid, senderid, headers, due)"
            f" SELECT '{template}', {modified}, 's', 'b', 1, {company}, 1, 2, -20, '', 0"
            f" FROM seq_1_to_{number}"
        )
    )
    conn.commit()


def made() -> Peek:
    return Peek(moodle_tables("mdl_"), {})


def look(peek: Peek, conn: Connection, times: int = 1, newest: int = 0) -> Counter[int]:
    """Look; how many rows of each company are known then. newest: what is older is too old."""
    for _ in range(times):
        peek.look(conn, lambda _: True, lambda mail: mail.modified < newest)
        conn.commit()
    return by_company(peek.waiting.values())


def send(conn: Connection, peek: Peek) -> None:
    """What is known to wait is sent."""
    ids = [*peek.waiting, 0]
    conn.execute(text("UPDATE mdl_email SET sent = 1 WHERE id IN :ids"), {"ids": ids})
    conn.commit()
    peek.forget(ids)


def by_company(mails: object) -> Counter[int]:
    assert hasattr(mails, "__iter__")
    return Counter(mail.group.company_id for mail in mails if isinstance(mail, Waiting))


def test_what_a_company_has_beside_its_full_group_is_seen(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONG_PAGE", 400)
    queue(conn, BIG, 30, template="license_allocated")
    queue(conn, BIG, 500)
    queue(conn, BIG, 20, template="license_allocated")
    queue(conn, BIG, 500)
    assert look(peek := made(), conn) == {BIG: 150}
    assert peek.walked


def test_what_is_left_out_while_its_group_is_full_is_read_when_there_is_room(
    conn: Connection,
) -> None:
    queue(conn, BIG, 1_000)
    look(peek := made(), conn)
    seen = set(peek.waiting)
    for _ in range(30):
        send(conn, peek)
        look(peek, conn)
        assert not seen & peek.waiting.keys()
        seen |= peek.waiting.keys()
    assert len(seen) == 1_000


def test_a_small_company_below_a_big_one_is_seen_at_the_first_look(conn: Connection) -> None:
    queue(conn, SMALL, 20)
    queue(conn, BIG, 1_000)
    assert look(peek := made(), conn) == {SMALL: 20, BIG: 100}
    assert peek.walked


@pytest.mark.parametrize("where", ["lowest", "highest"])
def test_who_lies_at_an_end_of_a_long_queue_is_seen_soon(
    conn: Connection, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    if where == "lowest":
        queue(conn, SMALL, 20)
    queue(conn, BIG, 2_000)
    if where == "highest":
        queue(conn, SMALL, 20)
    assert look(peek := made(), conn, times=3)[SMALL] == 20
    assert not peek.walked


def test_each_row_of_a_walk_from_both_ends_is_read_once(conn: Connection) -> None:
    queue(conn, SMALL, 333)
    conn.execute(text("DELETE FROM mdl_email WHERE id % 100 BETWEEN 20 AND 90 OR id < 60"))
    left = conn.execute(text("SELECT COUNT(*) FROM mdl_email WHERE sent IS NULL")).scalar_one()
    peek = made()
    look(peek, conn, newest=1_000)
    assert peek.walked
    assert peek.old == {SMALL: left}
    peek.look_again()
    assert look(peek, conn) == {SMALL: min(100, left)}


@pytest.mark.parametrize("before", [True, False], ids=["walked over", "came later"])
def test_what_was_passed_over_is_seen_as_room_is_made(conn: Connection, before: bool) -> None:
    peek = made()
    if not before:
        look(peek, conn)
    queue(conn, BIG, 1_000)
    queue(conn, SMALL, 20)
    queue(conn, BIG, 333)
    seen: set[int] = set()
    for _ in range(200):
        assert look(peek, conn)[BIG] <= 100
        assert not seen & peek.waiting.keys()
        seen |= peek.waiting.keys()
        send(conn, peek)
        if len(seen) == 1_353:
            break
    assert len(seen) == 1_353


def test_a_full_group_that_is_not_claimed_holds_up_no_other(conn: Connection) -> None:
    queue(conn, BIG, 500)
    peek = made()
    assert look(peek, conn) == {BIG: 100}
    queue(conn, SMALL, 300)
    assert look(peek, conn) == {BIG: 100, SMALL: 100}
    peek.forget([i for i, mail in peek.waiting.items() if mail.group.company_id == SMALL])
    assert look(peek, conn)[SMALL] == 100


def test_old_mail_takes_no_room_and_is_counted(conn: Connection) -> None:
    queue(conn, BIG, 500, modified=1)
    peek = made()
    assert not look(peek, conn, newest=50)
    assert peek.old == {BIG: 500}
    queue(conn, BIG, 70)
    assert look(peek, conn, newest=50) == {BIG: 70}
    peek.look_again()
    assert look(peek, conn) == {BIG: 100}


def test_what_becomes_old_while_it_waits_makes_room(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "VERIFY_EVERY", 0)
    monkeypatch.setattr(module, "VERIFY_SHARE", 1e9)
    queue(conn, BIG, 100)
    peek = made()
    assert look(peek, conn) == {BIG: 100}
    queue(conn, BIG, 30, modified=900)
    look(peek, conn, newest=500)
    assert look(peek, conn, newest=500) == {BIG: 30}
