"""What the sidecar's own database user must be able to do, and no more: as data, and as statements.

docs/install.md shows the same statements; a test with such a user runs all that the sidecar does.
"""

from collections.abc import Iterator, Mapping

ALL = ("SELECT", "INSERT", "UPDATE")

OURS: Mapping[str, tuple[str, ...]] = {
    "jobs": (*ALL, "DELETE"),
    "recipients": (*ALL, "DELETE"),
    "import_batches": (*ALL, "DELETE"),
    "company_settings": ALL,
    "requests": (*ALL, "DELETE"),
    "callbacks": (*ALL, "DELETE"),
    "campaigns": ALL,
    "outbox": (*ALL, "DELETE"),
    "suppressions": ("SELECT", "INSERT", "DELETE"),
    "operations": ("SELECT", "DELETE"),
    "sidecar": ("SELECT", "UPDATE"),
}
"""Of tables manireports_cloud_…; every other table is only read."""

CORE: Mapping[str, tuple[str, ...]] = {
    "user_preferences": ("INSERT", "UPDATE", "DELETE"),
    "cache_flags": ("INSERT", "UPDATE"),
}
"""Of Moodle's tables, for core's new users, beside ``user.password``."""


def mysql_grants(
    database: str, prefix: str, user: str, host: str, *, iomad: bool, record_lock: bool
) -> list[str]:
    """GRANT statements for MariaDB and MySQL; names are quoted where that is needed."""
    schema, who = _mysql_name(database), f"{_text(user)}@{_text(host)}"

    def table(name: str) -> str:
        return f"{schema}.{_mysql_name(prefix + name)}"

    found = [f"GRANT SELECT ON {schema}.* TO {who}"]
    if iomad:
        found.append(f"GRANT UPDATE ON {table('email')} TO {who}")
    found.append(f"GRANT UPDATE (password) ON {table('user')} TO {who}")
    for name, rights in _tables(record_lock=record_lock):
        found.append(f"GRANT {', '.join(rights)} ON {table(name)} TO {who}")
    return found


def postgres_grants(
    schema: str, prefix: str, user: str, *, iomad: bool, record_lock: bool
) -> list[str]:
    """GRANT statements for PostgreSQL, to be run in Moodle's database."""
    space, who = _pg_name(schema), _pg_name(user)

    def table(name: str) -> str:
        return f"{space}.{_pg_name(prefix + name)}"

    found = [
        f"GRANT USAGE ON SCHEMA {space} TO {who}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {space} TO {who}",
    ]
    if iomad:
        found.append(f"GRANT UPDATE ON {table('email')} TO {who}")
    found.append(f"GRANT UPDATE (password) ON {table('user')} TO {who}")
    for name, rights in _tables(record_lock=record_lock):
        own = [right for right in rights if right != "SELECT"]
        found.append(f"GRANT {', '.join(own)} ON {table(name)} TO {who}")
        if "INSERT" in own:
            found.append(f"GRANT USAGE ON SEQUENCE {table(name + '_id_seq')} TO {who}")
    return found


def _tables(*, record_lock: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from CORE.items()
    for name, rights in OURS.items():
        yield f"manireports_cloud_{name}", rights
    if record_lock:
        yield "lock_db", ("INSERT", "UPDATE")


def _mysql_name(name: str) -> str:
    return name if name.replace("_", "a").isalnum() and name.isascii() else _quoted(name, "`")


def _pg_name(name: str) -> str:
    plain = name.replace("_", "a").isalnum() and name.isascii() and name == name.lower()
    return name if plain and not name[:1].isdigit() else _quoted(name, '"')


def _quoted(name: str, mark: str) -> str:
    return mark + name.replace(mark, mark * 2) + mark


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
