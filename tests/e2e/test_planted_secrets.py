"""Secrets planted wherever the sidecar reads one are searched in everything that it shows."""

import base64
import shlex
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import make_url

from sidecar.demo.cloud import cloud
from sidecar.demo.sink import Rule
from sidecar.demo.workerd import TOKEN, Workerd
from sidecar.store.database import Database
from tests.e2e.aws import AwsWorld, run_sidecar_with_input
from tests.e2e.cloudflare import CloudflareWorld
from tests.e2e.world import World
from tests.support.commands import leaves
from tests.support.mariadb import MariaDBServer, free_port
from tests.support.processes import Sidecar, call_sidecar
from tests.support.wait import wait_for

SMTP, AWS, CLOUDFLARE = 1, 2, 3
MAILS = 12
BYTES = "latin-1"
"""Reads any byte as a character of its own, so that a key of bytes is found too."""
PAGES = ("p", "Pl4nted-metrics")

COMMANDS = """
status
status --json
check
check --json
jobs
jobs --json
job {job}
job {job} --json
plan
plan --json
find {person}
find {person} --json
company list
company list --json
company set 1 --max-send-rate 50
company test 1
company test 2
company test 3
aws status --company 2
aws verify --company 2 --no-mail --wait 1
aws redrive --company 2 --yes
cloudflare status --company 3
cloudflare verify --company 3
cloudflare deploy --company 3 --sender binding --callback-url https://learn.example.test --dry-run
campaign list
campaign inactive --days 90 --dry-run
campaign queue 1
campaign cancel 1
suppress add nobody@example.test
suppress list
suppress remove nobody@example.test
once --dry-run
once --dry-run --json
pause job {job}
resume job {job}
pause company 1
resume company 1
pause all
resume all
cancel {job}
release {job}
retry {job} --permanent
resolve {job} --unknown sent
backlog take --company 1 --yes
grants
schema
upgrade-check
completion bash
disable 1
enable 1
adopt --moved
"""
"""Each is run; some are refused, which is an output as well."""

ELSEWHERE = {
    "run": "the daemon that this test starts",
    "drain": "the same daemon",
    "support-bundle": "searched by itself, below",
    "setup": "reads no secret: it names files; tests/packaging/test_setup.py",
    "aws deploy": "its templates and answers: tests/e2e/test_aws_deploy.py",
    "aws rotate": "shows nothing; tests/e2e/test_aws_deploy.py",
}


@dataclass
class Stage:
    """A site with a company for each provider, and a secret in every place that holds one."""

    world: World
    aws: AwsWorld
    secrets: dict[str, str] = field(default_factory=dict)
    address: str = ""
    port: int = 0

    def found_in(self, text: str, *more: str) -> list[str]:
        """The names of the secrets that a text tells; ``more`` are searched too."""
        found = [name for name, secret in self.secrets.items() if secret in text]
        return found + [secret for secret in more if secret in text]


@pytest.fixture(params=["text", "json"])
def stage(request: pytest.FixtureRequest, world: World, mariadb: MariaDBServer) -> Iterator[Stage]:
    """Its daemon logs all that it can, in both forms."""
    with ExitStack() as stack:
        running = stack.enter_context(cloud("learn.example.test"))
        rig = stack.enter_context(Workerd(world.tmp))
        database = Database(world.url, "mdl_")
        stack.callback(database.close)
        made = Stage(world, AwsWorld(world, running, database), port=free_port())
        _write_config(made, mariadb, request.param, running.endpoint, rig.api_url)
        worker = CloudflareWorld(world, rig, database)
        _plant_keys(made, worker)
        _plant_mails(made)
        stack.enter_context(worker.worker())
        yield made


def _write_config(
    stage: Stage, mariadb: MariaDBServer, log_format: str, aws_url: str, cloudflare_url: str
) -> None:
    """Configure it, with a database user and a password file of its own."""
    world, secret = stage.world, "Pl4nted-database"
    url = make_url(world.url)
    for host in ("127.0.0.1", "localhost"):
        user = f"'planted'@'{host}'"
        mariadb.execute(f"CREATE OR REPLACE USER {user} IDENTIFIED BY '{secret}'")
        mariadb.execute(f"GRANT ALL ON `{url.database}`.* TO {user}")
    page = world.tmp / "page-password"
    page.write_text(PAGES[1])
    page.chmod(0o600)
    stage.secrets |= {"database password": secret, "metrics password": PAGES[1]}
    world.config = world.write_config(
        url.set(username="planted", password=secret).render_as_string(hide_password=False),
        aws_endpoint_url=aws_url,
        cloudflare_api_url=cloudflare_url,
        metrics_port=stage.port,
        metrics_user=PAGES[0],
        metrics_password_file=str(page),
        log_level="DEBUG",
        log_format=log_format,
    )


