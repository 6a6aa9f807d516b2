"""The tests' own tools do what tests rely on."""

import socket

import pytest

from sidecar.demo.site import Site
from tests.support.mariadb import MariaDBServer
from tests.support.wait import wait_for


def test_a_killed_server_comes_back_with_every_commit(
    mariadb: MariaDBServer, iomad_db: str
) -> None:
    site = Site(iomad_db)
    site.add_company(1, "Acme")
    mariadb.kill()
    assert not mariadb.alive()
    mariadb.start()
    site.add_users(1, 3)
    assert site.top_department(1) == 1
    mariadb.restart()
    assert mariadb.url("x").startswith(f"mariadb+mysqldb://root@127.0.0.1:{mariadb.port}/x")
    socket.create_connection(("127.0.0.1", mariadb.port)).close()


def test_databases_of_two_tests_share_nothing(iomad_db: str, small_iomad_db: str) -> None:
    Site(iomad_db).add_company(1, "Only here")
    assert Site(iomad_db).add_department(1, "Second") == 2
    assert Site(small_iomad_db).add_department(1, "Fourth") == 4


def test_waiting_ends_at_the_deadline_and_says_for_what() -> None:
    with pytest.raises(AssertionError, match="the moon"):
        wait_for(lambda: False, 0.05, "the moon")
    assert wait_for(lambda: "fact", 0.05, "a fact") == "fact"
