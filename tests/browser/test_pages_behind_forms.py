"""Pages to which no link leads: what a form answers with, and what is said of an address that is not there."""

import re

import front_desk
import pytest
from harness import Hub
from playwright.sync_api import Page, expect
from portal import Window, sign_in
from test_every_page import PHONE, findings, focus_by_tab


def open_a_hospital(page: Page) -> None:
    sign_in(page, "alice")
    page.goto("/hospitals/")
    page.click("main table a >> nth=0")
    page.wait_for_selector("#issue")


def test_a_code_is_issued_and_withdrawn_by_keyboard_alone(window: Window) -> None:
    page = window().new_page()
    open_a_hospital(page)
    focus_by_tab(page, "#issue")
    page.keyboard.press("Enter")
    expect(page.locator("#enrol-line")).to_have_text(re.compile(r"^hospintel-agent enrol \\\s+--hub http"))
    code = page.locator("#enrol-code").inner_text()
    assert re.fullmatch(r"[\w-]{43}", code), "256 bits"
    focus_by_tab(page, "[data-copy=enrol-code]")
    page.go_back()
    assert code not in page.content(), "it is shown once"
    # The page that the browser kept shows what was before.
    page.reload()
    focus_by_tab(page, "[id^=code-] button")
    page.keyboard.press("Enter")
    expect(page.locator("[id^=code-] button")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_with_a_code_has_nothing_grave_and_fits_a_phone(window: Window, theme: str) -> None:
    page = window(theme=theme, width=PHONE).new_page()
    open_a_hospital(page)
    page.click("#issue")
    page.wait_for_selector("#enrol-code")
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE


@pytest.mark.parametrize("width", [PHONE, 1280])
def test_the_longest_name_of_a_person_fits_on_its_pages(window: Window, width: int) -> None:
    page = window(width=width).new_page()
    sign_in(page, "alice")
    page.goto("/people/")
    page.fill("input[name=username]", f"{width}-".ljust(100, "w"))
    page.click("#add-person")
    page.wait_for_selector("#link")
    fits(page, width)
    page.goto("/people/")
    fits(page, width)
    page.get_by_role("link", name=f"{width}-ww").click()
    page.wait_for_selector("#issue-link")
    fits(page, width)


def fits(page: Page, width: int) -> None:
    """Nothing is wider than the window, and no button stands outside of it."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
    for box in page.locator("main .button, main button").all():
        there = box.bounding_box()
        assert there is None or there["x"] + there["width"] <= width


@pytest.mark.parametrize("width", [PHONE, 1280])
def test_the_longest_name_of_a_hospital_fits_on_its_pages(window: Window, width: int) -> None:
    page = window(width=width).new_page()
    sign_in(page, "alice")
    page.goto("/hospitals/")
    name = f"{width}-" + "Universitätsklinikum" * 4
    page.fill("#hospital-name", f"{name:x<100}")
    page.click("#add-hospital")
    page.wait_for_selector("#issue")
    for _ in range(2):
        fits(page, width)
        if page.locator("#issue").count():
            page.click("#issue")
            page.wait_for_selector("#enrol-code")
    page.goto("/")
    fits(page, width)


@pytest.mark.parametrize(
    ("path", "button"),
    [("/account/", "#change-password"), ("/account/second-factor/", "#set-up"), ("/people/", "#add-person"), ("", "")],
    ids=["password", "second factor", "person", "confirm"],
)
def test_a_field_that_was_filled_in_wrongly_says_so_and_has_the_focus(
    window: Window, hub: Hub, path: str, button: str
) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    if not path:
        hub.ask(front_desk.age_session, "alice", 11 * 60, "proven")
    page.goto(path or "/people/")
    page.click(button or "#add-person")
    if not path:
        page.fill("input[name=confirm_password]", "wrong")
        page.click("#confirm-it")
    wrong = page.locator("main [aria-invalid=true]").first
    expect(wrong).to_be_focused()
    described = str(wrong.get_attribute("aria-describedby")).split()
    assert [name for name in described if page.locator(f"#{name}").count() == 0] == []
    assert any(name.endswith("_error") for name in described)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_password_link_and_where_it_leads_have_nothing_grave_and_fit_a_phone(window: Window, theme: str) -> None:
    page = window(theme=theme, width=PHONE).new_page()
    sign_in(page, "alice")
    page.goto("/people/")
    page.get_by_role("link", name="uwe").click()
    page.get_by_role("button", name="Issue a password link").click()
    link = page.locator("#link").inner_text()
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
    # Whoever it is for opens it in a browser of their own.
    other = window(theme=theme, width=PHONE).new_page()
    other.goto(link)
    expect(other.locator("main")).to_contain_text("For the account uwe.")
    # Neither the address nor what the browser remembers of it has the code.
    assert other.url.endswith("/password/")
    assert findings(other) == []
    assert other.evaluate("document.documentElement.scrollWidth") <= PHONE


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_address_that_is_not_there_is_told_on_a_page_like_the_others(
    window: Window, complaints: list[str], theme: str
) -> None:
    page = window(theme=theme, width=PHONE).new_page()
    sign_in(page, "uwe")
    answer = page.goto("/rounds/not-there/")
    assert answer
    assert answer.status == 404
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
    # Chromium itself says on the console that the page was not found.
    assert [line for line in complaints if "404" not in line] == []
    complaints.clear()
