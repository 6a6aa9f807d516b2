"""Every alert fires where it should and stays silent where it should: asked of promtool."""

import json
import re
import subprocess
from pathlib import Path

from tests.metrics.files import RULES

Series = dict[str, str]

JOB = 'job="manireports",instance="a"'
WHO = f'{JOB},company="1",provider="smtp"'
WAITS = f"manireports_waiting_oldest_age_seconds{{{WHO}}}"
RESULTS = f"manireports_mail_results_total{{{WHO},status="

CASES: dict[str, tuple[Series, list[Series]]] = {
    "ManireportsDown": ({f"up{{{JOB}}}": "0x90"}, [{f"up{{{JOB}}}": "1x90"}]),
    "ManireportsAbsent": (
        {'up{job="other"}': "1x90"},
        [{f"up{{{JOB}}}": "1x90"}],
    ),
    "ManireportsNotMoving": (
        {f"manireports_heartbeat_age_seconds{{{JOB}}}": "0+60x90"},
        [{f"manireports_heartbeat_age_seconds{{{JOB}}}": "1x90"}],
    ),
    "ManireportsNoLeader": (
        {f"manireports_site_led{{{JOB}}}": "0x90"},
        [
            {
                f"manireports_site_led{{{JOB}}}": "0x90",
                'manireports_site_led{job="manireports",instance="b"}': "1x90",
            }
        ],
    ),
    "ManireportsNotReady": (
        {f'manireports_ready{{{JOB},part="locks"}}': "0x90"},
        [
            {f'manireports_ready{{{JOB},part="locks"}}': "1x90"},
            {f'manireports_ready{{{JOB},part="providers"}}': "0x90"},
        ],
    ),
    "ManireportsQueueNotMoving": (
        {f'manireports_backlog_oldest_age_seconds{{{JOB},source="iomad_mail"}}': "3600+60x90"},
        [{f'manireports_backlog_oldest_age_seconds{{{JOB},source="iomad_mail"}}': "900x90"}],
    ),
    "ManireportsMailWaits": (
        {WAITS: "1000+60x90", f"manireports_paused{{{JOB}}}": "0x90"},
        [
            {WAITS: "1000+60x90", f"manireports_paused{{{JOB}}}": "1x90"},
            {WAITS: "1000+60x90", f'manireports_company_held{{{JOB},company="1"}}': "1x90"},
            {WAITS: "30x90"},
        ],
    ),
    "ManireportsFailures": (
        {RESULTS + '"sent"}': "0+90x90", RESULTS + '"failed"}': "0+10x90"},
        [
            {RESULTS + '"sent"}': "0+99x90", RESULTS + '"failed"}': "0+1x90"},
            {RESULTS + '"sent"}': "0x90", RESULTS + '"failed"}': "0x40 2x50"},
        ],
    ),
    "ManireportsUnknownMails": (
        {RESULTS + '"unknown"}': "0x40 3x50"},
        [{RESULTS + '"unknown"}': "3x90"}],
    ),
    "ManireportsBounces": (
        {f'manireports_bounce_rate{{{JOB},company="1"}}': "0.045x90"},
        [{f'manireports_bounce_rate{{{JOB},company="1"}}': "0.01x90"}],
    ),
    "ManireportsComplaints": (
        {f'manireports_complaint_rate{{{JOB},company="1"}}': "0.0009x90"},
        [{f'manireports_complaint_rate{{{JOB},company="1"}}': "0.0001x90"}],
    ),
    "ManireportsDeadLetters": (
        {f'manireports_provider_queue_messages{{{WHO},queue="dead_letters"}}': "2x90"},
        [
            {f'manireports_provider_queue_messages{{{WHO},queue="dead_letters"}}': "0x90"},
            {f'manireports_provider_queue_messages{{{WHO},queue="jobs"}}': "2x90"},
        ],
    ),
    "ManireportsProviderQueue": (
        {f'manireports_provider_queue_messages{{{WHO},queue="jobs"}}': "0+10x90"},
        [{f'manireports_provider_queue_messages{{{WHO},queue="jobs"}}': "2000-10x90"}],
    ),
    "ManireportsQuota": (
        {
            f'manireports_daily_quota_used_mails{{{JOB},company="1"}}': "950x90",
            f'manireports_daily_quota_mails{{{JOB},company="1"}}': "1000x90",
        },
        [
            {
                f'manireports_daily_quota_used_mails{{{JOB},company="1"}}': "500x90",
                f'manireports_daily_quota_mails{{{JOB},company="1"}}': "1000x90",
            }
        ],
    ),
    "ManireportsBreakerOpen": (
        {f"manireports_breaker_failing_seconds{{{WHO}}}": "0+60x90"},
        [{f"manireports_breaker_failing_seconds{{{WHO}}}": "0 60 120 0x87"}],
    ),
    "ManireportsLockBusy": (
        {f'manireports_lock_busy_seconds{{{JOB},source="iomad_mail"}}': "0+60x90"},
        [{f'manireports_lock_busy_seconds{{{JOB},source="iomad_mail"}}': "60x90"}],
    ),
    "ManireportsPollFails": (
        {f'manireports_poll_success{{{JOB},poller="new_users"}}': "0x90"},
        [{f'manireports_poll_success{{{JOB},poller="new_users"}}': "1 1 0 1x87"}],
    ),
    "ManireportsLedger": (
        {f"manireports_ledger_difference{{{JOB}}}": "-1x90"},
        [{f"manireports_ledger_difference{{{JOB}}}": "0x90"}],
    ),
    "ManireportsResultsRefused": (
        {f'manireports_results_total{{{JOB},verdict="bad_signature"}}': "0+1x90"},
        [
            {f'manireports_results_total{{{JOB},verdict="applied"}}': "0+9x90"},
            {f'manireports_results_total{{{JOB},verdict="bad_signature"}}': "4x90"},
        ],
    ),
    "ManireportsInbox": (
        {f"manireports_inbox_oldest_age_seconds{{{JOB}}}": "0+60x90"},
        [{f"manireports_inbox_oldest_age_seconds{{{JOB}}}": "2x90"}],
    ),
    "ManireportsFacts": (
        {f"manireports_collector_tables_success{{{JOB}}}": "0x90"},
        [{f"manireports_collector_tables_success{{{JOB}}}": "1x90"}],
    ),
    "ManireportsDisk": (
        {
            f'manireports_disk_free_bytes{{{JOB},folder="state"}}': "1e9x90",
            f'manireports_disk_size_bytes{{{JOB},folder="state"}}': "1e11x90",
        },
        [
            {
                f'manireports_disk_free_bytes{{{JOB},folder="state"}}': "5e10x90",
                f'manireports_disk_size_bytes{{{JOB},folder="state"}}': "1e11x90",
            }
        ],
    ),
}


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_valid_and_each_has_a_case_and_a_runbook() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    text = RULES.read_text("utf-8")
    alerts = re.findall(r"- alert: (\w+)", text)
    assert sorted(alerts) == sorted(CASES)
    runbooks = (RULES.parents[3] / "docs" / "runbooks.md").read_text("utf-8")
    for alert in alerts:
        assert f"runbook_url: docs/runbooks.md#{alert.lower()}\n" in text
        assert f"\n## {alert}\n" in runbooks


def test_each_alert_fires_where_it_should_and_nowhere_else(tmp_path: Path) -> None:
    tests = []
    for alert, (fires, silent) in CASES.items():
        for series, expected in ((fires, True), *((quiet, False) for quiet in silent)):
            tests.append(
                {
                    "interval": "1m",
                    "name": f"{alert}: {series}",
                    "input_series": [{"series": s, "values": v} for s, v in series.items()],
                    "promql_expr_test": [
                        {
                            "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                            "eval_time": "60m",
                            "exp_samples": [{"labels": "{}", "value": 1}] if expected else [],
                        }
                    ],
                }
            )
    file = tmp_path / "tests.yml"  # JSON is YAML
    file.write_text(
        json.dumps(
            {
                "rule_files": [str(RULES)],
                "evaluation_interval": "1m",
                "tests": tests,
            }
        )
    )
    promtool("test", "rules", str(file))
