"""A page that changes leaves its reader where they are, and looks as they chose."""

from typing import Any

import front_desk
from harness import Hub
from playwright.sync_api import Page, expect
from portal import Window, live, press, sign_in

ROWS = "#rounds-table tr[id^=round-]"
STANDS_ON = "document.activeElement.getAttribute('href')"


def start_and_wait(page: Page, rounds: int = 1) -> None:
    """Start a run and wait for its end, in this window."""
    page.fill("#run-rounds", str(rounds))
    press(page, "#start", "text=The run is started.")
    expect(page.locator("h1")).to_contain_text("No run is active.")
    expect(page.locator("#start")).to_be_visible()


def test_who_stands_on_a_row_stays_on_it_when_a_new_one_comes_above(window: Window) -> None:
    reader, admin = window().new_page(), window().new_page()
    sign_in(reader, "dora")
    sign_in(admin, "alice")
    reader.goto("/rounds/")
    live(reader)
    rows = reader.locator(ROWS).count()
    reader.locator(f"{ROWS} th a").first.focus()
    stood_on = reader.evaluate(STANDS_ON)
    start_and_wait(admin)
    expect(reader.locator(ROWS)).to_have_count(rows + 1)
    assert reader.evaluate(STANDS_ON) == stood_on
    assert reader.locator(f"{ROWS} th a").first.get_attribute("href") != stood_on


def test_in_a_narrow_window_the_open_pages_name_is_in_sight_and_nothing_overflows(window: Window) -> None:
    page = window(width=390).new_page()
    sign_in(page, "alice")
    for address in ("/", "/rounds/", "/models/"):
        page.goto(address)
        live(page)
        # The name of the page that is open is in sight, although not all names are.
        tab = page.locator(".tabs [aria-current]").bounding_box()
        assert tab is not None
        assert tab["x"] >= 0
        assert tab["x"] + tab["width"] <= 390
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_theme_that_was_chosen_is_there_from_the_first_moment(window: Window) -> None:
    page = window(theme="light").new_page()
    sign_in(page, "dora")
    switch = page.locator("[data-theme-switch]")
    expect(switch).to_have_attribute("aria-pressed", "false")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "true")
    page.goto("/models/")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(12, 19, 18)"


def test_ages_follow_the_hubs_clock_whatever_the_readers_says(window: Window) -> None:
    context = window()
    page = context.new_page()
    sign_in(page, "dora")
    # Three hours ahead, as on a machine with the wrong time zone.
    context.add_init_script("""
        const real = Date.now.bind(Date);
        Date.now = () => real() + 10800000;
        Object.defineProperty(performance, "timeOrigin", { value: performance.timeOrigin + 10800000 });
    """)
    page.goto("/models/")
    ages = page.locator("time[data-ago]").all_inner_texts()
    assert ages
    assert not [age for age in ages if " h ago" in age or " d ago" in age]


def test_the_keyboard_alone_reaches_the_content_and_every_page(window: Window) -> None:
    page = window().new_page()
    sign_in(page, "uwe")
    page.goto("/")
    live(page)
    page.keyboard.press("Tab")
    skip: Any = page.evaluate("document.activeElement.getBoundingClientRect().left")
    assert skip >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="Rounds", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/rounds/")


def test_yes_is_said_to_what_was_asked_about_and_to_nothing_that_took_its_place(window: Window, hub: Hub) -> None:
    gone, other = hub.ask(front_desk.propose, 101), hub.ask(front_desk.propose, 102)
    page = window().new_page()
    sign_in(page, "alice")
    page.goto("/models/")
    live(page)
    form = page.locator(f"#publish-form-{gone}")
    form.get_by_role("button", name="Publish").click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("becomes the current model")
    hub.ask(front_desk.reject, gone)
    expect(page.locator(f"#held-{gone}")).to_have_count(0)
    expect(page.locator(f"#held-{other}")).to_be_visible()
    dialog.get_by_role("button", name="Publish").click()
    expect(dialog).to_contain_text("Nothing was done")
    dialog.get_by_role("button", name="Cancel").click()
    assert hub.ask(front_desk.state_of, other) == "HELD"
    page.fill(f"#reject-{other}", "not this one either")
    page.locator(f"#reject-form-{other}").get_by_role("button", name="Reject").click()
    page.locator("dialog[open]").get_by_role("button", name="Reject").click()
    page.wait_for_selector("text=The version is rejected.")
    assert hub.ask(front_desk.state_of, other) == "REJECTED"
