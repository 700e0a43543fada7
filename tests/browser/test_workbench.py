"""A doctor's job at the workbench, with the real worker: from the lease to the proposal."""

import io
import zipfile
from collections.abc import Iterator

import job_desk
import numpy as np
import pytest
from harness import Hub
from playwright.sync_api import Route, expect
from portal import Window, sign_in
from test_every_page import findings

from hospintel_core import phantoms
from hospintel_core.architectures import CLASSES

PER_CLASS, SIZE = 10, 64
WORKER_MS = 180_000


def zipped(per_class: int = PER_CLASS) -> bytes:
    """Scans in class folders."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for label, name in enumerate(CLASSES):
            for number in range(per_class):
                scan = io.BytesIO()
                phantoms.draw(label, np.random.default_rng((11, label, number)), SIZE).save(scan, "PNG")
                archive.writestr(f"{name}/{number}.png", scan.getvalue())
    return made.getvalue()


def test_a_doctor_fine_tunes_and_uploads_in_one_step(window: Window) -> None:
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
    page.locator("#scans img").first.scroll_into_view_if_needed()
    expect(page.locator("#scans img").first).to_have_js_property("naturalWidth", SIZE)
    assert findings(page) == []
    page.fill("#epochs", "2")
    button = page.locator("#fine-tune")
    expect(button).to_have_accessible_name("Fine-Tune and Upload")
    page.uncheck("#propose-then")
    expect(button).to_have_accessible_name("Fine-Tune")
    expect(page.locator("#review-note")).to_be_hidden()
    page.check("#propose-then")
    page.fill("#review-note", "scans of our new scanner")
    button.click()
    expect(page.locator("main .notice")).to_contain_text("is proposed for review when it is done")
    page.evaluate("window.leftAlone = true")
    expect(page.locator("h1")).to_contain_text("waits for an administrator", timeout=WORKER_MS)
    assert page.evaluate("window.leftAlone === true"), "nothing was pressed and nothing loaded again"
    expect(page.locator("#report")).to_contain_text("Glioma")
    expect(page.locator("#scans, #propose")).to_have_count(0)
    assert findings(page) == []
    page.click("#proposal")
    expect(page.locator("main")).to_contain_text("scans of our new scanner")
    page.goto("/workbench/")
    page.click("#release")
    expect(page.locator("h1")).to_have_text("Nobody is fine-tuning.")


@pytest.fixture
def job(hub: Hub) -> Iterator[str]:
    """A job of dora's that trains as fast as the test says."""
    yield hub.ask(job_desk.work_on_a_job, "dora")
    hub.ask(job_desk.stop_working, "dora")


def hold_fragments(route: Route) -> None:
    """The page asks for its living part, and gets no answer."""
    if "x-fragment" not in route.request.headers:
        route.continue_()


def test_each_epoch_comes_over_the_socket_alone(window: Window, hub: Hub, job: str) -> None:
    page = window().new_page()
    sign_in(page, "dora")
    page.route(f"**/workbench/{job}/", hold_fragments)
    page.goto(f"/workbench/{job}/")
    expect(page.locator(".live")).to_have_attribute("data-live", "on")
    expect(page.locator("h1")).to_have_text("The worker trains.")
    for epoch in (1, 2, 4):
        hub.ask(job_desk.tell_epoch, epoch)
        expect(page.locator("h1")).to_have_text(f"The worker trains: epoch {epoch} of 5, loss {1 / epoch:.4f}.")
        expect(page.locator("#epochs-rows tr")).to_have_count(epoch)
        expect(page.locator("#job-done")).to_have_text(f"{epoch} of 5 epochs")
        assert page.locator("#job-progress").evaluate("bar => [bar.value, bar.max]") == [epoch, 5]
    told = page.locator("#epochs-rows").inner_text()
    # The same words from the hub.
    page.unroute(f"**/workbench/{job}/")
    page.reload()
    expect(page.locator("h1")).to_have_text("The worker trains: epoch 4 of 5, loss 0.2500.")
    assert page.locator("#epochs-rows").inner_text() == told


def test_without_a_socket_each_epoch_is_asked_for(window: Window, hub: Hub, job: str) -> None:
    page = window().new_page()
    page.route_web_socket("**/ws/events/", lambda socket: socket.close())
    sign_in(page, "dora")
    page.goto(f"/workbench/{job}/")
    hub.ask(job_desk.tell_epoch, 3)
    expect(page.locator("h1")).to_have_text("The worker trains: epoch 3 of 5, loss 0.3333.")
    expect(page.locator("#epochs-rows tr")).to_have_count(3)
