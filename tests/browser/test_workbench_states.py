"""The workbench and a job in every state: nothing grave for axe, nothing too wide, for doctor and administrator."""

from collections.abc import Iterator

import job_desk
import pytest
from harness import Hub
from playwright.sync_api import Page, expect
from portal import Window, sign_in
from test_every_page import DESK, PHONE, findings

NAMES = ("dora", "alice")


@pytest.fixture
def lease_ends(hub: Hub) -> Iterator[None]:
    """Whatever becomes of the test, dora has no lease after it, and no job that goes on."""
    yield
    hub.ask(job_desk.end_the_lease, "dora")


class Readers:
    """The doctor whose job it is, and an administrator."""

    def __init__(self, window: Window, theme: str) -> None:
        # Colours do not hang on the width: dark is looked at once.
        self.widths = {"dora": (PHONE, DESK), "alice": (PHONE,)} if theme == "light" else dict.fromkeys(NAMES, (DESK,))
        self.pages = {name: window(theme=theme).new_page() for name in NAMES}
        for name, page in self.pages.items():
            sign_in(page, name)

    def see(self, path: str, says: str) -> None:
        for name, page in self.pages.items():
            page.goto(path)
            expect(page.locator("h1")).to_contain_text(says)
            looks_right(page, self.widths[name])


def looks_right(page: Page, widths: tuple[int, ...]) -> None:
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.usefixtures("lease_ends")
def test_the_workbench_and_a_job_in_every_state(window: Window, hub: Hub, theme: str, complaints: list[str]) -> None:
    readers = Readers(window, theme)
    dora = readers.pages["dora"]
    readers.see("/workbench/", "Nobody is fine-tuning.")
    hub.ask(job_desk.take_the_lease, "dora")
    dora.goto("/workbench/")
    expect(dora.locator("#base")).to_be_visible()
    looks_right(dora, readers.widths["dora"])

    job = f"/workbench/{hub.ask(job_desk.begin_with_scans, 'dora')}/"
    readers.see("/workbench/", "fine-tuning")
    readers.see(job, "fine-tune version")
    expect(dora.locator("#counts")).to_contain_text("No class yet")
    dora.set_input_files("#files", {"name": "a.png", "mimeType": "image/png", "buffer": b"no image"})
    dora.click("#send")
    expect(dora.locator("#left-out")).to_be_visible()
    looks_right(dora, readers.widths["dora"])
    hub.ask(job_desk.train_it)
    readers.see(job, "The training is done")
    hub.ask(job_desk.refuse_it)
    readers.see(job, "The training is done")
    expect(dora.locator("main .notice")).to_contain_text(
        "It was not proposed by itself. The fine-tuning lease had ended."
    )
    hub.ask(job_desk.propose_it)
    readers.see(job, "waits for an administrator")

    job = f"/workbench/{hub.ask(job_desk.work_on_a_job, 'dora')}/"
    hub.ask(job_desk.tell_epoch, 3)
    readers.see(job, "The worker trains: epoch 3 of 5")
    expect(dora.locator("#then")).to_contain_text("It will be proposed for review when it is done.")
    hub.ask(job_desk.stop_working, "dora")
    readers.see(job, "The job was cancelled.")
    hub.ask(job_desk.fail_it, "dora")
    readers.see(f"/workbench/{hub.ask(job_desk.newest_job)}/", "The worker died over this job three times.")
    readers.see("/workbench/", "fine-tuning")
    # Chromium itself says on the console that the file was refused.
    complaints[:] = [line for line in complaints if "status of 422" not in line]
