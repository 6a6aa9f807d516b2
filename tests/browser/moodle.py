"""Moodle's and IOMAD's own pages, used as an admin uses them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page

from tests.iomad.facts import must

from .stage import PASSWORD, Stage


def login(browser: Browser, stage: Stage, username: str, password: str = PASSWORD) -> Page:
    """A window of its own, logged in."""
    context = browser.new_context(viewport={"width": 1280, "height": 1100})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{stage.url}/login/index.php")
    page.fill("#username", username)
    page.fill("#password", password)
    submit(page, "#loginbtn")
    return page


def go(page: Page, stage: Stage, path: str, **query: object) -> None:
    """Open a page of the site."""
    page.goto(f"{stage.url}{path}" + (f"?{urlencode(query)}" if query else ""))


def submit(page: Page, button: str = "[name=submitbutton]") -> None:
    """Press a button and wait for the next page, which may take minutes to be made."""
    with page.expect_navigation(timeout=300_000):
        page.click(button, no_wait_after=True)


def choose_file(page: Page, file: Path) -> None:
    """Give a file to the file picker of a Moodle form."""
    page.click(".filepicker-container ~ .fp-btn-choose, .fp-btn-choose")
    page.wait_for_load_state("networkidle")
    page.click(".fp-repo:has-text('Upload a file')")
    page.wait_for_load_state("networkidle")  # the picker draws its form twice
    page.set_input_files(".fp-upload-form input[type=file]", str(file))
    page.click(".fp-upload-btn")
    page.wait_for_selector(f".filepicker-filename:has-text('{file.name}')")


def upload_to_company(page: Page, stage: Stage, file: Path) -> None:
    """IOMAD's own upload of users, as the company's manager."""
    go(page, stage, "/blocks/iomad_company_admin/uploaduser.php")
    choose_file(page, file)
    submit(page)
    submit(page)


def allocate_licences(page: Page, stage: Stage, licence: int, count: int) -> None:
    """IOMAD's own allocation of a licence to the first so many people of a company."""
    path = "/blocks/iomad_company_admin/company_license_users_form.php"
    left = count
    while left:
        go(page, stage, path, licenseid=licence)
        options = page.locator("#potentialcourseusers option:not([disabled])")
        must(options.count() > 0, "the page lists nobody who could get a licence")
        people = [
            str(options.nth(number).get_attribute("value"))
            for number in range(min(left, options.count()))
        ]
        page.select_option("#potentialcourseusers", people)
        submit(page, "#add")
        left -= len(people)


def upload_to_site(page: Page, stage: Stage, file: Path) -> None:
    """Core's own upload of users, as the admin: with passwords that core's task would mail."""
    go(page, stage, "/admin/tool/uploaduser/index.php")
    choose_file(page, file)
    submit(page)
    page.select_option("[name=uupasswordnew]", "1")
    submit(page)
