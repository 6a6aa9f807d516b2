"""A provider that hangs for one company: the results of all others are taken in all the same."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from sidecar import errands
from sidecar.demo.cloud import ACCESS_KEY, REGION, SECRET_KEY, cloud
from sidecar.errands import Errands
from sidecar.errors import Unavailable
from sidecar.message import RESULT, MailStatus, SigningKey, encode_result, seal
from sidecar.metrics.registry import Metrics
from sidecar.moodle.encryption import Vault
from sidecar.pollers.results import Results
from sidecar.recorder import Recorder
from sidecar.routes import Routes
from sidecar.settings import Settings
from sidecar.store import companies
from tests.support.aws_door import AwsDoor, Break, Call, Trouble
from tests.support.books import Books, Captured
from tests.support.wait import wait_for

COMPANIES = 8
HANGS = 1


@dataclass
class Rig:
    """Companies with a results queue each, at an AWS that never answers for one of them."""

    books: Books
    door: AwsDoor
    results: Results
    queues: dict[int, str]
    keys: dict[int, SigningKey]

    def tell(self, company: int) -> Captured:
        """A job of the company's whose result lies in its queue."""
        job = self.books.capture(1, company=company)
        self.books.ask(job.batch)
        told = self.books.says(job.mails[0], MailStatus.SENT)
        result = encode_result(self.books.result(job.batch, told))
        body = seal(RESULT, result, self.keys[company], int(time.time()))
        boto3.client("sqs").send_message(QueueUrl=self.queues[company], MessageBody=body)
        return job

    def poll(self) -> None:
        self.results.poll(lambda: companies.read_companies(self.books.database, 10))


@pytest.fixture
def rig(books: Books, tmp_path: Path) -> Iterator[Rig]:
    vault = Vault(tmp_path)
    with cloud() as running, closing(AwsDoor(running.endpoint)) as door:
        queues, keys = {}, {}
        for company in range(1, COMPANIES + 1):
            url = boto3.client("sqs").create_queue(QueueName=f"results-{company}")["QueueUrl"]
            queues[company] = url.replace(running.endpoint, door.url)
            keys[company] = SigningKey(f"c{company}", f"secret of {company}")
            values: dict[str, object] = {
                "provider": "aws",
                "enabled": 1,
                "aws_region": REGION,
                "aws_access_key": vault.conceal(ACCESS_KEY),
                "aws_secret_key": vault.conceal(SECRET_KEY),
                "sqs_queue_url": running.queue_url.replace(running.endpoint, door.url),
                "results_queue_url": queues[company],
            }
            key, secret = keys[company].key, vault.conceal(keys[company].secret)
            with books.write() as tx:
                companies.set_company(tx, books.database, company, values)
                companies.replace_callback_key(tx, books.database, company, key, secret)
        metrics = Metrics()
        recorder = Recorder(books.database, books.lease, metrics)
        routes = Routes(Settings(aws_endpoint_url=door.url), lambda: None, vault.reveal)
        routes.site_uid = books.site_uid
        results = Results(
            books.database, books.lease, recorder, routes, vault, metrics, books.site_uid
        )
        yield Rig(books, door, results, queues, keys)
        recorder.stop(1)
    routes.close(1)


def test_a_company_that_hangs_slows_no_other(rig: Rig) -> None:
    def hang(call: Call) -> Trouble:
        mine = call.action == "ReceiveMessage" and f"results-{HANGS}".encode() in call.body
        return Break.HANG if mine else None

    rig.door.plan = hang
    jobs = [rig.tell(company) for company in range(1, COMPANIES + 1)]

    def settled(number: int) -> bool:
        rig.poll()
        return [rig.books.states(job.mails) for job in jobs[1:]] == [["sent"]] * number

    # Its own call ends after 21 s, and is made three times.
    wait_for(lambda: settled(7), 15, "the others are settled")
    jobs.append(rig.tell(2))
    wait_for(lambda: settled(8), 15, "what came later is settled")
    assert rig.books.states(jobs[0].mails) == ["processing"]


def test_places_that_hang_leave_room_for_those_that_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(errands, "LONG_SECONDS", 0.2)
    release = threading.Event()
    seen: set[int] = set()

    def hang() -> int:
        release.wait()
        raise Unavailable("no answer")

    def answer(place: int) -> int:
        seen.add(place)
        return 1

    made: Errands[int] = Errands("test queue", 60)
    bad, good = range(40), range(100, 130)
    places = dict.fromkeys(bad, hang) | {place: (lambda p=place: answer(p)) for place in good}
    deadline = time.monotonic() + 10
    found = 0
    while len(seen) < len(good) and time.monotonic() < deadline:
        made.begin(places)
        made.wait(0.1)
        found += made.take()
    release.set()
    assert seen == set(good)
    assert found >= len(good) - 1
    while made.wait(1):
        pass
    assert made.take() >= 0


def test_what_a_look_raises_is_raised_where_it_is_taken() -> None:
    def fail() -> int:
        raise ValueError("a defect")

    made: Errands[str] = Errands("test queue", 60)
    made.begin({"a": fail, "b": lambda: 3})
    while made.wait(1):
        pass
    with pytest.raises(ValueError, match="a defect"):
        made.take()
    made.begin({"b": lambda: 4})
    while made.wait(1):
        pass
    assert made.take() == 4
