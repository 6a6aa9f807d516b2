"""`python -m tests.browser MOODLE_DIR`: see README.md beside this file."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Error, sync_playwright

from sidecar.demo.cloud import cloud
from sidecar.demo.sink import Sink
from tests.iomad.facts import ProofError

from .play import Day, play
from .stage import stage


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.browser", description=__doc__)
    parser.add_argument("moodle_dir", type=Path, help="source folder of an IOMAD or a Moodle")
    parser.add_argument("--users", type=int, default=500, help="users that are uploaded")
    parser.add_argument("--licences", type=int, default=200, help="licences that are allocated")
    parser.add_argument("--students", type=int, default=350, help="students that are reminded")
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of the pages")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser's path")
    parser.add_argument("--work-dir", type=Path, help="keeps the installed site for later runs")
    parser.add_argument("--keep", action="store_true", help="keeps database and logs of this run")
    return parser.parse_args()


def main() -> int:
    """Play the day; 0 if every act went as it must."""
    options = _arguments()
    missing = [tool for tool in ("php", "mariadbd", "curl") if shutil.which(tool) is None]
    if missing or not Path(options.chromium).exists():
        print(f"missing: {', '.join([*missing, options.chromium])}", file=sys.stderr)
        return 2
    work = options.work_dir or Path(tempfile.gettempdir()) / "manireports-browser"
    run = Path(tempfile.mkdtemp(prefix="run-", dir=_made(work)))
    run.chmod(0o755)
    began = time.monotonic()
    try:
        _run(options, work, run)
    except (ProofError, Error) as error:
        print(f"browser: FAILED: {error}; logs in {run}", file=sys.stderr)
        return 1
    if not options.keep:
        shutil.rmtree(run, ignore_errors=True)
    print(f"browser: ok, {time.monotonic() - began:.0f} s")
    return 0


def _run(options: argparse.Namespace, work: Path, run: Path) -> None:
    if options.screenshots is not None:
        options.screenshots.mkdir(parents=True, exist_ok=True)
    with (
        Sink() as sink,
        cloud("learn.example.test") as aws,
        stage(options.moodle_dir, work, run, sink.port, aws.endpoint) as made,
        made.daemon(),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=options.chromium,
            args=["--no-sandbox", "--disable-background-networking", "--no-first-run"],
        )
        day = Day(
            made,
            browser,
            sink,
            aws,
            options.screenshots,
            options.users,
            options.licences,
            options.students,
        )
        try:
            play(day)
        except Exception:
            _keep_pictures(browser, run)
            raise
        browser.close()


def _keep_pictures(browser: Browser, run: Path) -> None:
    """What every window showed when the proof failed."""
    open_pages = [page for context in browser.contexts for page in context.pages]
    for number, page in enumerate(open_pages):
        page.screenshot(path=run / f"failed-{number}.png", full_page=True)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
