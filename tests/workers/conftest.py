"""The worker's surroundings; the servers are started once, each test finds them empty."""

import itertools
import os
from collections.abc import Iterator
from contextlib import closing

import pytest
from moto.server import ThreadedMotoServer

from cloud_workers.aws import lambda_handler
from tests.workers.rig import CallbackPage, FakeSes, Rig, client

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def _servers() -> Iterator[tuple[FakeSes, CallbackPage, str, object, object]]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    url = f"http://{host}:{port}"
    with (
        FakeSes() as ses,
        CallbackPage() as page,
        closing(client("sqs", url)) as sqs,
        closing(client("dynamodb", url)) as dynamodb,
    ):
        yield ses, page, url, sqs, dynamodb
        lambda_handler.aws_clients.cache_clear()
    moto.stop()


@pytest.fixture
def rig(
    _servers: tuple[FakeSes, CallbackPage, str, object, object], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rig]:
    """Empty queues and an empty table; the environment is the worker's; its rests take no time."""
    ses, page, _, _, _ = _servers
    ses.reset()
    page.reset()
    surroundings = Rig(*_servers, f"rig{next(_numbers)}")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in surroundings.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(lambda_handler, "rest", lambda seconds: None)
    yield surroundings
    ses.reset()


@pytest.fixture
def new_clients() -> Iterator[None]:
    """For a test that changes what clients are made of: endpoints, time-outs."""
    lambda_handler.aws_clients.cache_clear()
    yield
    lambda_handler.aws_clients.cache_clear()
