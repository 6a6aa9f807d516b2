"""What differs between the tables and what we need of them."""

from sqlalchemy import text

from sidecar.store.schema_check import differences
from sidecar.store.site import create_schema
from tests.support.books import Books


def test_what_differs_is_named(books: Books) -> None:
    assert differences(books.database) == []
    jobs, templates = books.tables.jobs, books.tables.templates
    (index,) = (i for i in jobs.indexes if [c.name for c in i.columns] == ["closed_at"])
    with books.database.engine.begin() as conn:
        index.drop(conn)
        conn.execute(text(f"ALTER TABLE {jobs.name} DROP COLUMN label"))
        conn.execute(text(f"DROP TABLE {templates.name}"))
    try:
        assert sorted(differences(books.database)) == [
            "mdl_manireports_cloud_jobs: column label is missing",
            "mdl_manireports_cloud_jobs: there is no index on closed_at",
            "mdl_manireports_cloud_templates is missing",
        ]
    finally:
        with books.database.engine.begin() as conn:
            conn.execute(text(f"DROP TABLE {jobs.name}"))
        create_schema(books.database, "test")
    assert differences(books.database) == []
