"""The plugin's own pages, used as an admin uses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Page, expect

from tests.iomad.facts import must, wait_for

from .moodle import go, submit
from .stage import Stage

UI = "/local/manireports/ui"
MANY_SECONDS = 300


def settle(page: Page) -> None:
    """Wait until nothing is loading any more."""
    page.wait_for_load_state("networkidle")


def confirm(page: Page) -> None:
    """Say yes to the question that an action asks."""
    dialog = page.locator(".modal.show, .modal-dialog:visible").last
    dialog.locator(
        "[data-action=save], [data-action=delete], .modal-footer .btn-primary"
    ).first.click()


def set_company(page: Page, stage: Stage, company: int, **values: str) -> None:
    """Enable a company and save these settings; what is not named stays."""
    go(page, stage, f"{UI}/cloud_settings.php", company=company)
    settle(page)  # what scripts hide and show would move the button away under the click
    page.set_checked("input[type=checkbox][name=enabled]", True)
    page.select_option("[name=provider]", values.pop("provider"))
    for name, value in values.items():
        page.fill(f"[name={name}]", value)
    submit(page)
    expect(page.locator(".alert-success").first).to_be_visible()


def new_key(page: Page, stage: Stage, company: int) -> str:
    """Make the worker's key: ``key:secret``, as the page shows it once."""
    go(page, stage, f"{UI}/cloud_settings.php", company=company)
    page.click("form:has(input[value=newkey]) button")
    shown = page.locator("[data-region=newkey]")
    if not shown.count():
        confirm(page)
    return shown.inner_text().strip()


def ask(page: Page, stage: Stage, company: int, question: str) -> str:
    """Press one of the buttons that the sidecar answers; what the page then says."""
    go(page, stage, f"{UI}/cloud_settings.php", company=company)
    page.click(f"[data-ask={question}]")
    answer = page.locator(f"[data-answer={'observe' if question == 'observe' else 'test'}]")
    expect(answer).not_to_be_empty(timeout=30_000)
    expect(answer.locator(".spinner-border")).to_have_count(0, timeout=60_000)
    return answer.inner_text()


def newest_job(page: Page, stage: Stage, words: str) -> int:
    """The id of the newest job whose line in the list has these words."""
    go(page, stage, f"{UI}/cloud_jobs.php")
    row = page.locator("tr[data-key^=job]", has_text=words).first
    expect(row).to_be_visible(timeout=60_000)
    return int(str(row.get_attribute("data-key")).removeprefix("job"))


def open_job(page: Page, stage: Stage, job: int) -> None:
    """Its page."""
    go(page, stage, f"{UI}/cloud_job.php", id=job)
    settle(page)


def watch(page: Page, stage: Stage, job: int, *states: str) -> str:
    """Stay on a job's page, without reloading it, until its badge says one of these; which."""
    open_job(page, stage, job)
    badge = page.locator(".mrcloud-head .mrcloud-badge").first
    found: list[str] = []

    def ended() -> bool:
        found[:] = [badge.inner_text().strip()]
        return found[0] in states

    try:
        wait_for(f"job {job} is {' or '.join(states)}", ended, MANY_SECONDS, 0.5)
    except Exception as error:
        raise type(error)(f"{error}; the page says {found}") from error
    return found[0]


def act(page: Page, stage: Stage, job: int, action: str) -> str:
    """Press a button of a job's page and wait for the sidecar's answer; what it says."""
    open_job(page, stage, job)
    page.click(f"button[data-key={action}]")
    confirm(page)
    answer = page.locator("[data-region=answer] .alert")
    expect(answer).to_be_visible(timeout=30_000)
    expect(answer.locator(".spinner-border")).to_have_count(0, timeout=60_000)
    return answer.inner_text()


def remind(page: Page, stage: Stage, company: int, subject: str, body: str) -> str:
    """Write a reminder to a company's inactive students and send it; how many get it."""
    go(page, stage, f"{UI}/cloud_campaign_edit.php", company=company)
    page.fill("[name=subject]", subject)
    page.wait_for_function("window.tinymce && tinymce.get('id_body')?.initialized", timeout=60_000)
    page.evaluate("html => tinymce.get('id_body').setContent(html)", body)
    expect(page.locator("[data-region=audience] .spinner-border")).to_have_count(0, timeout=30_000)
    audience = page.locator("[data-region=audience]").inner_text()
    page.click("[data-action=preview]")
    expect(page.locator("[data-region=preview]")).to_be_visible(timeout=30_000)
    settle(page)
    return audience


def send_reminder(page: Page) -> None:
    """Send what ``remind`` wrote."""
    page.click("[data-action=send]")
    confirm(page)
    expect(page.locator(".alert-success").first).to_be_visible(timeout=60_000)


def refused(page: Page, stage: Stage, path: str, **query: object) -> bool:
    """Whether Moodle keeps this user out of a page, or knows of none."""
    answer = page.goto(f"{stage.url}{path}?{urlencode(query)}")
    text = page.inner_text("body")
    return (
        answer is not None and answer.status in (403, 404)
    ) or "you do not currently have" in text


def service(page: Page, stage: Stage, name: str, arguments: Mapping[str, Any]) -> Any:
    """Call a web service as the page's scripts do; its answer, with ``error`` true if refused."""
    answer = page.evaluate(
        """async ([url, name, args]) => {
            const reply = await fetch(`${url}/lib/ajax/service.php?sesskey=${M.cfg.sesskey}`, {
                method: 'POST', body: JSON.stringify([{index: 0, methodname: name, args}])});
            return (await reply.json())[0];
        }""",
        [stage.url, name, dict(arguments)],
    )
    must(isinstance(answer, dict), f"{name} answers {answer}")
    return answer
