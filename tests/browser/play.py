"""One working day of an admin and a company's manager, from the settings to the last retry."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from playwright.sync_api import Browser, Page

from sidecar.demo.cloud import ACCESS_KEY, REGION, SECRET_KEY, TABLE, Cloud
from sidecar.demo.sink import Received, Rule, Sink
from tests.iomad.facts import must, wait_for

from . import moodle, pages
from .stage import Stage

BOUNCES = 3
CALLBACK = "/local/manireports/ui/ajax/cloud_callback.php"
DONE = ("completed",)
_SAID = re.compile(r"username: (\S+?)(?:<|\s).*?password: (\S+?)(?:<|\s)", re.DOTALL)


@dataclass
class Day:
    """shots: folder for screenshots; None for none. companies: 0 alone where there is no IOMAD."""

    stage: Stage
    browser: Browser
    sink: Sink
    cloud: Cloud
    shots: Path | None
    users: int
    licences: int
    students: int
    told: list[str] = field(default_factory=list)

    @property
    def company(self) -> int:
        """The company that it is about; 0 on a Moodle without IOMAD."""
        companies = self.stage.site.companies
        return int(companies[0]["id"]) if companies else 0

    def shoot(self, page: Page, name: str) -> None:
        """Keep what the page shows now."""
        if self.shots is not None:
            page.evaluate("window.scrollTo(0, 0)")
            page.screenshot(path=self.shots / f"{name}.png")

    def say(self, text: str) -> None:
        """A line of the proof's output."""
        self.told.append(text)
        print(text, flush=True)

    def received(self) -> Counter[str]:
        """How often each address got a mail, whichever way."""
        mails: list[Received] = [*self.sink.messages, *self.cloud.received()]
        return Counter(mail.recipients[0] for mail in mails)


def play(day: Day) -> None:
    """Every act in turn; ProofError or a time-out of the browser where one fails."""
    admin = moodle.login(day.browser, day.stage, "admin")
    manager = admin
    if day.company:
        manager = moodle.login(day.browser, day.stage, "boss.acme")
    _settings(day, admin)
    job = _import(day, manager)
    _login(day)
    if day.company:
        _licences(day, manager)
    _reminders(day, manager)
    _failures(day, manager, job)
    with _by_aws(day, admin):
        _import_by_aws(day, manager)
    if day.company:
        _strangers(day, job)
    notices = [line for line in day.stage.notices() if "/local/manireports/" in line]
    must(not notices, f"PHP complained about our pages: {notices[:3]}")


def _settings(day: Day, admin: Page) -> None:
    pages.set_company(admin, day.stage, day.company, provider="smtp")
    said = pages.ask(admin, day.stage, day.company, "test_connection")
    must("complete" in said, f"test connection says: {said}")
    day.shoot(admin, "settings")
    before = len(day.sink.messages)
    pages.ask(admin, day.stage, day.company, "test_mail")
    wait_for("the test mail", lambda: len(day.sink.messages) == before + 1, 30)
    pages.ask(admin, day.stage, day.company, "observe")
    day.say("settings: saved, connection tested, test mail arrived")


def _csv(day: Day, name: str, count: int, *, site: bool = False) -> Path:
    """A file as admins upload it."""
    file = day.stage.site.folder / f"{name}.csv"
    head = "username,firstname,lastname,email" if site else "firstname,lastname,email"
    lines = [
        (f"{name}{n}," if site else "") + f"Anna,Sørensen {n},{name}{n}@acme.example.test"
        for n in range(1, count + 1)
    ]
    file.write_text("\n".join([head, *lines]) + "\n", "utf-8")
    return file


def _upload(day: Day, page: Page, name: str, count: int) -> None:
    if day.company:
        moodle.upload_to_company(page, day.stage, _csv(day, name, count))
    else:
        moodle.upload_to_site(page, day.stage, _csv(day, name, count, site=True))


