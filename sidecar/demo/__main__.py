"""``python -m sidecar.demo``: the main job on a throw-away site, counted at the receiving end."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from sqlalchemy import select

from sidecar.demo import passwords, tally
from sidecar.demo.providers import Provider, provider
from sidecar.demo.scenario import AWAY, AWAY_FROM, CAMPAIGN_SUBJECT, SMALL, Scenario, build
from sidecar.demo.site import Site
from sidecar.demo.watch import watch
from sidecar.errors import SidecarError
from sidecar.lifecycle import Recipient
from sidecar.pollers.iomad_claim import SOURCE as IOMAD_MAIL
from sidecar.store.tables import our_tables

PREFIX = "mdl_"
SENDER_DOMAIN = "learn.example.test"
DEADLINE = 180.0
"""Seconds after which a daemon that is still busy counts as stuck."""
STOP_SECONDS = 30.0


class DemoError(SidecarError):
    """Something went wrong before the mails could be counted."""


class Demo:
    """One run in one folder: site, sidecar, count. part: of the mails, one in so many."""

    def __init__(self, folder: Path, console: Console, provider: Provider, part: int) -> None:
        self._folder = folder
        self._console = console
        self._provider = provider
        self._part = part
        self._config = folder / "sidecar.toml"
        self._log = folder / "sidecar.log"
        self._site = Site(f"sqlite:///{folder / 'site.db'}", prefix=PREFIX)
        self._tables = our_tables(PREFIX)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MANIREPORTS_")}
        self._environment = kept | {"PYTHONUNBUFFERED": "1"}

    def run(self) -> tally.Tally:
        """Queue, deliver, show; returns what arrived."""
        self._site.install(smtphosts=self._provider.smtphosts)
        scenario = build(self._site, self._part)
        self._provider.expect(scenario)
        queued = [wanted for wanted in scenario.wanted if wanted.row]
        rows = len({wanted.row for wanted in queued})
        self._console.print(
            f"{rows} mails wait in IOMAD's queue; with the managers' copies that makes"
            f" {len(queued)}. {len(scenario.newcomers)} new users wait for a password, and"
            f" {len(scenario.wanted) - len(queued) - len(scenario.newcomers)} students get a"
            " reminder. The sidecar takes them:",
            soft_wrap=True,
        )
        self._configure()
        self._remind()
        self._deliver()
        self._console.print()
        self._sidecar("jobs")
        self._show_failures()
        self._show_passwords(scenario)
        return self._count(scenario)

    def _configure(self) -> None:
        dataroot = self._folder / "moodledata"
        dataroot.mkdir()
        settings = {
            "database_url": f"'{self._site.engine.url}'",
            "wwwroot": f"'{self._site.wwwroot}'",
            "dataroot": f"'{dataroot}'",
            "state_dir": f"'{self._folder / 'state'}'",
            "poll_interval": 0.2,
            "min_age": 0.5,
            "quiet_period": 2,
            "metrics_port": 0,
            **self._provider.settings,
        }
        self._config.write_text("".join(f"{k} = {v}\n" for k, v in settings.items()), "utf-8")
        self._quietly("schema", "--create")
        self._provider.enable(self._quietly)

    def _remind(self) -> None:
        """The campaign, as an admin starts it."""
        text = self._folder / "reminder.html"
        text.write_text(
            "<p>Dear {firstname},</p><p>you have not been in"
            ' <a href="{courseurl}">{coursename}</a> for long ({lastaccess}).</p>'
            '<p><a href="{unsubscribeurl}">No more reminders</a></p>',
            "utf-8",
        )
        for company in AWAY:
            self._quietly(
                *("campaign", "inactive", "--days", "30", "--company", str(company)),
                *("--course", str(AWAY_FROM), "--subject", CAMPAIGN_SUBJECT),
                *("--body-file", str(text), "--yes"),
            )

    def _deliver(self) -> None:
        deadline = time.monotonic() + DEADLINE
        url = str(self._site.engine.url)
        with self._provider.at_work(url, PREFIX), self._daemon() as daemon:

            def running() -> bool:
                return daemon.poll() is None and time.monotonic() < deadline

            watch(self._console, self._site.engine, self._tables, running)
            if daemon.poll() is None:
                self._console.print(f"the sidecar is not done after {DEADLINE:.0f} s")
        if daemon.returncode:
            end = "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-15:])
            raise DemoError(
                f"the sidecar ended with code {daemon.returncode}; its last words:\n{end}"
            )

    @contextmanager
    def _daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        with self._log.open("wb") as log:
            daemon = subprocess.Popen(
                self._command("run", "--until-idle"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        try:
            yield daemon
        finally:
            daemon.terminate()
            try:
                daemon.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _command(self, *arguments: str) -> Sequence[str]:
        return [sys.executable, "-m", "sidecar", "--config", str(self._config), *arguments]

    def _sidecar(self, *arguments: str) -> None:
        sys.stdout.flush()
        subprocess.run(self._command(*arguments), check=True, env=self._environment)

    def _quietly(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002
        command = self._command(*arguments)
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            env=self._environment,
            input=input,
        )
        if done.returncode:
            raise DemoError(f"{' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _failures(self) -> dict[tuple[int, str], tuple[str, str]]:
        r = self._tables.recipients
        query = select(r.c.source_id, r.c.role, r.c.email, r.c.error_message).where(
            r.c.status == Recipient.PERMANENTLY_FAILED.value, r.c.source == IOMAD_MAIL
        )
        with self._site.engine.connect() as conn:
            rows = conn.execute(query).all()
        return {(row, role): (address, reason or "") for row, role, address, reason in rows}

    def _show_failures(self) -> None:
        self._console.print("\nWho could not be reached, and why:")
        for address, reason in self._failures().values():
            self._console.print(
                f"  {address!r}: {reason}", markup=False, highlight=False, soft_wrap=True
            )

    def _show_passwords(self, scenario: Scenario) -> None:
        people = scenario.newcomers
        good = passwords.that_work(self._site, people, self._provider.received())
        self._console.print(
            f"\nNew users with a password that opens their account: {good} of {len(people)}"
        )
        if good != len(people):
            raise DemoError("a new user cannot log in with what was mailed")

    def _count(self, scenario: Scenario) -> tally.Tally:
        r = self._tables.recipients
        captured = select(r.c.id).where(r.c.retry_of.is_(None))
        unknown = select(r.c.id).where(r.c.status == Recipient.UNKNOWN.value)
        with self._site.engine.connect() as conn:
            claimed = len(conn.scalars(captured).all())
            uncertain = len(conn.scalars(unknown).all())
        return tally.count(
            scenario.wanted,
            self._provider.received(),
            claimed=claimed,
            failures={key: reason for key, (_, reason) in self._failures().items()},
            unknown=uncertain,
        )


def main() -> int:
    """Run the demo; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m sidecar.demo", description=__doc__)
    parser.add_argument(
        "--provider", choices=["aws", "cloudflare", "smtp"], default="aws", help="who delivers"
    )
    parser.add_argument(
        "--small", action="store_true", help=f"only one in {SMALL} of the mails: quicker"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder to leave behind")
    arguments = parser.parse_args()
    console = Console()
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            if arguments.keep:
                folder = arguments.keep.absolute()
                folder.mkdir(parents=True)
            else:
                made = tempfile.TemporaryDirectory(prefix="manireports-demo-")
                folder = Path(stack.enter_context(made))
            delivering = stack.enter_context(provider(arguments.provider, SENDER_DOMAIN))
            part = SMALL if arguments.small else 1
            result = Demo(folder, console, delivering, part).run()
    except (DemoError, OSError, subprocess.CalledProcessError) as error:
        console.print(str(error), "demo: FAILED", sep="\n", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("demo: interrupted, everything is cleaned up")
        return 130
    for address in result.strange:
        console.print(f"mail arrived that nobody wanted: {address}", markup=False)
    console.print(
        f"demo: {'ok' if result.ok else 'FAILED'} {result}", highlight=False, soft_wrap=True
    )
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
