"""A hub where nothing has happened: its pages say what to do first, and have nothing grave for axe."""

from collections.abc import Iterator

import front_desk
import pytest
from harness import Hub
from playwright.sync_api import expect
from portal import Window, press, sign_in
from test_every_page import DESK, PHONE, every_page, findings


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with version 1, an administrator and a doctor of no hospital."""
    hub = Hub(tmp_path_factory.mktemp("empty"))
    try:
        hub.ask(front_desk.make_admin)
        hub.ask(front_desk.make_doctor)
        yield hub
    finally:
        hub.close()


@pytest.fixture(scope="module")
def address(hub: Hub) -> str:
    """This hub's portal."""
    return hub.processes.address


@pytest.mark.parametrize("name", ["alice", "dora"])
@pytest.mark.parametrize(("theme", "width"), [("light", DESK), ("dark", PHONE)])
def test_every_page_of_an_empty_hub(window: Window, name: str, theme: str, width: int) -> None:
    page = window(theme=theme, width=width).new_page()
    sign_in(page, name)
    for path in every_page(page):
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_who_belongs_to_no_hospital_is_told_so_instead_of_a_field_for_scans(window: Window) -> None:
    page = window().new_page()
    sign_in(page, "dora")
    page.goto("/analyse/")
    expect(page.locator("main")).to_contain_text("your account belongs to none of them")
    expect(page.locator("#scan")).to_have_count(0)


def test_a_run_without_agents_is_not_asked_for_again(window: Window) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    expect(page.locator("#hospitals")).to_contain_text("Start a run above.")
    press(page, "#start", "#abort")
    expect(page.locator("main")).not_to_contain_text("Start a run")
    for path in ("/", "/rounds/"):
        page.goto(path)
        assert findings(page) == []
    page.goto("/")
    page.click("#abort")
    page.click("dialog [value=yes]")
    expect(page.locator("#start")).to_be_visible()
