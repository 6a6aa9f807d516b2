"""Mail texts of core's language packs, which the plugin puts into our table."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from sidecar.store.database import Database

NEW_USER = "newusernewpassword"
"""Name of the rows that hold ``newusernewpasswordsubj`` and ``newusernewpasswordtext``."""

PARENT = "parentlanguage"
"""Name of the rows whose subject is the language that theirs derives from (langconfig)."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of a mail by language. parents: language → the one that it derives from."""

    by_language: Mapping[str, tuple[str, str]]
    parents: Mapping[str, str]


def read_texts(conn: Connection, database: Database, name: str) -> Texts:
    """Subject and body of a mail in every language that is stored; the newest row wins."""
    t = database.tables.templates
    query = select(t.c.name, t.c.lang, t.c.subject, t.c.body)
    texts: dict[str, tuple[str, str]] = {}
    parents: dict[str, str] = {}
    for row in conn.execute(query.where(t.c.name.in_((name, PARENT))).order_by(t.c.id)):
        if row.name == PARENT:
            parents[row.lang.lower()] = row.subject.lower()
        else:
            texts[row.lang.lower()] = (row.subject, row.body or "")
    return Texts(texts, parents)
