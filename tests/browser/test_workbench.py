"""A doctor's job at the workbench, with the real worker: from the lease to the proposal."""

import io
import zipfile

import numpy as np
from conftest import Window, sign_in
from playwright.sync_api import expect
from test_every_page import findings

from hospintel_core import phantoms
from hospintel_core.architectures import CLASSES

PER_CLASS = 10
WORKER_MS = 90_000


def zipped() -> bytes:
    """Scans in class folders."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for label, name in enumerate(CLASSES):
            for number in range(PER_CLASS):
                scan = io.BytesIO()
                phantoms.draw(label, np.random.default_rng((11, label, number)), 64).save(scan, "PNG")
                archive.writestr(f"{name}/{number}.png", scan.getvalue())
    return made.getvalue()


def test_a_doctor_fine_tunes_and_proposes(window: Window) -> None:
    page = window().new_page()
    sign_in(page, "dora")
    page.goto("/workbench/")
    page.click("#take")
    page.click("#begin")
    expect(page.locator("h1")).to_contain_text("Bring scans of all four classes")
    page.set_input_files("#files", {"name": "scans.zip", "mimeType": "application/zip", "buffer": zipped()})
    page.click("#send")
    expect(page.locator("#added")).to_contain_text(f"{PER_CLASS * len(CLASSES)} scans taken.")
    expect(page.locator("#scans li")).to_have_count(PER_CLASS * len(CLASSES))
    page.wait_for_function("document.querySelector('#scans img').naturalWidth > 0")
    assert findings(page) == []
    page.fill("#epochs", "2")
    page.click("#fine-tune")
    expect(page.locator("#propose-button")).to_be_visible(timeout=WORKER_MS)
    expect(page.locator("#report")).to_contain_text("Glioma")
    expect(page.locator("#scans")).to_have_count(0)
    assert findings(page) == []
    page.fill("#note", "scans of our new scanner")
    page.click("#propose-button")
    expect(page.locator("h1")).to_contain_text("waits for an administrator")
    page.goto("/workbench/")
    page.click("#release")
    expect(page.locator("h1")).to_have_text("Nobody is fine-tuning.")
