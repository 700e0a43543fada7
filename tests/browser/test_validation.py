"""An administrator brings a validation set and puts it to use, with the real worker; then it goes again."""

import front_desk
import numpy as np
import pytest
from harness import Hub
from PIL import Image
from playwright.sync_api import Page, expect
from portal import Window, sign_in
from test_analyse import choose, saved, shown
from test_every_page import findings
from test_workbench import WORKER_MS, zipped

from hospintel_core import architectures, phantoms
from hospintel_core.architectures import CLASSES
from hospintel_core.domain import FOLDS, LEAST_OF_CLASS, fit, summary

# What the page's worker says of a scan, asked for as the page does.
ASK = """(bytes) => new Promise((resolve, reject) => {
  const place = document.getElementById("analyse");
  const worker = new Worker(place.dataset.worker, { type: "module" });
  const url = new URL(place.dataset.model, window.location).href;
  worker.onmessage = ({ data }) => {
    if (data.kind === "error") reject(new Error(data.detail));
    if (data.kind === "result") resolve({ probabilities: data.probabilities, domain: data.domain });
  };
  const buffer = Uint8Array.from(bytes).buffer;
  worker.postMessage({ id: 1, bytes: buffer, url }, [buffer]);
})"""


def scans_are_compared(page: Page, hub: Hub) -> None:
    """The page reads with the set's temperature, and tells a phantom from what is none, as our Python does."""
    phantom = saved(phantoms.draw(1, np.random.default_rng(77), 64))
    noise = saved(Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)))
    page.goto("/analyse/")
    for data, is_unlike in ((phantom, False), (noise, True)):
        probabilities, distance, unlike = hub.ask(front_desk.read_calibrated, data)
        assert unlike is is_unlike
        told = page.evaluate(ASK, list(data))
        assert told["probabilities"] == pytest.approx(probabilities, abs=0.001)
        assert told["domain"] == {"distance": pytest.approx(distance, rel=1e-4), "unlike": is_unlike}
    choose(page, noise)
    expect(page.locator("#result")).to_be_visible()
    assert shown(page) == pytest.approx([100 * share for share in probabilities], abs=0.1)
    expect(page.locator("#notes")).to_contain_text("does not look like")
    expect(page.locator("#notes")).not_to_contain_text("Not calibrated")
    assert findings(page) == []


def test_an_administrator_brings_a_validation_set_and_deletes_it(window: Window, hub: Hub) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    page.goto("/settings/")
    page.click("main >> text=Validation set")
    expect(page.locator("h1")).to_contain_text("There is no validation set")
    assert findings(page) == []
    page.set_input_files("#files", {"name": "s.zip", "mimeType": "application/zip", "buffer": zipped(LEAST_OF_CLASS)})
    page.click("#send")
    expect(page.locator("#added")).to_contain_text(f"{LEAST_OF_CLASS * len(CLASSES)} scans taken.")
    assert findings(page) == []
    page.click("#use")
    expect(page.locator("#ready")).to_be_visible(timeout=WORKER_MS)
    expect(page.locator("h1")).to_contain_text(f"measured with {LEAST_OF_CLASS * len(CLASSES)} scans")
    expect(page.locator("#measured-head")).to_be_visible(timeout=WORKER_MS)
    assert findings(page) == []
    scans_are_compared(page, hub)
    page.goto("/validation/")
    page.click("#delete")
    page.click("dialog[open] [value=yes]")
    expect(page.locator("h1")).to_contain_text("There is no validation set")
    expect(page.locator("#ended")).to_contain_text("Deleted")
    assert findings(page) == []


COMPARE = """async ([domain, features, depth]) => {
  const { compare } = await import("/static/js/analyse/domain.js");
  return compare(domain, Float32Array.from(features), depth);
}"""


def test_the_page_compares_the_features_of_a_large_base_as_python_does(window: Window) -> None:
    vgg, rng = architectures.get("vgg16-head256"), np.random.default_rng(31)
    labels = np.repeat(np.arange(len(CLASSES)), FOLDS)
    features = np.maximum(rng.normal(0, 1, (len(labels), vgg.feature_dim)), 0).astype(np.float32)
    features += labels[:, None].astype(np.float32) / 4
    known = fit(summary(vgg, features), labels, len(CLASSES))
    dark = np.zeros(vgg.feature_dim, np.float32)
    strange = np.abs(rng.normal(0, 1, vgg.feature_dim)).astype(np.float32) ** 4
    page = window().new_page()
    page.goto("/accounts/login/")
    for one, is_unlike in ((features[0], False), (strange, True), (dark, True)):
        distance = float(known.distances(summary(vgg, one[None]))[0])
        told = page.evaluate(COMPARE, [known.to_dict(), one.tolist(), 512])
        assert told == {"distance": pytest.approx(distance, rel=1e-6), "unlike": is_unlike}
    assert page.evaluate(COMPARE, [None, dark.tolist(), 512]) is None
