# ruff: noqa: E501 - SQL and patterns stay whole
"""The merge on real trees: `python -m tests.plugin.merge_proof MOODLE_DIR EARLIER_DIR`.

Installs the earlier ManiReports into a real Moodle or IOMAD, fills its tables, looks at all of its
pages, puts the merged plugin in its place, upgrades, and looks again. Then the earlier plugin
brings out a newer version, and in the end the merged plugin is uninstalled. Both folders are only
read."""

from __future__ import annotations

import argparse
import json
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.merging.account import account
from scripts.merging.merge import merge, write
from scripts.merging.tree import read_plugin
from tests.iomad.facts import ProofError, free_port, must
from tests.iomad.install import Site, copied, is_iomad, opened, php, prepared, release

from .browsing import Browser, Web, visible

HERE = Path(__file__).parent
OURS = HERE.parents[1] / "moodle_plugin"
PLUGIN = Path("local/manireports")
NO_PAGES = re.compile(
    r"^(?:classes|db|lang|cli|tests|lib|settings|vendor)/|^(?:version|lib|settings)\.php$"
)
ARGUMENTS = {
    "ui/report_view.php": "&report=course_completion",
    "ui/export.php": "&report=course_completion&format=csv",
    "ui/ajax/heartbeat.php": "&courseid=1&timestamp=1",
}
MEANT = re.compile(r"report_builder\.php|ui/ajax/test_|test_scenarios|heartbeat_debug")
"""Complaints of pages that try their own checks with forbidden input."""

SECRETS = ("earlier-secret-in-clear", "AKIAEARLIER", "Clear-password-1")


class Proof:
    """One site, from the earlier plugin to none."""

    def __init__(self, site: Site, earlier: Path, run: Path) -> None:
        self.site, self.earlier, self.run = site, earlier, run
        self.plugin = site.code / PLUGIN
        self.password = "A-" + secrets.token_hex(8)

    def moodle(self, script: str, *arguments: str) -> str:
        return php(str(self.site.code / script), *arguments)

    def place(self, plugin: Path) -> None:
        """Puts a plugin in its place and runs Moodle's upgrade, twice: the second has nothing to do."""
        shutil.rmtree(self.plugin, ignore_errors=True)
        shutil.copytree(plugin, self.plugin)
        for _ in range(2):
            said = self.moodle("admin/cli/upgrade.php", "--non-interactive", "--allow-unstable")
            must(
                not re.search(r"exception|\bPHP (?:Warning|Notice)", said),
                f"the upgrade said:\n{said}",
            )
        self.moodle("admin/cli/purge_caches.php")

    def schema(self) -> None:
        said = self.moodle("admin/cli/check_database_schema.php")
        must("Database structure is ok" in said, said)

    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            php(str(HERE / "php/merge_facts.php"), str(self.site.code)).splitlines()[-1]
        )
        return found

    def pages(self, admin: Browser, web: Web) -> dict[str, tuple[int, str, list[str]]]:
        """Every page of the earlier plugin: its status, its text, and what PHP complained of."""
        seen = {}
        for path in sorted(read_plugin(self.earlier, "earlier").files):
            if path.endswith(".php") and not NO_PAGES.match(path):
                since = web.written()
                query = f"?sesskey={admin.sesskey}&job_id=2{ARGUMENTS.get(path, '')}"
                status, text = admin.get(f"/{PLUGIN}/{path}{query}")
                seen[path] = (status, text, web.troubles(since))
        return seen


