"""``status`` says on one screen what the site does."""

import json

from tests.e2e.world import World
from tests.support.wait import wait_for


def test_status_of_a_working_site(world: World) -> None:
    idle = world.command("status")
    assert "No sidecar leads this site" in idle
    users = world.site.add_users(1, 30)
    world.command("pause", "all")
    with world.start() as sidecar:
        sidecar.wait_for_line("leading this site")
        world.site.queue("user_create", 1, users)
        world.site.queue("license_allocated", 1, users[:3])
        wait_for(lambda: world.states() == {"pending": 30}, 30, "claimed and held")
        shown = world.command("status")
        assert "Led by" in shown
        assert "held: all mail is held: `resume all`" in shown
        assert "claimed and on their way: 30 mails" in shown
        assert "0/30" in shown
        told = json.loads(world.command("status", "--json"))
        assert told["leader"]
        assert told["waiting"] == [
            {"company": 1, "provider": "smtp", "status": "pending", "mails": 30}
        ]

        def waiting() -> bool:
            backlog = json.loads(world.command("status", "--json"))["backlog"]
            return bool(backlog.get("iomad_mail", {}).get("rows") == 3)

        wait_for(waiting, 30, "three rows stay in Moodle's queue")
        assert "iomad mail: 3 rows wait in Moodle" in world.command("status")
        check = world.command("upgrade-check")
        assert "They fit together." in check
        assert "GRANT" in world.command("grants")
        assert sidecar.stop() == 0


def test_tables_that_do_not_fit_are_refused_clearly(world: World) -> None:
    world.sql("UPDATE mdl_manireports_cloud_sidecar SET state = '{\"schema\": 99}'")
    world.command("upgrade-check", ok=False)
    with world.start() as sidecar:
        sidecar.wait_for_line("our tables are version 99")
        sidecar.stop()
