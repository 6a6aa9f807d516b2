"""The new-users poller without a daemon around it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.config import load
from sidecar.context import Context
from sidecar.pollers.base import Poller
from sidecar.store.companies import Companies, Company


@contextmanager
def new_users_poller(config: Path) -> Iterator[tuple[Context, Poller]]:
    """The poller of a configured site, leading it."""
    context = Context(load(config, {}))
    assert context.lease.acquire()
    yield context, context.pollers(context.identify().site_uid)["new_users"]
    context.close()


def claim(context: Context, poller: Poller) -> None:
    """One poll that claims whatever waits without a company; nothing is sent."""
    companies = Companies({0: Company(0, enabled=True)}, Company(0))
    poller.poll(context.observe().config, companies, lambda _: "", lambda: None)