def compare(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Nothing that Moodle knew of the earlier plugin is gone, but its own cloud tables."""
    must(after["version"] > before["version"], "the version did not go up")
    for what in ("capabilities", "tasks", "services", "strings", "pages", "tables"):
        lost = set(before[what]) - set(after[what])
        if what == "tables":
            lost -= {"manireports_cloud_recip", "manireports_cloud_conf"}
        must(not lost, f"lost {what}: {sorted(lost)}")
        print(f"  {what}: {len(before[what])} before, {len(after[what])} now, none lost")


def judge(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Every page opens, also those that did not before, and PHP has nothing to say."""
    must(set(before) == set(after), "the pages changed")
    bad = [path for path, (status, _, _) in before.items() if status >= 400 > after[path][0]]
    refusing = [path for path, (status, _, _) in after.items() if status >= 400]
    for path, (status, text, troubles) in after.items():
        refusal = before[path][:2] == (status, text) and text.startswith("{")
        expected = 410 if path == "cloud_callback.php" else status if refusal else 200
        shown = " ".join(visible(text).split())
        must(status == expected, f"{path} answers {status}: {shown[:500]}")
        failed = 'data-rel="fatalerror"' in text or text.lstrip().startswith('{"error"')
        must(expected != 200 or not failed, f"{path}: {shown[:500]}")
        real = [line for line in troubles if not MEANT.search(line)]
        must(not real, f"{path}:\n" + "\n".join(real))
        for secret in SECRETS:
            must(secret not in text, f"{path} shows {secret}")
    complaints = sum(len(troubles) for _, _, troubles in before.values())
    opened_now = len(after) - len(refusing)
    print(f"  {opened_now} pages open ({len(bad)} did not before: {', '.join(bad)})")
    print(f"  {len(refusing)} refuse what they have to: {', '.join(refusing)}")
    print(f"  PHP complained {complaints} times before, now only where pages try forbidden input")


def offload(proof: Proof, web: Web, admin: Browser, after: dict[str, Any], jobs: list[int]) -> None:
    """The earlier views show our jobs and recipients, to those who may see them."""
    page = after["designs/dashboard_v6_ultimate.php"][1]
    for job in jobs:
        must(f'<td class="table-cell">{job}</td>' in page, f"the dashboard lacks job {job}")
    must('name="aws_secret_key"' not in page, "the dashboard still asks for keys")
    must("cloud_settings.php" in page or not is_iomad(proof.site.code), "no link to the settings")

    def recipients(browser: Browser, job: int) -> str:
        return browser.get(
            f"/{PLUGIN}/ajax_job_details.php?job_id={job}&sesskey={browser.sesskey}"
        )[1]

    must("bo@globex.example.test" in recipients(admin, jobs[1]), "the recipients are not shown")
    added = proof.site.db().run(
        "INSERT INTO mdl_manireports_cloud_jobs (type,status,email_count,emails_sent,source,provider,label,"
        "company_id,created_at) VALUES ('user_create','processing',2,1,'iomad_mail','smtp','<b>New</b>',%s,"
        "UNIX_TIMESTAMP())",
        proof.site.db().value(
            "SELECT company_id FROM mdl_manireports_cloud_jobs WHERE id = %s", jobs[0]
        ),
    )
    must(added == 1, "no job of ours could be added")
    now = admin.get(f"/{PLUGIN}/designs/dashboard_v6_ultimate.php")[1]
    must(
        now.count("No active jobs.") < page.count("No active jobs."), "our running job is not shown"
    )
    must("<b>New</b>" not in now, "a label is not escaped")
    status, text = admin.get(f"/{PLUGIN}/cloud_callback.php", {"job_id": "1"})
    must(status == 410 and "Gone" in text, "the earlier callback is still there")
    if is_iomad(proof.site.code):
        manager = Browser(web, "boss.globex", proof.password)
        must("bo@globex.example.test" in recipients(manager, jobs[1]), "a manager sees no own job")
        must("acme" not in recipients(manager, jobs[0]), "a manager sees another company's mail")
        print("  a company manager sees the own company's recipients only")
    print("  Email Offload shows earlier and new jobs, recipients, and no keys")


def data(proof: Proof) -> None:
    """What was taken over keeps nothing in clear."""
    db = proof.site.db()
    rows = db.rows("SELECT recipient_data, secret FROM mdl_manireports_cloud_recipients")
    rows += db.rows(
        "SELECT aws_access_key, aws_secret_key FROM mdl_manireports_cloud_company_settings"
    )
    must(len(rows) == 6, f"{len(rows)} rows were taken over, not 6")
    for secret in SECRETS:
        must(secret not in str(rows), f"{secret} is still in the tables")
    enabled = db.value(
        "SELECT COUNT(*) FROM mdl_manireports_cloud_company_settings WHERE enabled <> 0"
    )
    must(enabled == 0, "a company was taken over enabled")
    running = db.value(
        "SELECT status FROM mdl_manireports_cloud_jobs WHERE type = 'user_created' ORDER BY id DESC LIMIT 1"
    )
    must(running == "cancelled", f"the unfinished job is {running}")


NEWER = """
    if ($oldversion < 2034010100) {
        set_config('earlierstep', (int)get_config('local_manireports', 'earlierstep') + 1, 'local_manireports');
        upgrade_plugin_savepoint(true, 2034010100, 'local', 'manireports');
    }
    return true;
}
"""


def newer(proof: Proof, running: int) -> None:
    """The earlier plugin brings out a version with one more step: merged again, only that runs."""
    tree = proof.run / "newer"
    shutil.copytree(proof.earlier, tree, ignore=shutil.ignore_patterns(".git"))
    text = (tree / "db/upgrade.php").read_text()
    start = text.index("function xmldb_local_manireports_upgrade(")
    end = text.index("    return true;\n}\n", start)
    rest = text[end + len("    return true;\n}\n") :]
    (tree / "db/upgrade.php").write_text(text[:end] + NEWER.lstrip("\n") + rest)
    version = (tree / "version.php").read_text()
    (tree / "version.php").write_text(re.sub(r"(->version = )\d+", r"\g<1>2034010100", version))
    write(merge(tree, OURS, after=running), proof.run / "merged-again", keep=tree)
    proof.place(proof.run / "merged-again")
    steps = proof.site.db().value(
        "SELECT value FROM mdl_config_plugins WHERE plugin = 'local_manireports' AND name = 'earlierstep'"
    )
    must(steps == "1", f"the new step ran {steps} times")
    proof.schema()
    print("  a newer version of the earlier plugin merges, and its step runs once")


def uninstall(proof: Proof) -> None:
    said = proof.moodle("admin/cli/uninstall_plugins.php", "--plugins=local_manireports", "--run")
    must("exception" not in said.lower(), said)
    left = proof.site.db().rows("SHOW TABLES LIKE 'mdl_manireports%%'")
    must(not left, f"tables are left: {left}")
    print("  uninstalled, no table left")


def prove(proof: Proof, port: int) -> None:
    out = proof.run / "merged"
    result = merge(proof.earlier, OURS)
    write(result, out, keep=proof.earlier)
    print(account(result), "\n")
    proof.place(proof.earlier)
    jobs = json.loads(
        php(str(HERE / "php/merge_fill.php"), str(proof.site.code), proof.password).splitlines()[-1]
    )
    with Web(proof.site.code, port, proof.run / "web.log") as web:
        facts = proof.facts()
        before = proof.pages(Browser(web, "admin", proof.password), web)
    print("the earlier plugin runs; now the merged one takes its place")
    proof.place(out)
    proof.schema()
    compare(facts, proof.facts())
    data(proof)
    with Web(proof.site.code, port, proof.run / "web.log") as web:
        admin = Browser(web, "admin", proof.password)
        after = proof.pages(admin, web)
        judge(before, after)
        offload(proof, web, admin, after, jobs)
    newer(proof, proof.facts()["version"])
    uninstall(proof)


def own_copy(site: Site, run: Path, port: int) -> Site:
    """The site with a code folder of its own, reached over HTTP, telling all that it dislikes."""
    code = run / "code"
    subprocess.run(["cp", "-al", str(site.code), str(code)], check=True)
    config = (code / "config.php").read_text()
    (code / "config.php").unlink()
    config = config.replace("http://iomad.example.test", f"http://127.0.0.1:{port}")
    more = "$CFG->debug = 32767;\n$CFG->debugdisplay = 0;\n$CFG->noemailever = true;\n"
    (code / "config.php").write_text(config.replace("require_once", more + "require_once"))
    return Site(code, site.folder, site.server, site.companies)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.plugin.merge_proof", description=__doc__)
    parser.add_argument("moodle_dir", type=Path, help="source folder of a Moodle or IOMAD")
    parser.add_argument("earlier_dir", type=Path, help="local/manireports of an earlier version")
    parser.add_argument("--work-dir", type=Path, help="keeps the installed site for the next run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mm-") as temporary:
        work = (given.work_dir or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        run = Path(tempfile.mkdtemp(prefix="run-", dir=work))
        for folder in (Path(temporary), work, run):
            folder.chmod(0o755)  # the database server runs under another name
        try:
            base = prepared(given.moodle_dir.resolve(), work, fresh=False)
            print(
                f"{release(given.moodle_dir)}, {'IOMAD' if is_iomad(base / 'code') else 'no IOMAD'}"
            )
            port = free_port()
            with copied(base, run) as server:
                site = own_copy(opened(base, run, server), run, port)
                prove(Proof(site, given.earlier_dir.resolve(), run), port)
        except ProofError as error:
            print(f"merge_proof: FAILED: {error}", file=sys.stderr)
            return 1
        finally:
            shutil.rmtree(run, ignore_errors=True)
    print("merge_proof: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
