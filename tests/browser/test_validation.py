"""An administrator brings a validation set and puts it to use, with the real worker; then it goes again."""

from playwright.sync_api import expect
from portal import Window, sign_in
from test_every_page import findings
from test_workbench import PER_CLASS, WORKER_MS, zipped

from hospintel_core.architectures import CLASSES


def test_an_administrator_brings_a_validation_set_and_deletes_it(window: Window) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    page.goto("/settings/")
    page.click("text=Validation set")
    expect(page.locator("h1")).to_contain_text("There is no validation set")
    assert findings(page) == []
    page.set_input_files("#files", {"name": "s.zip", "mimeType": "application/zip", "buffer": zipped()})
    page.click("#send")
    expect(page.locator("#added")).to_contain_text(f"{PER_CLASS * len(CLASSES)} scans taken.")
    assert findings(page) == []
    page.click("#use")
    expect(page.locator("#ready")).to_be_visible(timeout=WORKER_MS)
    expect(page.locator("h1")).to_contain_text(f"measured with {PER_CLASS * len(CLASSES)} scans")
    expect(page.locator("#measured-head")).to_be_visible(timeout=WORKER_MS)
    assert findings(page) == []
    page.click("#delete")
    page.click("dialog[open] [value=yes]")
    expect(page.locator("h1")).to_contain_text("There is no validation set")
    expect(page.locator("#ended")).to_contain_text("Deleted")
    assert findings(page) == []
