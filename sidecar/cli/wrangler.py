"""Wrangler, Cloudflare's own tool: where it is, its configuration for one site, and running it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sidecar.errors import ConfigError, SidecarError

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "cloud_workers" / "cloudflare"
OLDEST_NODE = (20, 3)
SECONDS = 300.0
QUEUES = ("jobs", "results", "dead")


def node() -> str:
    """The Node of this venv, which our scripts put there if the system's is too old; else the
    system's. SidecarError if there is none that is new enough."""
    ours = str(Path(sys.executable).parent)
    found = shutil.which("node", path=f"{ours}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise SidecarError("Cloudflare needs Node 20.3 or newer, and there is none")
    answer = subprocess.run([found, "--version"], check=False, capture_output=True, text=True)
    match = re.match(r"v(\d+)\.(\d+)\.", answer.stdout)
    if match is None or (int(match[1]), int(match[2])) < OLDEST_NODE:
        raise SidecarError(
            f"Cloudflare needs Node 20.3 or newer; {found} is {answer.stdout.strip()}"
        )
    return found


def installed() -> None:
    """SidecarError if the packages of the Worker's package.json are not there."""
    if not (WORKER / "node_modules" / "wrangler").is_dir():
        raise SidecarError(
            f"{WORKER}: install its packages first, `npm install --no-package-lock` in that folder;"
            " or say --wrangler PROGRAM"
        )


def configuration(name: str, site_uid: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """wrangler.json for one site: the file beside the Worker, with its names and variables."""
    source = WORKER / "wrangler.json"
    if not source.is_file():
        raise ConfigError(f"{source} is missing: the sidecar was installed without its workers")
    text = source.read_text("utf-8").replace("manireports-", f"{name}-")
    found: dict[str, Any] = json.loads(text)
    sender = variables.get("SENDER", "")
    found |= {"name": name, "main": str(WORKER / "worker.js")}
    found["vars"] |= {"SITE_UID": site_uid, **variables}
    if sender == "binding":
        found["send_email"] = [{"name": "EMAIL"}]
    return found


@contextmanager
def folder(config: Mapping[str, Any], secrets: Mapping[str, str]) -> Iterator[Path]:
    """A private folder with the configuration and the secrets, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="manireports-deploy-") as made:
        for file, content in (("wrangler.json", config), ("secrets.json", secrets)):
            path = Path(made) / file
            path.touch(mode=0o600)
            path.write_text(json.dumps(content, indent=2), "utf-8")
        yield Path(made)


def deploy(
    where: Path, account_id: str, token: str, *, dry_run: bool, program: str | None = None
) -> str:
    """Run `wrangler deploy` on a ``folder``; what it printed. Raises SidecarError with that."""
    if program is None:
        installed()
        command = [node(), str(WORKER / "node_modules" / "wrangler" / "bin" / "wrangler.js")]
    else:
        command = [program]
    command += ["deploy", "--config", str(where / "wrangler.json")]
    if dry_run:
        command += ["--dry-run", "--outdir", str(where / "out")]
    else:
        command += ["--secrets-file", str(where / "secrets.json")]
    environment = {
        **{
            name: value for name, value in os.environ.items() if not name.startswith("MANIREPORTS_")
        },
        "WRANGLER_SEND_METRICS": "false",
        "CI": "true",
        "NO_COLOR": "1",
    }
    if not dry_run:
        environment |= {"CLOUDFLARE_ACCOUNT_ID": account_id, "CLOUDFLARE_API_TOKEN": token}
    try:
        done = subprocess.run(
            command,
            cwd=where,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise SidecarError(f"wrangler was not done after {SECONDS:.0f} s") from None
    said = (done.stdout + done.stderr).strip()
    if token:
        said = said.replace(token, "***")
    if done.returncode:
        raise SidecarError(f"wrangler failed (exit code {done.returncode}):\n{said[-3000:]}")
    return said
