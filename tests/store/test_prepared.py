"""Statements that are compiled once."""

import pytest
from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import IntegrityError

from sidecar.store.prepared import Prepared
from tests.support.books import Books


def test_values_are_bound_anew_each_time(books: Books) -> None:
    job = books.capture(3)
    r = books.database.tables.recipients
    with books.write() as tx:
        statement = update(r).where(r.c.id == bindparam("mail")).values(email=bindparam("to"))
        prepared = Prepared(statement, tx.conn.dialect)
        for mail, to in zip(job.mails, ("a'; --", "%s :x ?", "ö@x"), strict=True):
            assert prepared.run(tx.conn, mail=mail, to=to).rowcount == 1
    assert [books.mail(mail).email for mail in job.mails] == ["a'; --", "%s :x ?", "ö@x"]


def test_what_it_lacks_and_what_the_server_refuses_is_an_error(books: Books) -> None:
    first, second = books.capture(1), books.capture(1)
    r = books.database.tables.recipients
    with books.write() as tx:
        query = Prepared(select(r.c.id).where(r.c.id == bindparam("mail")), tx.conn.dialect)
        with pytest.raises(TypeError, match="mail"):
            query.run(tx.conn)
        with pytest.raises(TypeError, match="male"):
            query.run(tx.conn, mail=1, male=2)
    taken = books.mail(first.mails[0]).email_hash
    statement = update(r).where(r.c.id == bindparam("mail")).values(email_hash=taken)
    with books.database.connection_for_writing() as conn:
        prepared = Prepared(statement, conn.dialect)
        with pytest.raises(IntegrityError):
            prepared.run(conn, mail=second.mails[0])
