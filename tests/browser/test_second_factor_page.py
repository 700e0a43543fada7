"""A second factor in the browser: set up from what the page shows, asked for at the next sign-in, and reset."""

import re

import front_desk
import pytest
from authenticator import code_of
from harness import Hub
from playwright.sync_api import Page, expect
from portal import Window, sign_in
from test_every_page import PHONE, findings


def _looks_right(page: Page) -> None:
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE


def _first_step(page: Page) -> None:
    page.goto("/rounds/")
    page.fill("input[name=username]", "dora")
    page.fill("input[name=password]", front_desk.PASSWORD)
    page.click("main button[type=submit]")
    expect(page.locator("h1")).to_have_text("Your code")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_set_up_asked_for_and_reset(window: Window, hub: Hub, theme: str) -> None:
    page = window(theme=theme, width=PHONE).new_page()
    sign_in(page, "dora")
    page.goto("/account/")
    page.get_by_role("link", name="Set up a second factor").click()
    secret = page.locator("#secret").inner_text()
    # The picture is drawn, not only asked for.
    page.wait_for_function("document.querySelector('img.qr').naturalWidth > 100")
    _looks_right(page)
    page.fill("input[name=code]", "000000")
    page.click("#set-up")
    expect(page.locator(".errors")).to_contain_text("not the code that the app shows")
    assert page.locator("#secret").inner_text() == secret
    page.fill("input[name=code]", code_of(secret))
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Your second factor is set up.")
    codes = page.locator("#codes").inner_text().split("\n")
    assert len(codes) == 10
    _looks_right(page)
    page.get_by_text("Sign out").click()
    page.wait_for_url("**/accounts/login/**")
    _first_step(page)
    _looks_right(page)
    # Each code is good once. The next one may come a step early, and be a step late by the time it is read.
    page.fill("input[name=otp]", code_of(secret, 1))
    page.keyboard.press("Enter")
    expect(page.locator(".tabs [aria-current]")).to_have_text("Rounds")
    page.goto("/account/second-factor/")
    _looks_right(page)
    other = window().new_page()
    _first_step(other)
    other.fill("input[name=otp]", codes[0])
    other.click("main button[type=submit]")
    expect(other.locator(".tabs [aria-current]")).to_have_text("Rounds")
    admin = window(theme=theme, width=PHONE).new_page()
    sign_in(admin, "alice")
    admin.goto("/people/")
    admin.get_by_role("link", name="dora").click()
    admin.wait_for_selector("#reset-second-factor")
    admin.wait_for_load_state()
    admin.click("#reset-second-factor")
    admin.click("dialog [value=yes]")
    expect(admin.locator(".notice").first).to_contain_text("signs in with the password alone")
    expect(other.locator("#ended")).to_contain_text(re.compile("second factor was reset"))
