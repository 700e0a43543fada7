"""One-time links: with scripts they go on by themselves, without them the code is pasted; the first administrator's."""

from collections.abc import Iterator

import pytest
from harness import Hub, eventually
from playwright.sync_api import Browser, expect
from portal import Window, sign_in
from test_every_page import PHONE, findings

from hospintel_site.demo.processes import HUB

FRESH = "staple battery horse"


def test_without_scripts_the_code_of_a_link_is_pasted(window: Window, browser: Browser, address: str) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    page.goto("/people/")
    page.get_by_role("link", name="uwe").click()
    page.get_by_role("button", name="Issue a password link").click()
    where, _, code = page.locator("#link").inner_text().partition("#")
    with browser.new_context(base_url=address, java_script_enabled=False) as context:
        other = context.new_page()
        other.goto(f"{where}#{code}")
        expect(other.locator("h1")).to_have_text("Set your password")
        other.fill("input[name=token]", "wrong")
        other.click("main button[type=submit]")
        expect(other.locator(".errors")).to_contain_text("This link is used, over, replaced")
        other.fill("input[name=token]", code)
        other.click("main button[type=submit]")
        expect(other.locator("main")).to_contain_text("For the account uwe.")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_link_for_the_first_administrator_that_was_used_says_so(browser: Browser, address: str, theme: str) -> None:
    with browser.new_context(base_url=address, color_scheme=theme, viewport={"width": PHONE, "height": 900}) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"/first-admin/#{'x' * 43}")
        expect(page.locator("h1")).to_have_text("This hub has its first administrator")
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
        page.get_by_role("link", name="Sign in").click()
        expect(page.locator("input[name=username]")).to_be_visible()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, str]]:
    """A hub where nobody has an account, and the link that it printed."""
    hub = Hub(tmp_path_factory.mktemp("empty"))

    def printed() -> str:
        return next((line for line in hub.processes.tail(HUB).split() if "/first-admin/#" in line), "")

    try:
        yield hub, str(eventually(printed, "the link is printed", hub.logs))
    finally:
        hub.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_administrators_page_has_nothing_grave_and_fits_a_phone(
    browser: Browser, empty: tuple[Hub, str], theme: str
) -> None:
    _, link = empty
    with browser.new_context(color_scheme=theme, viewport={"width": PHONE, "height": 900}) as context:  # type: ignore[arg-type]
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda told: complaints.append(told.text) if told.type in {"error", "warning"} else None)
        page.goto(link.partition("#")[0])
        expect(page.locator("main")).to_contain_text("behind the #")
        assert findings(page) == []
        page.goto("about:blank")
        page.goto(link)
        expect(page.locator("main")).to_contain_text("Choose a name and a password")
        assert "#" not in page.url
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
        page.fill("input[name=username]", "chief")
        page.fill("input[name=password1]", "short")
        page.click("main button[type=submit]")
        expect(page.locator(".errors").first).to_be_visible()
        assert findings(page) == []
        assert complaints == []
