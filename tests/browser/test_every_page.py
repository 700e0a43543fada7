"""Every page that a person can get to: accessible, in both themes, on a phone, and by keyboard alone."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import URLResolver, get_resolver, resolve
from front_desk import PASSWORD, PEOPLE
from playwright.sync_api import Page, expect
from portal import Window, sign_in

PHONE, DESK = 390, 1280
GRAVE = {"serious", "critical"}
MOST_PAGES = 30
# Files, programs' calls, and Django's own pages are not the portal's.
NO_PAGES = ("accounts/login/", "accounts/code/", "accounts/logout/", "password/", "first-admin/")
ELSEWHERE = ("/admin/", "/api/", "/static/", "/docs", "/redoc")


def links(page: Page) -> list[str]:
    """Where the page leads inside the portal, without what comes after ? and #."""
    found = page.eval_on_selector_all("a[href]", "nodes => nodes.map(node => node.href)")
    origin = page.evaluate("window.location.origin")
    paths = [url.removeprefix(origin).partition("#")[0].partition("?")[0] for url in found if url.startswith(origin)]
    # `/model` and `/models/<id>/model.h5` are files; `/models/` and the others below it are pages.
    return [path for path in paths if path != "/model" and not path.startswith(ELSEWHERE) and not path.endswith(".h5")]


def route(path: str) -> str:
    """The pattern of the address, as the hub's table of addresses has it."""
    return str(resolve(path).route)


def all_pages() -> set[str]:
    """The addresses of all pages for who is signed in: they end in a slash, what only does something does not."""
    included = [inner for inner in get_resolver().url_patterns if isinstance(inner, URLResolver)]
    found = {str(inner.pattern) for part in included if not str(part.pattern) for inner in part.url_patterns}
    return {pattern for pattern in found if pattern.endswith("/") or not pattern} - set(NO_PAGES)


def shape(path: str) -> str:
    """The address with its ids left out: one round's page stands for all."""
    return "/".join("*" if any(character.isdigit() for character in part) else part for part in path.split("/"))


def every_page(page: Page) -> Iterator[str]:
    """Open every page that can be got to from the first one, one of each shape."""
    waiting, seen = ["/"], set()
    while waiting:
        path = waiting.pop(0)
        if shape(path) in seen:
            continue
        seen.add(shape(path))
        assert len(seen) <= MOST_PAGES
        page.goto(path)
        page.wait_for_selector("h1")
        yield path
        waiting += links(page)


def findings(page: Page) -> list[str]:
    """What axe finds serious or critical."""
    found = Axe().run(page).response["violations"]
    return [
        f"{page.url} {rule['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for rule in found
        if rule["impact"] in GRAVE
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PEOPLE)
def test_axe_finds_nothing_grave_on_any_page(window: Window, name: str, theme: str) -> None:
    page = window(theme=theme).new_page()
    page.goto("/accounts/login/")
    assert findings(page) == []
    sign_in(page, name)
    pages = []
    for path in every_page(page):
        pages.append(path)
        assert findings(page) == []
    # Who may see all finds all: a page to which nothing leads is found by nobody.
    assert name != "alice" or all_pages() == set(map(route, pages))


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/admin/", "/admin/federation/round/"])
def test_axe_finds_nothing_grave_on_pages_whose_parts_come_from_elsewhere(window: Window, path: str) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    page.goto(path)
    page.wait_for_selector(".opblock, [data-section-id*='operation/'], #content")
    assert findings(page) == []
    # What is behind a call's button, too: one that only reads can be tried, one that sends something shows its body.
    for call in (".opblock-get", ".opblock-post"):
        if path == "/docs":
            page.locator(f"{call} .opblock-summary-control").first.click()
            page.wait_for_selector(f"{call} .opblock-body")
            assert findings(page) == []


@pytest.mark.parametrize("name", PEOPLE)
def test_no_page_is_wider_than_a_phone(window: Window, name: str) -> None:
    page = window(width=PHONE).new_page()
    sign_in(page, name)
    for path in every_page(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE, path


def test_the_theme_that_was_chosen_holds_on_the_next_page(window: Window) -> None:
    page = window(theme="light").new_page()
    sign_in(page, "uwe")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("[data-theme-switch]")
    dark = page.evaluate(ground)
    assert dark != light
    page.goto("/rounds/")
    assert page.evaluate(ground) == dark
    expect(page.locator("[data-theme-switch]")).to_have_attribute("aria-pressed", "true")


def focus_by_tab(page: Page, selector: str, most: int = 60) -> None:
    """Press Tab until the focus is where it shall be."""
    for _ in range(most):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{selector} cannot be reached by Tab")


def test_a_run_is_started_and_aborted_by_keyboard_alone(window: Window) -> None:
    page = window().new_page()
    page.goto("/")
    focus_by_tab(page, "input[name=username]")
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("#start")
    # So many that it is not over before it is aborted, however slow this machine is.
    focus_by_tab(page, "#run-rounds")
    page.keyboard.press("Control+A")
    page.keyboard.type("900")
    focus_by_tab(page, "#start")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=The run is started.")
    page.wait_for_load_state()
    focus_by_tab(page, "#abort")
    page.keyboard.press("Enter")
    expect(page.locator("dialog[open]")).to_be_visible()
    focus_by_tab(page, "dialog [value=yes]")
    page.keyboard.press("Enter")
    expect(page.locator("#start")).to_be_visible()


def test_the_first_tab_leads_past_the_navigation(window: Window) -> None:
    page = window().new_page()
    sign_in(page, "uwe")
    page.goto("/rounds/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
