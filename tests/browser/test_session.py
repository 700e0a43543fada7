"""A session that ends while its page is open: elsewhere, after a warning, or for want of a step."""

import re
import time

import front_desk
import pytest
from harness import Hub
from playwright.sync_api import Page, expect
from portal import Window, live, sign_in
from test_every_page import PHONE, findings, focus_by_tab

SOON_SECONDS = 2.0
IDLE, LONGEST = 15 * 60, 12 * 3600
WARNING = "[data-session-warning]"


def _unwatched(complaints: list[str]) -> None:
    """Chromium says on the console that a call was refused: here that is what the page asked for."""
    assert [line for line in complaints if not re.search(r"40[13]", line)] == []
    complaints.clear()


def test_the_page_of_the_browser_before_says_that_somebody_signed_in_elsewhere(
    window: Window, complaints: list[str]
) -> None:
    first, second = window().new_page(), window().new_page()
    sign_in(first, "uwe")
    first.goto("/rounds/")
    live(first)
    second.goto("/")
    second.fill("input[name=username]", "uwe")
    second.fill("input[name=password]", front_desk.PASSWORD)
    second.click("main button[type=submit]")
    started = time.monotonic()
    expect(first.locator("#ended")).to_contain_text("You signed in elsewhere.")
    assert time.monotonic() - started < SOON_SECONDS
    assert first.url.endswith("/accounts/login/?next=/rounds/")
    assert findings(first) == []
    expect(second.locator("h1")).to_be_visible()
    _unwatched(complaints)


def _page_that_nobody_touches(window: Window, hub: Hub, seconds: int, theme: str = "light") -> Page:
    """The account page, after so long without a step: the page's clock and the hub's session both say so."""
    page = window(theme=theme).new_page()
    page.clock.install()
    sign_in(page, "uwe")
    page.goto("/account/")
    page.fill("#id_old_password", "what was typed")
    hub.ask(front_desk.age_session, "uwe", seconds)
    page.clock.fast_forward(seconds * 1000)
    return page


def test_a_warning_comes_before_the_end_and_staying_keeps_what_was_typed(window: Window, hub: Hub) -> None:
    page = _page_that_nobody_touches(window, hub, IDLE - 100, theme="dark")
    expect(page.locator(WARNING)).to_be_visible()
    expect(page.locator(WARNING)).to_contain_text(re.compile(r"You are signed out in (2 minutes|\d\d seconds)\."))
    assert findings(page) == []
    assert hub.ask(front_desk.session_seconds, "uwe") < 120
    page.get_by_role("button", name="Stay signed in").click()
    expect(page.locator(WARNING)).to_be_hidden()
    assert hub.ask(front_desk.session_seconds, "uwe") > IDLE - 60
    assert page.input_value("#id_old_password") == "what was typed"


def test_before_the_longest_time_is_over_the_page_says_so_and_offers_nothing(window: Window, hub: Hub) -> None:
    page = window().new_page()
    page.clock.install()
    sign_in(page, "uwe")
    page.goto("/account/")
    hub.ask(front_desk.age_session, "uwe", LONGEST - 100, "started")
    page.clock.fast_forward((IDLE - 110) * 1000)
    expect(page.locator(WARNING)).to_contain_text("A session has a longest time")
    expect(page.get_by_role("button", name="Stay signed in")).to_be_hidden()


def test_no_warning_comes_where_somebody_went_on_in_another_tab(window: Window, hub: Hub) -> None:
    page = _page_that_nobody_touches(window, hub, 60)
    with page.expect_response("**/account/session") as asked:
        page.clock.fast_forward((IDLE - 100) * 1000)
    asked.value.finished()
    # What the page makes of the answer it makes at once.
    page.wait_for_timeout(500)
    expect(page.locator(WARNING)).to_be_hidden()


def test_after_the_end_the_sign_in_page_says_why_and_leads_back(
    window: Window, hub: Hub, complaints: list[str]
) -> None:
    page = _page_that_nobody_touches(window, hub, IDLE)
    expect(page.locator("#ended")).to_have_text("You were signed out because nothing was done for a while.")
    assert page.url.endswith("/accounts/login/?next=/account/")
    page.fill("input[name=username]", "uwe")
    page.fill("input[name=password]", front_desk.PASSWORD)
    page.click("main button[type=submit]")
    expect(page.locator("h1")).to_contain_text("uwe, user")
    assert page.url.endswith("/account/")
    _unwatched(complaints)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_matters_asks_again_and_goes_on_with_what_was_typed(window: Window, hub: Hub, theme: str) -> None:
    page = window(theme=theme, width=PHONE).new_page()
    sign_in(page, "alice")
    page.goto("/people/")
    page.fill("input[name=username]", "two words")
    hub.ask(front_desk.age_session, "alice", 11 * 60, "proven")
    page.click("#add-person")
    expect(page.locator("h1")).to_have_text("Confirm that it is you.")
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.locator(".errors")).to_contain_text("neither your password")
    focus_by_tab(page, "input[name=confirm_password]")
    page.keyboard.type(front_desk.PASSWORD)
    page.keyboard.press("Enter")
    # What was typed has arrived, mistake included: the form says what is wrong with it.
    expect(page.locator("input[name=username]")).to_have_value("two words")
    expect(page.locator(".errors")).to_contain_text("valid username")
