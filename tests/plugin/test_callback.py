"""The plugin's callback page, run by PHP: the contract, the golden vectors, and what it refuses."""

import hmac
import http.client
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import delete, insert, text

from sidecar.demo.callback import CLOCK_SECONDS
from sidecar.message import MAX_RESULT_BYTES
from sidecar.moodle.encryption import Vault
from tests.contract.wire import text_of, vectors
from tests.plugin.callback_contract import KEYS, CallbackContract, Rig, headers
from tests.support.books import Books
from tests.support.mariadb import MariaDBServer
from tests.support.php_site import PhpSite

FORGERIES = 2_000


class PluginRig(Rig):
    """The plugin's page. dataroot: Moodle's; site: the PHP behind it."""

    def __init__(self, books: Books, folder: Path) -> None:
        self.dataroot = folder / "moodledata"
        self.dataroot.mkdir()
        self.vault = Vault(self.dataroot)
        self.site = PhpSite(folder, books.database.url.render_as_string(False), self.dataroot)
        super().__init__(books, self.site.url)

    def begin(self) -> None:
        """An empty inbox, and the keys as they are meant to be."""
        t, now = self.books.tables, self.books.now()
        with self.books.database.write(None) as tx:
            for table in (t.callbacks, t.companies):
                tx.conn.execute(delete(table))
            tx.conn.execute(text("DELETE FROM mdl_config"))
            rows = [
                {
                    "company_id": 1,
                    "callback_key": "c1-new",
                    "callback_secret": self.vault.conceal(KEYS["c1-new"]),
                    "callback_key_old": "c1-old",
                    "callback_secret_old": self.vault.conceal(KEYS["c1-old"]),
                    "callback_old_until": now + 600,
                },
                {
                    "company_id": 2,
                    "callback_key": "c2-none",
                    "callback_secret": "",
                    "callback_key_old": None,
                    "callback_secret_old": None,
                    "callback_old_until": None,
                },
            ]
            tx.conn.execute(insert(t.companies), rows)

    def sql(self, statement: str, **values: object) -> None:
        """Change something."""
        with self.books.database.write(None) as tx:
            tx.conn.execute(text(statement), values)


@pytest.fixture(scope="module")
def _plugin(
    _server: MariaDBServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PluginRig]:
    if not _server.alive():
        _server.start()
    _server.create_database("plugin_callback")
    _server.execute(
        "CREATE TABLE mdl_config (name VARCHAR(255), value TEXT)", database="plugin_callback"
    )
    with Books(_server.url("plugin_callback")) as books:
        made = PluginRig(books, tmp_path_factory.mktemp("plugin"))
        yield made
        made.site.close()


@pytest.fixture
def rig(mariadb: MariaDBServer, _plugin: PluginRig) -> PluginRig:
    """The page, with an empty inbox behind it."""
    _plugin.begin()
    return _plugin


class TestPlugin(CallbackContract):
    """The page as it is."""


def test_it_gives_no_session_and_says_nothing(rig: PluginRig) -> None:
    payload = rig.payload()
    connection = http.client.HTTPConnection(urlsplit(rig.url).netloc, timeout=10)
    for body, status in ((payload, HTTPStatus.ACCEPTED), (payload + " ", HTTPStatus.UNAUTHORIZED)):
        connection.request("POST", urlsplit(rig.url).path, body, headers(payload))
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (status, b"")
        assert answer.getheader("Set-Cookie") is None
        assert answer.getheader("Cache-Control") == "no-store"
    connection.request("GET", urlsplit(rig.url).path, headers=headers(payload))
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Allow")) == (HTTPStatus.METHOD_NOT_ALLOWED, "POST")
    assert rig.stored() == 1


@pytest.mark.parametrize("case", vectors("results")["cases"], ids=lambda case: case["name"])
def test_results_of_the_vectors_are_taken(rig: PluginRig, case: dict[str, str]) -> None:
    assert rig.post(case["payload"], headers(case["payload"])) == HTTPStatus.ACCEPTED
    assert rig.stored() == 1


def test_malformed_results_of_the_vectors_are_refused(rig: PluginRig) -> None:
    cases = vectors("malformed_results")["cases"]
    texts = [text_of(case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda body: rig.post(body, headers(body)), texts))
    for case, body, answer in zip(cases, texts, answers, strict=True):
        large = len(body.encode()) > MAX_RESULT_BYTES
        wanted = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if large else HTTPStatus.BAD_REQUEST
        assert answer == wanted, case["name"]
    assert rig.stored() == 0


def test_what_is_no_utf8_is_malformed_whoever_signed_it(rig: PluginRig) -> None:
    body, now = rig.payload().encode().replace(b"b" * 32, b"\xff" * 32), int(time.time())
    signed = hmac.digest(KEYS["c1-new"].encode(), f"result.{now}.".encode() + body, "sha256")
    given = headers("") | {
        "X-ManiReports-Timestamp": str(now),
        "X-ManiReports-Signature": signed.hex(),
    }
    assert rig.post(body, given) == HTTPStatus.BAD_REQUEST
    assert rig.stored() == 0


