"""A real Prometheus scrapes the real daemon, and is asked every query of every dashboard."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.demo.sink import Rule
from tests.e2e.conftest import sink, world  # noqa: F401 - fixtures
from tests.e2e.world import World
from tests.metrics.files import DASHBOARDS, RULES, dashboard_queries, metric_names
from tests.support.mariadb import free_port
from tests.support.processes import Sidecar
from tests.support.wait import wait_for

MAY_BE_EMPTY = {
    "manireports_batch_retries_total",
    "manireports_batches_in_flight",
    "manireports_bounce_rate",
    "manireports_breaker_failing_seconds",
    "manireports_breaker_open",
    "manireports_callback_delay_seconds_bucket",
    "manireports_complaint_rate",
    "manireports_daily_quota_mails",
    "manireports_daily_quota_used_mails",
    "manireports_feedback_total",
    "manireports_lock_busy_seconds",
    "manireports_lock_busy_total",
    "manireports_provider_queue_messages",
    "manireports_ready",
    "manireports_results_total",
    "manireports_send_rate_limit_mails_per_second",
    "manireports_waiting_mails",
    "manireports_waiting_oldest_age_seconds",
}
"""What this site has no numbers of: no provider that tells later, no limits, nothing amiss."""


def page_of(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as page:
        return str(page.read().decode())


@contextmanager
def prometheus(port: int, target: int, folder: Path) -> Iterator[None]:
    folder.mkdir()
    config = folder / "prometheus.yml"
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(RULES)],
                "scrape_configs": [
                    {
                        "job_name": "manireports",
                        "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
                    }
                ],
            }
        )
    )
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(folder / "data", ignore_errors=True)


def ask(port: int, expression: str) -> list[Any]:
    query = urllib.parse.urlencode({"query": expression})
    answer = json.loads(page_of(port, f"/api/v1/query?{query}"))
    assert answer["status"] == "success", expression
    found: list[Any] = answer["data"]["result"]
    return found


@pytest.mark.slow
def test_every_query_of_the_dashboards_is_answered(world: World, tmp_path: Path) -> None:  # noqa: F811
    port, asked = free_port(), free_port()
    world.config = world.write_config(world.url, metrics_port=port)
    users = world.site.add_users(1, 30)
    with (
        Sidecar(world.config) as sidecar,
        prometheus(asked, port, tmp_path / "prometheus"),
    ):
        sidecar.wait_for_line("leading this site")
        wait_for(lambda: ask_or_not(asked, "manireports_leader == 1"), 60, "a first scrape")
        world.sink.rules.append(Rule("rcpt", "550 5.1.1 no such user", match=users[0].email))
        world.site.queue("user_create", 1, users)
        world.site.queue("license_allocated", 1, users[:3])
        sent = 'manireports_mail_results_total{status="sent"} == 29'
        wait_for(lambda: ask_or_not(asked, sent), 90, "Prometheus knows of the sent mails")
        failed = 'manireports_recent_mails{status="permanently_failed"} == 1'
        wait_for(lambda: ask_or_not(asked, failed), 30, "and what the tables say")
        page = page_of(port, "/metrics")
        empty = [
            f"{where}: {expression}"
            for where, expression in dashboard_queries()
            if not ask(asked, expression) and metric_names(expression) - MAY_BE_EMPTY
        ]
        rules = json.loads(page_of(asked, "/api/v1/rules"))["data"]["groups"][0]["rules"]
        ready = json.loads(page_of(port, "/readyz"))
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    known = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}
    known |= {f"{name}_bucket" for name in known}
    named = metric_names(RULES.read_text("utf-8"))
    for path in DASHBOARDS:
        named |= metric_names(path.read_text("utf-8"))
    assert named - known == set(), "metrics that the daemon does not have"
    assert empty == []
    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
    assert ready["ready"] is True
    assert "@" not in page


def ask_or_not(port: int, expression: str) -> list[Any]:
    """The same while Prometheus may not answer yet."""
    try:
        return ask(port, expression)
    except OSError:
        return []
