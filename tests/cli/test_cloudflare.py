"""``cloudflare deploy|verify|status``: what is made, what is stored, and what is never shown."""

import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.cli import wrangler
from sidecar.demo.local_server import LocalServer, QuietHandler
from sidecar.demo.site import Site
from sidecar.errors import SidecarError
from sidecar.message import is_signed
from tests.conftest import ConfigFile
from tests.connectors.cloudflare_rig import failure
from tests.support.processes import run_sidecar

ACCOUNT = "a" * 32
TOKEN, OWN = "deploy-token-0123456789", "sidecar-token-0123456789"
API_KEY = "re_secret_0123456789"


class Account:
    """An empty account. asked: the requests that changed something."""

    def __init__(self) -> None:
        self.queues: dict[str, str] = {}
        self.consumers: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[tuple[str, str]] = []
        self.secret = ""
        self.lock = threading.Lock()
        account = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:  # noqa: N802 - as the base class calls it
                self._serve("GET", b"")

            def do_POST(self) -> None:  # noqa: N802
                self._serve("POST", self.rfile.read(int(self.headers["Content-Length"])))

            def _serve(self, method: str, body: bytes) -> None:
                if self.path.startswith("/worker/"):
                    status, answer = account.worker(self.path[8:], dict(self.headers), body)
                elif self.headers["Authorization"] not in {f"Bearer {TOKEN}", f"Bearer {OWN}"}:
                    status, answer = 401, failure(10000, "Authentication error")
                else:
                    fields = json.loads(body) if body else {}
                    path = self.path.removeprefix(f"/client/v4/accounts/{ACCOUNT}/")
                    result = account.answer(method, path.partition("?")[0], fields)
                    found = {"success": True, "errors": [], "result": result}
                    status, answer = 200, json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        self._server = LocalServer(Handler)
        self.url, self.close = self._server.url, self._server.close

    def answer(self, method: str, path: str, fields: Any) -> Any:
        """The result of a request."""
        with self.lock:
            if method == "POST":
                self.asked.append((path, str(fields.get("queue_name", fields.get("type", "")))))
            if path == "queues" and method == "POST":
                queue_id = f"{len(self.queues) + 1:032x}"
                self.queues[fields["queue_name"]] = queue_id
                return {"queue_id": queue_id, "queue_name": fields["queue_name"]}
            if path == "queues":
                return [{"queue_name": n, "queue_id": i} for n, i in self.queues.items()]
            if path == "workers/subdomain":
                return {"subdomain": "acme"}
            queue, _, what = path.removeprefix("queues/").partition("/")
            if what == "consumers" and method == "POST":
                self.consumers.setdefault(queue, []).append(fields)
                return fields
            if what == "consumers":
                return self.consumers.get(queue, [])
            if what == "metrics":
                return {"backlog_count": 3}
            return {"queue_name": queue, "consumers": self.consumers.get(queue, [])}

    def worker(self, kind: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """The deployed Worker, which knows the key that it was given."""
        found = {name.lower(): value for name, value in headers.items()}
        at, signature = found["x-manireports-timestamp"], found["x-manireports-signature"]
        if not is_signed(kind, int(at), body.decode(), signature, [self.secret]):
            return 401, b'{"error": "not signed by a key of ours"}'
        return 200, b'{"version": 1, "sender": "resend", "callback": false, "keys": []}'


@pytest.fixture
def account() -> Iterator[Account]:
    made = Account()
    yield made
    made.close()


@pytest.fixture
def site(
    iomad_db: str, config_file: ConfigFile, account: Account, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A configured site with our tables and one company."""
    Site(iomad_db).add_company(1, "Acme Training Ltd")
    config = config_file(iomad_db, cloudflare_api_url=f"{account.url}/client/v4")
    assert run_sidecar(config, "schema", "--create").returncode == 0
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
    monkeypatch.setenv("RESEND_API_KEY", API_KEY)
    return config


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Stands where wrangler does, which needs a real account: keeps what it was given."""
    path = tmp_path / "wrangler"
    path.write_text(
        "#!/bin/sh\n"
        f'cp "$(dirname "$3")/wrangler.json" "$(dirname "$3")/secrets.json" {tmp_path}\n'
        f'echo "$CLOUDFLARE_ACCOUNT_ID $*" > {tmp_path}/arguments\n'
    )
    path.chmod(0o755)
    return path


def deploy(site: Path, program: Path, url: str, *more: str, **options: Any) -> Any:
    command = ["cloudflare", "deploy", "--company", "1", "--account-id", ACCOUNT]
    command += ["--sender", "resend", "--wrangler", str(program), "--worker-url", url]
    return run_sidecar(site, *command, *more, **options)


def test_from_nothing_to_a_worker_that_answers(
    site: Path, account: Account, program: Path, tmp_path: Path
) -> None:
    url = f"{account.url}/worker"
    done = deploy(site, program, url)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "wrangler.json").read_text())
    name = config["name"]
    assert re.fullmatch(r"manireports-[0-9a-f]{8}-1", name)
    assert sorted(account.queues) == [f"{name}-dead", f"{name}-jobs", f"{name}-results"]
    consumers = {each["queue"]: each for each in config["queues"]["consumers"]}
    assert consumers.keys() == {f"{name}-jobs", f"{name}-dead"}
    assert consumers[f"{name}-jobs"]["dead_letter_queue"] == f"{name}-dead"
    assert config["queues"]["producers"][0]["queue"] == f"{name}-results"
    assert config["vars"]["DEAD_QUEUE"] == f"{name}-dead"
    assert config["vars"]["SENDER"] == "resend"
    assert len(config["vars"]["SITE_UID"]) >= 32
    assert account.consumers[account.queues[f"{name}-results"]][0]["type"] == "http_pull"
    secrets = json.loads((tmp_path / "secrets.json").read_text())
    assert secrets["RESEND_API_KEY"] == API_KEY
    account.secret = secrets["KEYS"].partition(":")[2]
    assert (tmp_path / "arguments").read_text().startswith(f"{ACCOUNT} deploy --config")
    assert "company set 1 --cloudflare-api-token" in done.stdout
    again = deploy(site, program, url, "--sidecar-token", input=f"{OWN}\n")
    assert again.returncode == 0, again.stderr
    assert "there already" in again.stdout
    assert "the Worker answers" in again.stdout
    assert json.loads((tmp_path / "secrets.json").read_text())["KEYS"] == secrets["KEYS"]
    assert len(account.asked) == 4
    shown = run_sidecar(site, "cloudflare", "verify", "--company", "1")
    assert "OK    worker: sends by resend" in shown.stdout
    # The stand-in has made no consumer.
    assert "WARN  the jobs queue has no consumer" in shown.stdout
    status = json.loads(
        run_sidecar(site, "cloudflare", "status", "--company", "1", "--json").stdout
    )
    assert (status["jobs queue"], status["worker sender"]) == (3, "resend")
    for text in (done.stdout, done.stderr, again.stdout, again.stderr, shown.stdout):
        assert not [each for each in (TOKEN, OWN, API_KEY, account.secret) if each in text]