def test_an_old_key_ends_in_time_and_names_are_compared_to_the_byte(rig: PluginRig) -> None:
    payload = rig.payload()
    shouted = headers(payload) | {"X-ManiReports-Key": "C1-NEW"}
    assert rig.post(payload, shouted) == HTTPStatus.UNAUTHORIZED
    rig.sql(
        "UPDATE mdl_manireports_cloud_company_settings SET callback_old_until = :now"
        " WHERE company_id = 1",
        now=int(time.time()) - 1,
    )
    assert rig.post(payload, headers(payload, "c1-old")) == HTTPStatus.UNAUTHORIZED
    assert rig.stored() == 0
    assert rig.post(payload, headers(payload)) == HTTPStatus.ACCEPTED


def test_in_maintenance_nothing_is_taken(rig: PluginRig) -> None:
    payload = rig.payload()
    for name, value in (("maintenance_enabled", 1), ("upgraderunning", int(time.time()) + 60)):
        rig.sql(
            "INSERT INTO mdl_config (name, value) VALUES (:name, :value)", name=name, value=value
        )
        assert rig.post(payload, headers(payload)) == HTTPStatus.SERVICE_UNAVAILABLE
        rig.sql("DELETE FROM mdl_config")
    assert rig.stored() == 0


def test_what_cannot_be_stored_or_read_is_not_taken(rig: PluginRig) -> None:
    payload, unreadable = rig.payload(), "UPDATE mdl_manireports_cloud_company_settings SET"
    rig.sql(f"{unreadable} callback_secret = 'sodium:AAAA' WHERE company_id = 1")
    assert rig.post(payload, headers(payload)) == HTTPStatus.SERVICE_UNAVAILABLE
    rig.begin()
    rig.sql("RENAME TABLE mdl_manireports_cloud_callbacks TO mdl_hidden")
    assert rig.post(payload, headers(payload)) == HTTPStatus.SERVICE_UNAVAILABLE
    rig.sql("RENAME TABLE mdl_hidden TO mdl_manireports_cloud_callbacks")
    rig.sql("RENAME TABLE mdl_config TO mdl_hidden")  # Moodle itself does not start
    assert rig.post(payload, headers(payload)) >= HTTPStatus.INTERNAL_SERVER_ERROR
    rig.sql("RENAME TABLE mdl_hidden TO mdl_config")
    assert rig.post(payload, headers(payload)) == HTTPStatus.ACCEPTED


def test_thousands_of_forged_late_replayed_and_malformed_reports_change_nothing(
    rig: PluginRig,
) -> None:
    genuine = rig.payload()
    first = headers(genuine)
    assert rig.post(genuine, first) == HTTPStatus.ACCEPTED

    def attempt(number: int) -> tuple[str, int]:
        chance = random.Random(number)
        kind = chance.choice(["forged", "late", "replayed", "malformed", "oversized", "swapped"])
        payload = rig.payload(try_=number + 2)
        given = headers(payload)
        body: bytes | str = payload
        if kind == "forged":
            field = chance.choice(["Key", "Timestamp", "Signature"])
            old = given[f"X-ManiReports-{field}"]
            given[f"X-ManiReports-{field}"] = _mutated(old, chance)
        elif kind == "late":
            age = chance.choice([-1, 1]) * chance.randint(CLOCK_SECONDS + 30, 10**9)
            given = headers(payload, age=age)
        elif kind == "replayed":
            body, given = genuine, dict(first)
        elif kind == "malformed":
            body = _damaged(payload, chance)
            given = headers(body)
        elif kind == "oversized" and number % 10 == 0:
            body = payload + " " * MAX_RESULT_BYTES
            given = headers(body)
        else:
            body = _mutated(payload, chance)
        return kind, rig.post(body, given)

    with ThreadPoolExecutor(4) as pool:
        answers = Counter(pool.map(attempt, range(FORGERIES)))
    assert rig.stored() == 1
    refused = {400, 401, 413}
    assert {status for kind, status in answers if kind != "replayed"} <= refused, answers
    assert {status for kind, status in answers if kind == "replayed"} == {HTTPStatus.OK}
    assert rig.post(rig.payload(try_=2), headers(rig.payload(try_=2))) == HTTPStatus.ACCEPTED


def _mutated(text: str, chance: random.Random) -> str:
    """The text with one character of it changed, dropped or doubled."""
    at = chance.randrange(len(text))
    new = chance.choice(["", text[at] * 2, chr(ord(text[at]) ^ 1)])
    return text[:at] + new + text[at + 1 :]


def _damaged(payload: str, chance: random.Random) -> str:
    """A payload that is none any more, correctly signed later."""
    return chance.choice(
        [
            payload[: chance.randrange(len(payload))],
            payload.replace("true", chance.choice(["1", "null", '"true"', "True"])),
            payload.replace('"attempt":1', f'"attempt":{chance.choice(["1.0", "0", "-1", "1e3"])}'),
            payload.replace('"attempt"', f'"{chance.choice(["Attempt", "try", "job_id"])}"'),
            payload.replace('"recipients":[]', '"recipients":[{}]'),
            payload.replace('"recipients":[]', '"recipients":{}'),
            payload.replace('"status":"sent"', '"status":"done"'),
            payload[:-1] + ',"site_uid":"another"}',
        ]
    )
