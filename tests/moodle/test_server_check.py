"""Each fact that speaks against a shared lock is a doubt, and a sound server has none."""

from dataclasses import replace

import pytest

from sidecar.moodle.server_check import (
    Backends,
    MysqlFacts,
    PostgresFacts,
    judge_mysql,
    judge_postgres,
    server_doubts,
)
from sidecar.store.database import Database
from tests.conftest import on_every_database

APART = Backends(frozenset({(1, "a")}), (2, "a"))
MARIADB = MysqlFacts("10.11.6-MariaDB-0+deb12u1-log", APART, {"binlog_format": "MIXED"})
MYSQL = MysqlFacts(
    "8.0.36",
    APART,
    {
        "read_only": "OFF",
        "binlog_format": "ROW",
        "group_replication_group_name": "0f2a",
        "group_replication_single_primary_mode": "ON",
        "version_comment": "MySQL Community Server - GPL",
    },
)
POSTGRES = PostgresFacts("PostgreSQL 13.0 on x86_64", 130000, APART, extensions=frozenset({"pg"}))


@pytest.mark.parametrize(
    "backends",
    [
        Backends(frozenset({(1, "a"), (2, "a")}), (3, "a")),
        Backends(frozenset({(1, "a"), (1, "b")}), (2, "a")),
        Backends(frozenset({(1, "a")}), (1, "a")),
    ],
    ids=["another backend next time", "another server", "two share one backend"],
)
def test_a_pooler_is_seen_by_who_serves_us(backends: Backends) -> None:
    for doubts in (
        judge_mysql(replace(MARIADB, backends=backends)),
        judge_postgres(replace(POSTGRES, backends=backends)),
    ):
        (doubt,) = doubts
        assert "proxy" in doubt


@pytest.mark.parametrize("facts", [MARIADB, MYSQL], ids=["MariaDB", "MySQL"])
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"read_only": "ON"}, "read-only"),
        ({"innodb_read_only": "ON"}, "read-only"),
        ({"binlog_format": "STATEMENT"}, "ROW or MIXED"),
        ({"wsrep_on": "ON"}, "Galera"),
        (
            {
                "group_replication_group_name": "0f2a",
                "group_replication_single_primary_mode": "OFF",
            },
            "several primaries",
        ),
        ({"version_comment": "(ProxySQL)"}, "ProxySQL"),
    ],
)
def test_what_mysql_says(facts: MysqlFacts, variables: dict[str, str], reason: str) -> None:
    assert judge_mysql(facts) == []
    (doubt,) = judge_mysql(replace(facts, variables={**facts.variables, **variables}))
    assert reason in doubt


@pytest.mark.parametrize("version", ["10.5.23-MariaDB", "5.7.44-log"])
def test_an_old_server_is_named(version: str) -> None:
    (doubt,) = judge_mysql(replace(MARIADB, version=version))
    assert version in doubt


def test_a_galera_cluster_is_known_by_its_size_too() -> None:
    (doubt,) = judge_mysql(replace(MARIADB, galera_nodes=3))
    assert "Galera" in doubt


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(POSTGRES, number=129999), "PostgreSQL 13 is needed"),
        (replace(POSTGRES, in_recovery=True, read_only=True), "replica"),
        (replace(POSTGRES, read_only=True), "read-only"),
        (replace(POSTGRES, extensions=frozenset({"spock"})), "spock"),
        (replace(POSTGRES, version="CockroachDB CCL v23.1"), "is not PostgreSQL itself"),
        (replace(POSTGRES, version="PostgreSQL 15.2-YB-2.25.0.0-b0"), "is not PostgreSQL itself"),
    ],
)
def test_what_postgresql_says(facts: PostgresFacts, reason: str) -> None:
    assert judge_postgres(POSTGRES) == []
    (doubt,) = judge_postgres(facts)
    assert reason in doubt


@on_every_database
def test_a_real_server_reached_directly_raises_no_doubt(iomad_db: str) -> None:
    database = Database(iomad_db, "mdl_")
    with database.connection_for_writing() as conn:
        assert server_doubts(conn) == []
        assert not conn.in_transaction()
    database.close()


@pytest.mark.parametrize("iomad_db", ["postgresql"], indirect=True)
def test_a_read_only_postgresql_is_found_out(iomad_db: str) -> None:
    database = Database(iomad_db, "mdl_")
    with database.connection_for_writing() as conn:
        conn.exec_driver_sql("SET default_transaction_read_only = on")
        conn.commit()
        (doubt,) = server_doubts(conn)
        assert "read-only" in doubt
    database.close()
