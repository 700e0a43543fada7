"""The bar above every page: one line on a desk, and a menu for what only administrators do."""

import pytest
from playwright.sync_api import Page, expect
from portal import Window, sign_in
from test_every_page import DESK, PHONE, findings, focus_by_tab

MENU = "details.menu"
INSIDE = ["People", "Settings", "Validation set", "Records"]
# A line of small text with its padding; two would have twice that.
ONE_LINE = 64


def height_of_the_bar(page: Page) -> float:
    return float(page.evaluate("document.querySelector('.bar').getBoundingClientRect().height"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_desk_the_bar_is_one_line_for_administrators_too(window: Window, theme: str) -> None:
    page = window(theme=theme, width=DESK).new_page()
    sign_in(page, "alice")
    for address in ("/", "/rounds/", "/people/", "/settings/"):
        page.goto(address)
        expect(page.locator("h1")).to_be_visible()
        assert height_of_the_bar(page) < ONE_LINE, address
        assert page.evaluate("document.documentElement.scrollWidth") <= DESK
    # No name of a page is cut off.
    assert page.evaluate("(tabs => tabs.scrollWidth <= tabs.clientWidth)(document.querySelector('.tabs'))")


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_menu_opens_closes_and_is_in_sight(window: Window, theme: str, width: int) -> None:
    page = window(theme=theme, width=width).new_page()
    sign_in(page, "alice")
    page.goto("/people/")
    summary, people = page.locator(f"{MENU} > summary"), page.locator(f"{MENU} a[aria-current]")
    expect(page.locator(f"{MENU}.current")).to_have_count(1)
    expect(people).to_be_hidden()
    summary.click()
    expect(people).to_have_text("People")
    assert page.locator(f"{MENU} a").all_inner_texts() == INSIDE
    box = page.locator(".menu-list").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert findings(page) == []
    page.mouse.click(4, 860)
    expect(people).to_be_hidden()


def test_the_menu_is_used_by_keyboard_alone_and_without_scripts(window: Window) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    page.goto("/")
    focus_by_tab(page, f"{MENU} > summary")
    page.keyboard.press("Enter")
    expect(page.locator(f"{MENU} a").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(f"{MENU} a").first).to_be_hidden()
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    focus_by_tab(page, f"{MENU} a[href='/settings/']")
    page.keyboard.press("Enter")
    expect(page.locator(f"{MENU}.current")).to_have_count(1)
    bare = window(scripts=False).new_page()
    sign_in(bare, "alice")
    bare.goto("/")
    bare.locator(f"{MENU} > summary").click()
    bare.get_by_role("link", name="People").click()
    expect(bare.locator("h1")).to_be_visible()
    assert bare.url.endswith("/people/")


@pytest.mark.parametrize("name", ["dora", "uwe"])
def test_who_manages_nothing_has_no_menu(window: Window, name: str) -> None:
    page = window().new_page()
    sign_in(page, name)
    expect(page.locator(".tabs")).to_be_visible()
    expect(page.locator(MENU)).to_have_count(0)
    assert height_of_the_bar(page) < ONE_LINE
