"""What the daemon shows: metrics, health, logs, and the commands' pages."""

import json
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.demo.sink import Rule
from tests.e2e.world import World
from tests.support.mariadb import free_port
from tests.support.processes import Sidecar
from tests.support.wait import wait_for

SECRET = "S3cret-Passw0rd"


def samples(port: int) -> dict[str, float]:
    """Every sample by its name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        families = text_string_to_metric_families(page.read().decode())
        return {
            f"{s.name}{{{','.join(f'{k}={v}' for k, v in sorted(s.labels.items()))}}}": s.value
            for family in families
            for s in family.samples
        }


def test_metrics_and_health(world: World) -> None:
    port = free_port()
    world.config = world.write_config(world.url, metrics_port=port)
    users = world.site.add_users(1, 30)
    world.sink.rules.append(Rule("rcpt", "550 5.1.1 no such user", match=users[0].email))
    world.site.queue("user_create", 1, users)
    world.site.queue("license_allocated", 1, users[:3])
    with Sidecar(world.config) as sidecar:
        sidecar.wait_for_line("leading this site")
        wait_for(lambda: world.states() == {"sent": 29, "permanently_failed": 1}, 30, "all ended")
        found = samples(port)
        assert found["manireports_mails_claimed_total{company=1,type=csv_import}"] == 30
        assert found["manireports_mail_results_total{company=1,provider=smtp,status=sent}"] == 29
        assert (
            found[
                "manireports_mail_results_total{company=1,provider=smtp,status=permanently_failed}"
            ]
            == 1
        )
        assert (
            found["manireports_mails_left{company=1,reason=below_threshold,source=iomad_mail}"] == 3
        )
        assert found["manireports_leader{}"] == 1
        assert found["manireports_ledger_difference{}"] == 0
        assert found["manireports_claim_duration_seconds_count{}"] >= 1
        assert not any("@" in name for name in found)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as page:
            assert page.status == 200
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
        assert sidecar.stop() == 0


def test_logs_are_json_and_hold_no_secret(world: World) -> None:
    world.site.set_config("smtpuser", "mailer")
    world.site.set_config("smtppass", SECRET)
    world.sink.auth = ("LOGIN",)
    world.sink.users = {"mailer": SECRET}
    world.config = world.write_config(world.url, log_format="json", log_level="DEBUG")
    users = world.site.add_users(1, 20)
    world.sink.rules.append(Rule("rcpt", "450 4.2.1 busy", match=users[0].email, times=1))
    world.site.queue("user_create", 1, users, body=f"<p>Your password: {SECRET}</p>")
    with Sidecar(world.config, "run", "--until-idle") as sidecar:
        assert sidecar.wait(60) == 0
        lines = sidecar.output().splitlines()
    assert len(world.sink.messages) == 20
    assert SECRET not in "\n".join(lines)
    assert all({"time", "level", "message"} <= json.loads(line).keys() for line in lines)
    for shown in (("jobs",), ("job", "1"), ("job", "1", "--json"), ("check",), ("company", "list")):
        assert SECRET not in world.command(*shown)
    stored = world.sql("SELECT * FROM mdl_manireports_cloud_recipients")
    assert SECRET not in str(stored)


def test_check_says_what_is_ready(world: World) -> None:
    shown = world.command("check")
    assert "FAIL" not in shown
    assert "cron lock" in shown
    assert "company 1" in shown
    assert "new users" in shown
    lines = json.loads(world.command("check", "--json"))
    assert {"level", "what", "detail"} == lines[0].keys()


def test_jobs_and_job_speak_the_admins_words(world: World) -> None:
    users = world.site.add_users(1, 20)
    world.site.add_manager(1)
    world.sink.rules.append(Rule("rcpt", "550 5.1.1 no such user", match=users[3].email))
    world.site.queue("user_create", 1, users)
    world.drain()
    listed = world.command("jobs")
    assert "Account mails, Acme Training Ltd" in listed
    assert "20 users + 20 copies" in listed
    shown = world.command("job", "1")
    assert users[3].email in shown
    assert "no such user" in shown
    assert "39 sent" in shown


def test_company_list_shows_all_companies(world: World) -> None:
    world.site.add_company(2, "Globex & Søn")
    listed = json.loads(world.command("company", "list", "--json"))
    assert [(row["company_id"], row["enabled"]) for row in listed] == [
        (0, False),
        (1, True),
        (2, False),
    ]
    assert "Globex & Søn" in world.command("company", "list")
