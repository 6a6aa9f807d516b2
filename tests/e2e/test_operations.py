"""Notes of bulk operations, as the plugin's observers write them, and the real daemon."""

import time

from sidecar.moodle.encryption import key_path, make_key
from tests.conftest import on_every_database
from tests.e2e.world import World
from tests.support.wait import wait_for

LONG = 300
"""A quiet period that no test waits for."""


def note(
    world: World, group: str, count: int, *, user: int = 7, finished: int, age: int = 0
) -> None:
    """Write a note as the plugin does."""
    now = int(time.time()) - age
    world.sql(
        "INSERT INTO mdl_manireports_cloud_operations"
        " (type, company_id, userid, count, first_at, last_at, finished)"
        " VALUES (:type, 1, :user, :count, :now, :now, :finished)",
        type=group,
        user=user,
        count=count,
        now=now,
        finished=finished,
    )


def patient(world: World) -> None:
    """Without a note jobs would stay open for a long time."""
    world.config = world.write_config(world.url, quiet_period=LONG)


def jobs(world: World) -> list[tuple[str, int, bool]]:
    """Status, acting user, whether it is closed."""
    rows = world.sql(
        "SELECT status, created_by, closed_at FROM mdl_manireports_cloud_jobs ORDER BY id"
    )
    return [(row[0], row[1], row[2] is not None) for row in rows]


@on_every_database
def test_the_job_carries_the_admin_and_closes_with_the_operation(world: World) -> None:
    patient(world)
    people = world.site.add_users(1, 60)
    note(world, "csv_import", 30, finished=0)
    world.site.queue("user_create", 1, people[:30])
    with world.start() as daemon:
        wait_for(lambda: world.states() == {"sent": 30}, 30, "what is queued so far is sent")
        assert [job[1:] for job in jobs(world)] == [(7, False)]
        world.site.queue("user_create", 1, people[30:])
        world.sql("UPDATE mdl_manireports_cloud_operations SET count = 60, finished = 1")
        wait_for(lambda: jobs(world) == [("completed", 7, True)], 30, "the job is complete")
        assert world.states() == {"sent": 60}
        assert daemon.stop() == 0
    assert world.rcpts() == {person.email: 1 for person in people}


def test_new_users_of_core_too(world: World) -> None:
    patient(world)
    make_key(key_path(world.tmp / "moodledata"))
    newcomers = world.site.upload_users(20, 1)
    note(world, "csv_import", 20, user=2, finished=1)
    with world.start() as daemon:
        wait_for(lambda: jobs(world) == [("completed", 2, True)], 40, "the job is complete")
        assert daemon.stop() == 0
    assert world.states() == {"sent": len(newcomers)}


def test_a_job_stays_open_while_another_operation_of_its_kind_runs(world: World) -> None:
    patient(world)
    people = world.site.add_users(1, 24)
    note(world, "license_allocation", 12, finished=1)
    note(world, "license_allocation", 1, user=8, finished=0)
    world.site.queue("license_allocated", 1, people[:12])
    with world.start() as daemon:
        wait_for(lambda: world.states() == {"sent": 12}, 30, "what is queued so far is sent")
        world.site.queue("license_allocated", 1, people[12:])
        wait_for(lambda: world.states() == {"sent": 24}, 30, "the rest is sent")
        assert [job[1:] for job in jobs(world)] == [(7, False)]
        world.sql("UPDATE mdl_manireports_cloud_operations SET finished = 1")
        wait_for(lambda: jobs(world) == [("completed", 7, True)], 30, "the job is complete")
        assert daemon.stop() == 0


def test_a_request_that_crashed_ends_nothing_and_hinders_nothing(world: World) -> None:
    note(world, "csv_import", 12, finished=0, age=60)
    world.site.queue("user_create", 1, world.site.add_users(1, 12))
    with world.start() as daemon:
        wait_for(lambda: jobs(world) == [("completed", 7, True)], 30, "the quiet period is over")
        assert daemon.stop() == 0


def test_a_campaign_that_is_queued_completely_closes_at_once(world: World) -> None:
    patient(world)
    people = world.site.add_users(1, 15)
    now = int(time.time())
    world.sql(
        "INSERT INTO mdl_manireports_cloud_campaigns"
        " (type, company_id, subject, body, created_by, status, created_at)"
        " VALUES ('reengagement', 1, 'Hello', '<p>Come back</p>', 7, 'queued', :now)",
        now=now,
    )
    for person in people:
        world.sql(
            "INSERT INTO mdl_manireports_cloud_outbox (campaign_id, userid, created_at)"
            " VALUES (1, :id, :now)",
            id=person.id,
            now=now,
        )
    note(world, "reengagement", 15, finished=1)
    with world.start() as daemon:
        wait_for(lambda: jobs(world) == [("completed", 7, True)], 30, "the campaign is done")
        assert daemon.stop() == 0
    assert world.states() == {"sent": 15}
