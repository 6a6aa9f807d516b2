"""Pollers without a daemon around them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.config import load
from sidecar.context import Context
from sidecar.pollers.base import Poller
from sidecar.store.companies import Companies, Company


@contextmanager
def new_users_poller(config: Path) -> Iterator[tuple[Context, Poller]]:
    """Core's new users."""
    with poller_of(config, "new_users") as found:
        yield found


@contextmanager
def poller_of(config: Path, name: str) -> Iterator[tuple[Context, Poller]]:
    """The poller of a configured site, leading it."""
    context = Context(load(config, {}))
    assert context.lease.acquire()
    yield context, context.pollers(context.identify().site_uid)[name]
    context.close()


def claim(
    context: Context, poller: Poller, company: int = 0, claimed: Callable[[], None] = lambda: None
) -> float | None:
    """One poll that claims whatever waits of a company; returns what it says. Nothing is sent."""
    companies = Companies({company: Company(company, enabled=True)}, Company(0))
    return poller.poll(context.observe().config, companies, lambda _: "", claimed)