def _import(day: Day, manager: Page) -> int:
    rules = [
        Rule("rcpt", "550 5.1.1 no such user", match=f"new{n}@acme") for n in range(1, BOUNCES + 1)
    ]
    day.sink.rules += [*rules, Rule("rcpt", "450 4.2.1 mailbox busy", match="new9@acme")]
    _upload(day, manager, "new", day.users)
    told = manager.inner_text("body")
    notice = re.search(rf"{day.users} emails? queued for cloud delivery", told)
    if not notice:  # shown on the next page where this one had begun already
        moodle.go(manager, day.stage, f"{pages.UI}/cloud_jobs.php")
        told = manager.inner_text("body")
        notice = re.search(rf"{day.users} emails? queued for cloud delivery", told)
    must(bool(notice), f"no notice after the import: {told[-1500:]}")
    job = pages.newest_job(manager, day.stage, "Account mails")
    day.shoot(manager, "jobs-running")
    pages.open_job(manager, day.stage, job)
    day.shoot(manager, "job-running")
    _arrive(day, "new", day.users - BOUNCES - 1)
    day.say(f"import: {day.users} users, job {job}, {BOUNCES} addresses refused")
    return job


def _arrive(day: Day, name: str, count: int, seconds: float = 300) -> None:
    """Wait until so many addresses of that name have exactly one mail."""

    def there() -> bool:
        mails = {to: n for to, n in day.received().items() if re.match(rf"{name}\d+@", to)}
        must(
            all(n == 1 for n in mails.values()), f"twice: {[t for t, n in mails.items() if n > 1]}"
        )
        return len(mails) == count

    wait_for(f"{count} mails to {name}…", there, seconds, 0.5)


