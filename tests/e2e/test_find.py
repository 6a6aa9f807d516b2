"""``find``: every mail to a person, and what still waits for them."""

import json
from typing import Any

from tests.e2e.world import World


def found(world: World, person: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(world.command("find", person, "--json"))
    return result


def test_what_became_of_a_persons_mails(world: World) -> None:
    anna, *others = world.site.add_users(1, 12)
    world.site.queue("user_create", 1, [anna, *others])
    world.drain()
    world.site.queue("license_allocated", 1, [anna])
    for person in (anna.email, str(anna.id), anna.username):
        answer = found(world, person)
        assert [(m["status"], m["role"], m["email"]) for m in answer["mails"]] == [
            ("sent", "user", anna.email)
        ]
        (waits,) = answer["waiting"]
        assert "enough wait for a bulk" in waits["why"]
    world.command("disable", "1")
    world.command("suppress", "add", anna.email, "--company", "1")
    shown = world.command("find", anna.email)
    assert "sent" in shown
    assert "suppressed by the admin" in shown
    assert "company 1 is not enabled" in shown
    assert "knows no user" in world.command("find", "nobody@learn.example.test")
