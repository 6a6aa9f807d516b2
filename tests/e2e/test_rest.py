"""A daemon with nothing to do asks for little more than the pulse, and misses nothing."""

from collections.abc import Callable, Iterator

import pytest

from sidecar.config import load
from sidecar.context import Context
from sidecar.pulse import Pulse
from sidecar.rest import REST_SECONDS, Rest
from tests.e2e.world import World


@pytest.fixture
def context(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setattr("sidecar.pulse.FRESH_SECONDS", 0)
    made = Context(load(world.config, {}))
    yield made
    made.close()


def rested(pulse: Pulse) -> Rest:
    """After a full cycle that found nothing to do."""
    rest = Rest(pulse)
    rest.begin()
    rest.over(idle=True)
    return rest


def queue_a_mail(world: World) -> None:
    world.site.queue("user_create", 1, world.site.add_users(1, 1))


CHANGES: dict[str, Callable[[World], object]] = {
    "a mail": queue_a_mail,
    "a new user": lambda world: world.site.upload_users(1),
    "a request": lambda world: world.sql(
        "INSERT INTO mdl_manireports_cloud_requests (action, params, status, answer, created_by,"
        " created_at) VALUES ('cancel', '{}', 'new', '', '', 1)"
    ),
    "a company": lambda world: world.command("company", "set", "1", "--disable"),
    "a switch": lambda world: world.site.set_config("noemailever", "1"),
    "a task": lambda world: world.sql("UPDATE mdl_task_scheduled SET disabled = 1"),
    "a pause": lambda world: world.command("pause", "all"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_rest_ends_when_something_is_to_do(
    world: World, context: Context, change: Callable[[World], object]
) -> None:
    rest = rested(context.pulse())
    assert rest.lasts()
    change(world)
    assert not rest.lasts()


def test_a_rest_ends_by_itself(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("sidecar.rest.time.monotonic", lambda: now[0])
    rest = rested(context.pulse())
    assert rest.lasts()
    now[0] += REST_SECONDS
    assert not rest.lasts()


def test_what_comes_while_the_cycle_runs_is_not_slept_over(world: World, context: Context) -> None:
    rest = Rest(context.pulse())
    rest.begin()
    queue_a_mail(world)
    rest.over(idle=True)
    assert not rest.lasts()


def test_nobody_rests_while_somebody_waits_for_an_answer(world: World, context: Context) -> None:
    CHANGES["a request"](world)
    assert not rested(context.pulse()).lasts()


def test_a_cycle_with_work_is_followed_by_another(context: Context) -> None:
    rest = Rest(context.pulse())
    rest.begin()
    rest.over(idle=False)
    assert not rest.lasts()