def _plant_keys(stage: Stage, cloudflare: CloudflareWorld) -> None:
    """Give each company its way, with credentials that are looked for."""
    world, aws = stage.world, stage.aws
    world.site.set_config("smtpuser", "mailer")
    world.site.set_config("smtppass", "Pl4nted-smtp")
    world.sink.auth, world.sink.users = ("PLAIN",), {"mailer": "Pl4nted-smtp"}
    for company in (AWS, CLOUDFLARE):
        world.site.add_company(company, f"Company {company}")
    aws.enable(AWS)
    run_sidecar_with_input(
        world, "Pl4nted-aws-secret\n", "company", "set", str(AWS), "--aws-secret-key"
    )
    cloudflare.enable(CLOUDFLARE)
    key = (world.tmp / "moodledata" / "secret" / "key" / "sodium.key").read_bytes()
    stage.secrets |= {
        "SMTP password": "Pl4nted-smtp",
        "SMTP password, as AUTH PLAIN": base64.b64encode(b"\0mailer\0Pl4nted-smtp").decode(),
        "AWS secret key": "Pl4nted-aws-secret",
        "Cloudflare token": TOKEN,
        "encryption key": key.decode(BYTES),
        "encryption key, hex": key.hex(),
        "encryption key, base64": base64.b64encode(key).decode(),
        "encryption key, repr": repr(key)[2:-1],
    }
    for name, secret in (aws.keys | cloudflare.keys).items():
        stage.secrets[f"callback secret {name}"] = secret


def _plant_mails(stage: Stage) -> None:
    """Queue mails with passwords for each company; one address is refused."""
    world = stage.world
    for company in (SMTP, AWS, CLOUDFLARE):
        users = world.site.add_users(company, MAILS)
        body = f"<p>Your password: Pl4nted-mail-{company}</p>"
        world.site.queue("user_create", company, users, body=body)
        stage.secrets[f"password in mails of company {company}"] = f"Pl4nted-mail-{company}"
        if company == SMTP:
            stage.address = users[0].email
            world.sink.rules.append(Rule("rcpt", "550 5.1.1 no", match=stage.address))


def test_the_sidecar_shows_no_secret(stage: Stage) -> None:
    world = stage.world
    with Sidecar(world.config) as sidecar:
        sidecar.wait_for_line("leading this site")
        shown = _process(sidecar.pid)
        with stage.aws.worker():
            done = {"sent": 3 * MAILS - 1, "permanently_failed": 1}
            wait_for(lambda: world.states() == done, 25, "all mails are done")
            pages = {name: _page(stage.port, name) for name in ("metrics", "readyz")}
        shown |= {f"{name} at the end": text for name, text in _process(sidecar.pid).items()}
        assert sidecar.stop() == 0
        shown["log"] = sidecar.output()
    shown |= pages
    shown["state directory"] = _files(world.tmp / "sidecar-state")
    shown["support-bundle"] = _bundle(world, sidecar.log)
    for where, text in shown.items():
        assert text, where
        assert stage.found_in(text, stage.address) == [], where
    for company in (SMTP, AWS, CLOUDFLARE):
        assert f'company="{company}"' in shown["metrics"]
        assert f"claimed {MAILS} rows: csv_import, company {company}" in shown["log"]


def test_no_command_shows_a_secret(stage: Stage) -> None:
    world = stage.world
    with stage.aws.worker():
        world.drain(timeout=40)
    job = min(job["id"] for job in world.jobs())
    ran: set[str] = set()
    for line in COMMANDS.format(job=job, person=stage.address).strip().splitlines():
        words = shlex.split(line)
        done = call_sidecar(world.config, *words)
        told = done.stdout + done.stderr
        assert told, line
        assert "Usage:" not in told, f"{line}: {told}"
        assert stage.found_in(told) == [], line
        ran |= {" ".join(words[:length]) for length in (1, 2)}
    assert set(leaves()) - ran == set(ELSEWHERE)


def _process(pid: int) -> dict[str, str]:
    """What anybody, or the same user, sees of the daemon and of the processes that it started."""
    found: dict[str, str] = {}
    main = psutil.Process(pid)
    for process in (main, *main.children(recursive=True)):
        for name in ("cmdline", "environ"):
            path = Path(f"/proc/{process.pid}/{name}")
            found[f"{name} of {process.pid}"] = path.read_bytes().decode(BYTES)
    return found


def _page(port: int, name: str) -> str:
    answer = httpx.get(f"http://127.0.0.1:{port}/{name}", auth=PAGES, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.headers) + answer.text


def _files(folder: Path) -> str:
    return "".join(
        path.name + path.read_bytes().decode(BYTES) for path in folder.rglob("*") if path.is_file()
    )


def _bundle(world: World, log: Path) -> str:
    path = world.tmp / "bundle.tar.gz"
    told = world.command("support-bundle", "--log", str(log), "--output", str(path))
    with tarfile.open(path) as archive:
        files = [archive.extractfile(entry) for entry in archive.getmembers()]
        return told + "".join(file.read().decode() for file in files if file)
