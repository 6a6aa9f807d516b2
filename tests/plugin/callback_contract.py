"""What a callback page answers and stores (DESIGN §6): one suite for the plugin's page and for the
one that plays it in the demo.

Derive from ``CallbackContract``.
"""

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from sidecar.demo.callback import CLOCK_SECONDS, PATH
from sidecar.message import (
    JOB,
    MAX_RESULT_BYTES,
    RESULT,
    BatchResult,
    BatchStatus,
    delivery_id,
    encode_result,
    sign,
)
from sidecar.store.inbox import waiting
from tests.support.books import Books

KEYS = {"c1-new": "secret", "c1-old": "secret of yesterday", "c2-none": ""}
BATCH = "b" * 32


class Rig:
    """A page at work on real tables. url: where it is."""

    def __init__(self, books: Books, url: str) -> None:
        self.books = books
        self.url = url

    def payload(self, try_: int = 1) -> str:
        """A report that tells of no mail."""
        made = delivery_id(self.books.site_uid, BATCH, 1, try_, 0)
        return encode_result(
            BatchResult(
                *(self.books.site_uid, made, BATCH, 1, 1, 1, try_, True, BatchStatus.SENT),
                *(0, 0, ("søn \x07",), ()),
            )
        )

    def post(self, body: str | bytes, headers: dict[str, str], path: str = PATH) -> int:
        """POST over HTTP; the status."""
        data = body.encode() if isinstance(body, str) else body
        address = urlsplit(self.url).netloc
        connection = http.client.HTTPConnection(address, timeout=10)
        try:
            connection.request("POST", path, data, headers)
            answer = connection.getresponse()
            assert answer.read() == b""
            return answer.status
        finally:
            connection.close()

    def stored(self) -> int:
        """Deliveries in the inbox."""
        return len(waiting(self.books.database, 0, 1000))


def headers(
    payload: str, key: str = "c1-new", age: int = 0, kind: str = RESULT, secret: str | None = None
) -> dict[str, str]:
    """What a worker sends beside the payload."""
    timestamp = int(time.time()) - age
    signature = sign(kind, timestamp, payload, KEYS[key] if secret is None else secret)
    return {
        "Content-Type": "application/json",
        "X-ManiReports-Key": key,
        "X-ManiReports-Timestamp": str(timestamp),
        "X-ManiReports-Signature": signature,
    }


class CallbackContract:
    """What every callback page must do; who derives from it has a fixture ``rig``."""

    def test_a_report_is_stored_then_seen_before(self, rig: Rig) -> None:
        payload = rig.payload()
        given = headers(payload)
        before = rig.books.now()
        assert rig.post(payload, given) == HTTPStatus.ACCEPTED
        (found,) = waiting(rig.books.database, 0, 10)
        assert (found.payload, found.callback_key) == (payload, "c1-new")
        assert found.delivery_id == delivery_id(rig.books.site_uid, BATCH, 1, 1, 0)
        assert found.signature == given["X-ManiReports-Signature"]
        assert str(found.signed_at) == given["X-ManiReports-Timestamp"]
        c = rig.books.tables.callbacks
        with rig.books.database.read() as conn:
            assert conn.execute(select(c.c.received_at)).scalar_one() >= before
        assert rig.post(payload, headers(payload, age=5)) == HTTPStatus.OK
        assert rig.post(rig.payload(try_=2), headers(rig.payload(try_=2))) == HTTPStatus.ACCEPTED
        assert rig.stored() == 2

    def test_both_valid_keys_are_believed_and_header_names_are_of_any_case(self, rig: Rig) -> None:
        for number, key in enumerate(("c1-new", "c1-old"), start=1):
            payload = rig.payload(try_=number)
            given = {name.swapcase(): value for name, value in headers(payload, key).items()}
            assert rig.post(payload, given) == HTTPStatus.ACCEPTED

    @pytest.mark.parametrize(
        "body", [b"", b"{}", b"[]", b"<html>", b'{"site_uid":"x"}', b"[" * 50_000]
    )
    def test_what_is_no_report_is_malformed(self, rig: Rig, body: bytes) -> None:
        given = headers(body.decode("latin-1"))
        assert rig.post(body, given) == HTTPStatus.BAD_REQUEST
        assert rig.stored() == 0

    @pytest.mark.parametrize("timestamp", ["", "soon", "1.5", "0x10"])
    def test_a_time_that_is_none_is_malformed(self, rig: Rig, timestamp: str) -> None:
        payload = rig.payload()
        given = headers(payload) | {"X-ManiReports-Timestamp": timestamp}
        assert rig.post(payload, given) == HTTPStatus.BAD_REQUEST
        del given["X-ManiReports-Timestamp"]
        assert rig.post(payload, given) == HTTPStatus.BAD_REQUEST
        assert rig.stored() == 0

    def test_what_nobody_of_ours_signed_is_refused(self, rig: Rig) -> None:
        payload = rig.payload()
        good = headers(payload)
        other = rig.payload(try_=2)
        forged = {
            "another text": (other, good),
            "a guessed secret": (payload, headers(payload, secret="guessed")),
            "a key that has no secret": (payload, headers(payload, "c2-none")),
            "another's key": (payload, good | {"X-ManiReports-Key": "c1-old"}),
            "an unknown key": (payload, good | {"X-ManiReports-Key": "nobody"}),
            "no key": (payload, {k: v for k, v in good.items() if not k.endswith("Key")}),
            "no signature": (
                payload,
                {k: v for k, v in good.items() if not k.endswith("Signature")},
            ),
            "signed as a job": (payload, headers(payload, kind=JOB)),
            "upper case": (
                *(
                    payload,
                    good | {"X-ManiReports-Signature": good["X-ManiReports-Signature"].upper()},
                ),
            ),
        }
        answers = {name: rig.post(body, given) for name, (body, given) in forged.items()}
        assert answers == dict.fromkeys(forged, HTTPStatus.UNAUTHORIZED)
        assert rig.stored() == 0
        assert rig.post(payload, good) == HTTPStatus.ACCEPTED

    @pytest.mark.parametrize("sign_of", [1, -1])
    def test_a_time_too_far_off_is_refused(self, rig: Rig, sign_of: int) -> None:
        payload = rig.payload()
        for age in (CLOCK_SECONDS + 5, 10**9, 10**12):
            assert rig.post(payload, headers(payload, age=sign_of * age)) == HTTPStatus.UNAUTHORIZED
        assert rig.stored() == 0
        near = headers(payload, age=sign_of * (CLOCK_SECONDS - 10))
        assert rig.post(payload, near) == HTTPStatus.ACCEPTED

    def test_a_report_of_a_mebibyte_is_taken_and_one_byte_more_is_not(self, rig: Rig) -> None:
        payload = rig.payload()
        full = payload + " " * (MAX_RESULT_BYTES - len(payload))
        assert rig.post(full + " ", headers(full + " ")) == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        assert rig.stored() == 0
        assert rig.post(full, headers(full)) == HTTPStatus.ACCEPTED
        assert rig.post(payload, headers(payload)) == HTTPStatus.OK

    def test_the_same_report_at_the_same_time_is_stored_once(self, rig: Rig) -> None:
        payload = rig.payload()
        given = headers(payload)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: rig.post(payload, given), range(6)))
        assert sorted(answers) == [HTTPStatus.OK] * 5 + [HTTPStatus.ACCEPTED]
        assert rig.stored() == 1
