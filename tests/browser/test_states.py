"""The portal in each state of a run: nothing grave for axe, nothing too wide, whoever looks and in whichever theme."""

import signal

import front_desk
import pytest
from harness import Hub
from playwright.sync_api import Page, expect
from portal import Window, press, sign_in
from test_every_page import DESK, PHONE, findings

PAGES = ("/", "/rounds/", "/models/", "/hospitals/")


def looks_right(page: Page, *paths: str) -> None:
    """The pages, on a desk and on a phone."""
    for path in paths or PAGES:
        page.goto(path)
        for width in (PHONE, DESK):
            page.set_viewport_size({"width": width, "height": 900})
            assert findings(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_run_that_runs_is_paused_and_is_aborted(window: Window, hub: Hub, theme: str) -> None:
    admin, reader = window(theme=theme).new_page(), window(theme=theme).new_page()
    sign_in(admin, "alice")
    sign_in(reader, "dora")
    admin.fill("#run-rounds", "900")
    press(admin, "#start", "#abort")
    expect(admin.locator("#hospitals .card-note")).to_contain_text("of 900")
    # One hospital stands still: the round waits for it, and the pages are looked at in peace.
    agent = hub.processes.process("brain-mri c")
    agent.send_signal(signal.SIGSTOP)
    try:
        looks_right(admin)
        looks_right(reader)
    finally:
        agent.send_signal(signal.SIGCONT)
    admin.goto("/")
    admin.click("#pause")
    expect(admin.locator("#resume")).to_be_visible()
    expect(admin.locator("h1")).to_contain_text("paused")
    looks_right(admin)
    looks_right(reader)
    admin.goto("/")
    press(admin, "#resume", "#pause")
    expect(admin.locator("h1")).to_contain_text("collecting")
    admin.click("#abort")
    admin.click("dialog [value=yes]")
    expect(admin.locator("#start")).to_be_visible()
    failed = f"/rounds/{hub.ask(front_desk.newest_round)}/"
    looks_right(admin, "/", "/rounds/", failed)
    expect(admin.locator("main")).to_contain_text("An administrator aborted the run.")
    looks_right(reader, failed)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_version_that_is_held_for_review(window: Window, hub: Hub, theme: str) -> None:
    version = hub.ask(front_desk.propose, 200 + len(theme))
    page = window(theme=theme).new_page()
    for name in ("uwe", "dora", "alice"):
        page.context.clear_cookies()
        sign_in(page, name)
        looks_right(page, "/", "/models/")
    page.locator(f"#publish-form-{version}").get_by_role("button").click()
    expect(page.locator("dialog[open]")).to_be_visible()
    assert findings(page) == []
    hub.ask(front_desk.reject, version)
