"""Models in the browser: the lineage, two versions compared, an older file, and going back with a reason."""

from pathlib import Path

import front_desk
import pytest
from harness import Hub
from playwright.sync_api import Browser, Page, expect
from portal import Window, sign_in
from test_every_page import DESK, PHONE, findings

WORKER_MS = 120_000


def current(page: Page) -> str:
    """What the page says is current."""
    return page.locator("#stands dd a").first.inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_two_versions_are_compared_by_a_plain_form(window: Window, theme: str, width: int) -> None:
    page = window(theme=theme, width=width).new_page()
    sign_in(page, "dora")
    page.goto("/models/")
    for field, words in (("a", "Version 2 (round 1"), ("b", "Version 3 (round 2")):
        option = page.locator(f"#compare-form [name={field}] option", has_text=words)
        page.select_option(f"#compare-form [name={field}]", option.get_attribute("value"))
    page.click("#compare")
    expect(page.locator("h1")).to_contain_text("version 2")
    expect(page.locator("#measured")).to_contain_text("Pituitary: precision")
    expect(page.locator(".confusion")).to_have_count(2)
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_mark_of_the_drawing_leads_to_its_version(window: Window) -> None:
    page = window().new_page()
    sign_in(page, "uwe")
    for path in ("/models/", "/models/lineage/"):
        page.goto(path)
        for row in range(page.locator(".lineage li").count()):
            name = page.locator(".lineage li a").nth(row).inner_text()
            page.locator(".lineage .node").nth(row).scroll_into_view_if_needed()
            box = page.locator(".lineage .node").nth(row).bounding_box()
            assert box is not None
            page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            expect(page.locator(".eyebrow")).to_contain_text(name)
            page.go_back()
            page.wait_for_selector(".lineage")
    # Beside the drawing, nothing is in the way.
    page.goto("/models/")
    page.locator("#stands a").first.click()
    expect(page.locator(".eyebrow")).to_contain_text("Version")


def test_an_older_version_is_written_while_the_page_waits_and_then_comes(
    window: Window, complaints: list[str], tmp_path: Path
) -> None:
    page = window().new_page()
    sign_in(page, "dora")
    page.goto("/models/")
    page.locator("#versions-table tbody tr").last.locator("a").first.click()
    expect(page.locator("h1")).to_contain_text("Version 1 was current until")
    with page.expect_download(timeout=WORKER_MS) as coming:
        page.locator("#download").click()
    coming.value.save_as(tmp_path / "old.h5")
    assert (tmp_path / "old.h5").read_bytes()[:4] == b"\x89HDF"
    assert coming.value.suggested_filename == "version-1.h5"
    # Chromium tells the console of each answer that said to wait.
    complaints[:] = [one for one in complaints if "status of 503" not in one or "/model.h5" not in one]


def test_going_back_asks_for_a_reason_in_the_dialog(window: Window, hub: Hub) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    page.goto("/models/")
    was = current(page)
    page.locator("#versions-table button").last.click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("Version 1 becomes current again")
    assert findings(page) == []
    dialog.get_by_label("Reason").fill("misses pituitary")
    page.keyboard.press("Enter")
    expect(page.locator(".notice").first).to_contain_text("The version is current again")
    expect(page.locator("#lineage")).to_contain_text("rolled back to version 1: misses pituitary")
    assert current(page) != was
    # Where no reason is asked for, there is no field for one.
    version = hub.ask(front_desk.propose, 301)
    page.goto("/models/")
    page.locator(f"#publish-form-{version}").get_by_role("button").click()
    expect(dialog).to_be_visible()
    expect(dialog.get_by_label("Reason")).to_be_hidden()
    dialog.get_by_role("button", name="Cancel").click()
    hub.ask(front_desk.reject, version)


def test_without_scripts_one_compares_and_goes_back_too(browser: Browser, address: str) -> None:
    with browser.new_context(base_url=address, java_script_enabled=False) as context:
        page = context.new_page()
        sign_in(page, "alice")
        page.goto("/models/")
        was = current(page)
        before = page.locator("#stands dd a").nth(1).inner_text()
        page.click("#compare")
        expect(page.locator("h1")).to_contain_text(before, ignore_case=True)
        page.go_back()
        page.fill("#go-back-reason", "as it was")
        page.click("#go-back")
        expect(page.locator(".notice").first).to_contain_text("The version is current again")
        expect(page.locator("#lineage")).to_contain_text(f"rolled back to {before.lower()}: as it was")
        assert current(page) != was