def test_what_is_missing_is_named_before_anything_is_made(
    site: Path, account: Account, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESEND_API_KEY")
    assert "RESEND_API_KEY is not set" in deploy(site, program, "").stderr
    monkeypatch.setenv("RESEND_API_KEY", API_KEY)
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN")
    assert "CLOUDFLARE_API_TOKEN is not set" in deploy(site, program, "").stderr
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "another-token")
    assert "Cloudflare does not know this API token" in deploy(site, program, "").stderr
    done = run_sidecar(site, "cloudflare", "deploy", "--company", "9", "--sender", "resend")
    assert "Moodle has no company 9" in done.stderr
    done = run_sidecar(site, "cloudflare", "deploy", "--sender", "ses", "--account-id", ACCOUNT)
    assert "--ses-region" in done.stderr
    assert "no jobs queue" in run_sidecar(site, "cloudflare", "verify").stderr
    assert not account.asked


def test_what_wrangler_says_is_shown_without_the_token(
    site: Path, program: Path, account: Account
) -> None:
    program.write_text('#!/bin/sh\necho "no: $CLOUDFLARE_API_TOKEN" >&2\nexit 3\n')
    done = deploy(site, program, "")
    assert done.returncode == 1
    assert "wrangler failed (exit code 3)" in done.stderr
    assert "no: ***" in done.stderr
    assert TOKEN not in done.stderr
    assert not [c for cs in account.consumers.values() for c in cs]


def test_a_dry_run_bundles_the_worker_with_the_real_wrangler(site: Path, account: Account) -> None:
    try:
        wrangler.node()
        wrangler.installed()
    except SidecarError as error:
        pytest.skip(str(error))
    done = run_sidecar(
        *(site, "cloudflare", "deploy", "--company", "1", "--sender", "binding", "--dry-run")
    )
    assert done.returncode == 0, done.stderr
    for said in ("env.LEDGER (Ledger)", "env.RESULTS", "env.EMAIL", "nothing was changed"):
        assert said in done.stdout
    assert not account.asked
    assert os.environ["CLOUDFLARE_API_TOKEN"] == TOKEN