def _login(day: Day) -> None:
    """The mailed password opens the account, and must be changed."""
    address = f"new{BOUNCES + 1}@acme.example.test"
    mail = next(m for m in day.sink.messages if m.recipients[0] == address)
    message = message_from_bytes(mail.data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    part = message.get_body(("html", "plain"))
    assert part is not None
    said = _SAID.search(part.get_content())
    must(said is not None, "the mail tells no password")
    assert said is not None
    page = moodle.login(day.browser, day.stage, said[1], _unescaped(said[2]))
    must("change_password" in page.url, f"{said[1]} is not asked for a new password: {page.url}")
    page.context.close()
    day.say("login: the mailed password works and must be changed")


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _licences(day: Day, manager: Page) -> None:
    licence = int(day.stage.site.companies[0]["licence"])
    moodle.allocate_licences(manager, day.stage, licence, day.licences)
    job = pages.newest_job(manager, day.stage, "Licence")
    pages.watch(manager, day.stage, job, *DONE)
    day.say(f"licences: {day.licences} allocated, job {job} completed")


def _reminders(day: Day, manager: Page) -> None:
    course = day.stage.site.companies[0]["courses"]["open"] if day.company else 0
    day.stage.php("students.php", str(day.students), str(day.company), str(course))
    audience = pages.remind(
        manager,
        day.stage,
        day.company,
        "Your course waits, {firstname}",
        "<p>Dear {firstname},</p><p>{coursename} waits for you: {courseurl}</p>"
        "<p><a href='{unsubscribeurl}'>No more reminders</a></p>",
    )
    must(str(day.students) in audience, f"the page counts: {audience}")
    day.shoot(manager, "reminder")
    pages.send_reminder(manager)
    day.shoot(manager, "reminders")
    _arrive(day, "student", day.students)
    job = pages.newest_job(manager, day.stage, "Reminders")
    pages.watch(manager, day.stage, job, *DONE)
    day.say(f"reminders: {day.students} students, job {job} completed")


def _failures(day: Day, manager: Page, job: int) -> None:
    """The busy mailbox failed at last: it is sent again; the refused ones are removed."""
    pages.watch(manager, day.stage, job, "partly failed", "partially failed", "partial failure")
    day.shoot(manager, "job-failed")
    said = pages.act(manager, day.stage, job, "suppress")
    must(str(BOUNCES) in said, f"removing bounced addresses says: {said}")
    day.sink.rules.clear()
    before = day.received()["new9@acme.example.test"]
    pages.act(manager, day.stage, job, "retry")
    wait_for(
        "the failed mail arrives",
        lambda: day.received()["new9@acme.example.test"] == before + 1,
        60,
    )
    pages.watch(manager, day.stage, job, *DONE)
    day.shoot(manager, "job-done")
    moodle.go(manager, day.stage, f"{pages.UI}/cloud_search.php", text="new9@acme.example.test")
    day.shoot(manager, "search")
    moodle.go(manager, day.stage, f"{pages.UI}/cloud_suppressions.php")
    listed = manager.inner_text("body")
    must(f"new{BOUNCES}@acme.example.test" in listed, "the suppressions page misses an address")
    day.shoot(manager, "suppressions")
    day.say("failures: bounced addresses removed, the failed mail sent again")


def _by_aws(day: Day, admin: Page) -> AbstractContextManager[None]:
    """The company changes its provider; the real worker is at work while the ``with`` lasts."""
    pages.set_company(
        admin,
        day.stage,
        day.company,
        provider="aws",
        aws_region=REGION,
        aws_access_key=ACCESS_KEY,
        aws_secret_key=SECRET_KEY,
        sqs_queue_url=day.cloud.queue_url,
        results_queue_url=day.cloud.results_queue_url,
        ledger_table=TABLE,
    )
    keys = pages.new_key(admin, day.stage, day.company)
    day.shoot(admin, "settings-aws")
    uid = str(day.stage.db.value("SELECT site_uid FROM mdl_manireports_cloud_sidecar"))
    return day.cloud.worker(uid, keys, f"{day.stage.url}{CALLBACK}")


def _import_by_aws(day: Day, manager: Page) -> None:
    _upload(day, manager, "cloud", day.users // 5)
    job = pages.newest_job(manager, day.stage, "Account mails")
    _arrive(day, "cloud", day.users // 5)
    pages.watch(manager, day.stage, job, *DONE)
    moodle.go(manager, day.stage, f"{pages.UI}/cloud_jobs.php")
    pages.settle(manager)
    day.shoot(manager, "jobs")
    stored = int(day.stage.db.value("SELECT COUNT(*) FROM mdl_manireports_cloud_callbacks"))
    must(stored > 0, "no report came by the callback page")
    day.say(f"aws: {day.users // 5} users, job {job} completed, {stored} reports by the callback")


def _strangers(day: Day, job: int) -> None:
    """Another company's manager sees and does nothing of all that."""
    other = moodle.login(day.browser, day.stage, "boss.globex")
    refused: dict[str, Callable[[], bool]] = {
        "job": lambda: pages.refused(other, day.stage, f"{pages.UI}/cloud_job.php", id=job),
        "settings": lambda: pages.refused(
            other, day.stage, f"{pages.UI}/cloud_settings.php", company=day.company
        ),
        "reminder": lambda: pages.refused(
            other, day.stage, f"{pages.UI}/cloud_campaign_edit.php", company=day.company
        ),
        "download": lambda: pages.refused(
            other, day.stage, f"{pages.UI}/cloud_download.php", id=job, what="failed"
        ),
    }
    for name, is_refused in refused.items():
        must(is_refused(), f"another company's manager gets at the {name}")
    moodle.go(other, day.stage, f"{pages.UI}/cloud_jobs.php")
    must(other.locator("tr[data-key^=job]").count() == 0, "a stranger sees jobs")
    answer = pages.service(
        other, day.stage, "local_manireports_cloud_job_act", {"id": job, "action": "cancel"}
    )
    must(bool(answer.get("error")), f"a stranger cancels a job: {answer}")
    other.context.close()
    day.say("strangers: another company's manager gets at nothing")
