"""The page with the real base: VGG16 in WebAssembly, against the same on the hub and in Python."""

import io
from collections.abc import Iterator
from pathlib import Path

import front_desk
import numpy as np
import pytest
from harness import Hub, eventually
from PIL import Image
from playwright.sync_api import Route, expect
from portal import Window, sign_in
from test_analyse import READ, choose, saved, shown
from test_every_page import findings

from hospintel_core import backbone, phantoms
from hospintel_core.errors import BaseWeightsError

# Fetching 29 MB, and two programs beside each other.
PATIENCE_MS = 180_000


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with version 1 of the real architecture."""
    try:
        backbone.find_base_weights(download=False)
    except BaseWeightsError as error:
        pytest.skip(f"VGG16's weights are not on this machine: {error}")
    hub = Hub(tmp_path_factory.mktemp("vgg"), architecture="vgg16-head256")
    try:
        hub.ask(front_desk.make_doctor, "North Clinic")
        yield hub
    finally:
        hub.close()


@pytest.fixture(scope="module")
def address(hub: Hub) -> str:
    """This hub's portal."""
    return hub.processes.address


def test_the_worker_has_the_model_loaded_before_anybody_sends_a_scan(hub: Hub) -> None:
    def all_have_it() -> bool:
        _, *processes = hub.worker()
        return bool(processes) and all("onnxruntime" in Path(f"/proc/{pid}/maps").read_text() for pid in processes)

    eventually(all_have_it, "the model loaded by each process of the worker", hub.logs)


def test_a_scan_is_read_by_the_real_base_here_and_on_the_hub(window: Window, hub: Hub) -> None:
    page = window().new_page()
    sign_in(page, "dora")
    page.goto("/analyse/")
    file = io.BytesIO()
    phantoms.draw(3, np.random.default_rng(8), 224).save(file, "PNG")
    choose(page, file.getvalue())
    expect(page.locator("#notes")).to_contain_text("in this browser", timeout=PATIENCE_MS)
    expect(page.locator("#map-text")).to_contain_text("Coarse: 8 x 8 fields")
    here = shown(page)
    expected, _ = hub.ask(front_desk.read_with_vgg, file.getvalue())
    assert here == pytest.approx([100 * share for share in expected], abs=1)
    # All of it beside the page, which stays in hand.
    assert [worker.url.rpartition("/")[2] for worker in page.workers] == ["worker.js"]
    page.get_by_text("Have the hub read it instead").click()
    page.get_by_role("button", name="Send this scan to the hub").click()
    expect(page.locator("#notes")).to_contain_text("on the hub", timeout=PATIENCE_MS)
    assert shown(page) == pytest.approx(here, abs=1)


def test_colours_and_maps_are_those_of_our_python(window: Window, hub: Hub) -> None:
    page = window().new_page()
    sign_in(page, "dora")
    page.goto("/analyse/")
    # Each colour at another level: a mistake in their order shows.
    noise = np.random.default_rng(5).integers(0, 100, (150, 130, 3)) + np.array([0, 70, 155])
    data = saved(Image.fromarray(noise.astype(np.uint8)))
    found = page.evaluate(READ, list(data))
    probabilities, maps = hub.ask(front_desk.read_with_vgg, data)
    assert np.abs(np.subtract(found["probabilities"], probabilities)).max() < 0.005
    for one, wanted in zip(found["maps"], maps, strict=True):
        assert np.abs(np.subtract(one, wanted)).max() <= 0.05 * max(map(max, maps))


def test_a_version_that_is_published_while_the_page_is_open_is_told(window: Window, hub: Hub) -> None:
    page = window().new_page()
    sign_in(page, "dora")
    page.goto("/analyse/")
    choose(page, saved(phantoms.draw(1, np.random.default_rng(9), 224)))
    expect(page.locator("#notes")).to_contain_text("Read by version 1 ", timeout=PATIENCE_MS)
    expect(page.locator("#newer")).to_be_hidden()
    hub.ask(front_desk.publish, 55)

    def written() -> bool:
        answer = page.request.get("/analyse/model")
        return answer.ok and answer.json()["version"] == 2

    eventually(written, "version 2 written for the page", hub.logs)

    def told() -> bool:
        # As when its reader comes back to the page.
        page.evaluate("window.dispatchEvent(new Event('focus'))")
        return page.locator("#newer").is_visible()

    eventually(told, "the new version told", hub.logs)
    expect(page.locator("#newer")).to_contain_text("Version 2 has been published since this page was opened.")
    expect(page.locator("#notes")).to_contain_text("Read by version 1 ")
    assert findings(page) == []
    page.get_by_role("button", name="Read this scan with it").click()
    expect(page.locator("#notes")).to_contain_text("Read by version 2 ", timeout=PATIENCE_MS)
    expect(page.locator("#newer")).to_be_hidden()


def test_a_browser_without_web_assembly_sends_the_scan_by_the_button(window: Window, hub: Hub) -> None:
    page = window().new_page()
    sign_in(page, "dora")

    def without(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body="delete globalThis.WebAssembly;" + answer.text())

    page.route("**/js/analyse/base.js", without)
    page.goto("/analyse/")
    choose(page, saved(phantoms.draw(2, np.random.default_rng(9), 224)))
    expect(page.locator("#scan-error [data-code=browser_old]")).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_role("button", name="Send this scan to the hub").click()
    expect(page.locator("#notes")).to_contain_text("on the hub", timeout=PATIENCE_MS)
