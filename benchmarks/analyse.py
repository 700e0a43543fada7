"""The page that analyses a scan against Keras, on real scans: pixels, probabilities, map, time, download.

Needs Chromium on PATH and HOSPINTEL_BENCH_SCANS, a folder with train.zip and test.zip (class folders of scans).
"""

import base64
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from playwright.sync_api import Page, Request, sync_playwright

from apps.accounts.models import Role, User
from apps.accounts.pipeline import add_member
from apps.federation.models import Federation
from apps.federation.pipeline import enrol, keys, storage
from apps.federation.pipeline.bootstrap import DEFAULT_SLUG
from apps.federation.pipeline.publish import first_version
from hospintel_core import architectures, backbone, browser, dataset, h5, imaging, training, weights
from hospintel_core.plan import Plan
from hospintel_site.demo.processes import Processes
from hospintel_site.demo.signals import Signals
from hospintel_site.ports import any_free

VARIABLE = "HOSPINTEL_BENCH_SCANS"
ARCHITECTURE = architectures.get("vgg16-head256")
TRAIN_PER_CLASS, TEST_PER_CLASS, EPOCHS = 100, 25, 10
SENT = 20
READY = 200
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
PASSWORD = "a long enough password"
WAIT_MS = 120_000
# One worker of the page reads all scans.
START = """() => {
  const place = document.getElementById("analyse");
  const worker = new Worker(place.dataset.worker, { type: "module" });
  const url = new URL(place.dataset.model, window.location).href;
  window.readScan = (text) => new Promise((resolve, reject) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const began = performance.now();
    worker.onmessage = ({ data }) => {
      if (data.kind === "stage") return;
      if (data.kind === "error") {
        reject(new Error(data.detail));
        return;
      }
      const { probabilities, maps, pixels, milliseconds } = data;
      const all = performance.now() - began;
      resolve({ probabilities, maps: maps.map((m) => Array.from(m)), pixels: Array.from(pixels), milliseconds, all });
    };
    worker.postMessage({ id: 1, bytes: bytes.buffer, url }, [bytes.buffer]);
  });
}"""

# The same by the hub, as the page's button has it done.
SEND = """async (text) => {
  const { readOnHub } = await import("/static/js/analyse/hub.js");
  const place = document.getElementById("analyse");
  const token = document.querySelector("#analyse [name=csrfmiddlewaretoken]").value;
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const began = performance.now();
  const { probabilities, milliseconds } = await readOnHub(bytes, { ...place.dataset, token });
  return { probabilities, milliseconds, all: performance.now() - began };
}"""


@dataclass(frozen=True)
class Reference:
    """What Keras finds in the scans: pixels (n, 128, 128, 3), probabilities (n, 4), and the maps (n, 4, 64)."""

    scans: Sequence[bytes]
    pixels: Any
    probabilities: Any
    maps: Any


def run(folder: Path) -> None:
    """Compare, and print one table. Nothing is measured where scans or Chromium are missing: it says which."""
    scans, chromium = os.environ.get(VARIABLE), shutil.which("chromium") or shutil.which("google-chrome")
    if not scans or not chromium:
        print(f"analyse: left out, {VARIABLE} is not set" if not scans else "analyse: left out, no Chromium on PATH")
        return
    head = _trained_head(Path(scans) / "train.zip")
    reference = _keras(folder, head, chosen_scans(Path(scans) / "test.zip", TEST_PER_CLASS))
    _publish(head)
    rows = []
    for bits in browser.BITS:
        with _hub(folder, bits) as address:
            found, sent, downloaded = _in_the_page(chromium, address, reference.scans)
            rows.append(_compare(bits, reference, found, downloaded) | _by_hub(found, sent))
    print("| |" + " |".join(row["base"] for row in rows) + " |\n|" + " --- |" * (len(rows) + 1))
    for name in list(rows[0])[1:]:
        print(f"| {name} | " + " | ".join(row[name] for row in rows) + " |")


def chosen_scans(path: Path, per_class: int) -> list[tuple[int, bytes]]:
    """Return the first scans of each class by the digest of their content: a choice that nobody made."""
    found = dataset.open_dataset(path, architectures.CLASSES)
    ordered = sorted((imaging.content_digest(data), scan.label, data) for scan in found.scans for data in [scan.read()])
    return [
        (label, data)
        for wanted in range(len(architectures.CLASSES))
        for _, label, data in [item for item in ordered if item[1] == wanted][:per_class]
    ]


def _pixels(scans: Sequence[bytes]) -> Any:
    return np.stack([imaging.to_input(imaging.read_scan(data), ARCHITECTURE) for data in scans])


def _trained_head(path: Path) -> weights.Arrays:
    chosen = chosen_scans(path, TRAIN_PER_CLASS)
    features = backbone.load_backbone(ARCHITECTURE).features(_pixels([data for _, data in chosen]))
    labels = np.array([label for label, _ in chosen])
    start = architectures.initial_head(ARCHITECTURE, 0)
    return training.train_head(ARCHITECTURE, start, features, labels, Plan(epochs=EPOCHS), seed=0)[0]


def _keras(folder: Path, head: weights.Arrays, chosen: Sequence[tuple[int, bytes]]) -> Reference:
    """Read the scans with the published file in plain Keras; the maps by automatic differentiation."""
    path = folder / "global_model.h5"
    h5.write_model(path, ARCHITECTURE, backbone.find_base_weights()[1], head)
    with backbone.quiet_tensorflow():
        import keras  # noqa: PLC0415
        import tensorflow as tf  # noqa: PLC0415

        model = keras.models.load_model(path)
    scans = [data for _, data in chosen]
    pixels = _pixels(scans)
    inputs = keras.applications.vgg16.preprocess_input(pixels.astype(np.float32))
    names = [layer.name for layer in model.layers]
    cut = names.index("block5_conv3") + 1
    below = keras.Sequential([keras.Input((128, 128, 3)), *model.layers[:cut]])
    model.layers[-1].activation = keras.activations.linear
    maps = []
    for one in inputs:
        last = tf.convert_to_tensor(below(one[None]))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(last)
            x = last
            for layer in model.layers[cut:]:
                x = layer(x, training=False)
            logits = [x[0, label] for label in range(len(architectures.CLASSES))]
        slopes = [tf.reduce_mean(tape.gradient(logit, last), axis=(1, 2)) for logit in logits]
        maps.append([tf.nn.relu(tf.reduce_sum(last * slope, axis=-1)).numpy().ravel() for slope in slopes])
    model.layers[-1].activation = keras.activations.softmax
    probabilities = np.concatenate([model(part, training=False).numpy() for part in np.array_split(inputs, 10)])
    return Reference(scans, pixels, probabilities, np.array(maps))


def _publish(head: weights.Arrays) -> None:
    keys.ensure_keys()
    federation = Federation.objects.create(slug=DEFAULT_SLUG, uuid=uuid.uuid4(), name="Brain MRI")
    first_version(federation, storage.store_head(weights.dumps(head)), actor="system:bench")
    dora = User.objects.create_user("dora", password=PASSWORD, role=Role.DOCTOR)
    add_member(dora, enrol.add_hospital(federation, "North Clinic", actor="system:bench"), actor="system:bench")


@contextmanager
def _hub(folder: Path, bits: int) -> Iterator[str]:
    variables = {**os.environ, "HOSPINTEL_ANALYSE_BITS": str(bits)}
    processes = Processes(folder, any_free("127.0.0.1"), variables, Signals())
    try:
        processes.start_hub()
        yield processes.address
    finally:
        processes.stop()


Found = list[dict[str, Any]]


def _in_the_page(chromium: str, address: str, scans: Sequence[bytes]) -> tuple[Found, Found, int]:
    """Read the scans in the page, and some on the hub; returns what both found and the bytes that were downloaded."""
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = program.new_page(base_url=address)
        page.set_default_timeout(WAIT_MS)
        _sign_in(page)
        bodies: list[int] = []

        def count(request: Request) -> None:
            bodies.append(request.sizes()["responseBodySize"])

        page.on("requestfinished", count)
        # Written right after publication; a worker of a hub that has just started may still be at it.
        while page.request.get("/analyse/model").status != READY:
            page.wait_for_timeout(500)
        page.goto("/analyse/")
        page.evaluate(START)
        texts = [base64.b64encode(data).decode() for data in scans]
        found = [page.evaluate("text => readScan(text)", text) for text in texts]
        page.remove_listener("requestfinished", count)
        downloaded = sum(bodies)
        sent = [page.evaluate(SEND, text) for text in texts[:: len(texts) // SENT]]
        program.close()
    return found, sent, downloaded


def _by_hub(found: Found, sent: Found) -> dict[str, str]:
    here, there = ([one["probabilities"] for one in all_] for all_ in (found[:: len(found) // SENT], sent))
    return {
        "hub against page": f"{np.abs(np.subtract(here, there)).max():.5f}",
        "hub, first scan": f"{sent[0]['milliseconds'] / 1000:.2f} s",
        "hub, later scans, median": f"{median(one['milliseconds'] for one in sent[4:]) / 1000:.2f} s",
        "and back in the page": f"{median(one['all'] for one in sent[4:]) / 1000:.2f} s",
    }


def _sign_in(page: Page) -> None:
    page.goto("/accounts/login/")
    page.fill("input[name=username]", "dora")
    page.fill("input[name=password]", PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_selector("[data-living]")


def _compare(bits: int, reference: Reference, found: Sequence[dict[str, Any]], downloaded: int) -> dict[str, str]:
    pixels = np.array([one["pixels"] for one in found]).reshape(reference.pixels.shape)
    probabilities = np.array([one["probabilities"] for one in found])
    maps = np.array([one["maps"] for one in found])
    apart = np.abs(pixels - reference.pixels.astype(int))
    top = reference.probabilities.argmax(axis=1)
    same = (probabilities.argmax(axis=1) == top).sum()
    # The map that is shown is that of the top class.
    each = np.arange(len(top))
    shown, wanted = maps[each, top], reference.maps[each, top]
    worst_map = (np.abs(shown - wanted).max(axis=1) / wanted.max(axis=1)).max()
    differences = np.abs(probabilities - reference.probabilities)
    times = sorted(one["milliseconds"] for one in found[1:])
    return {
        "base": f"{bits} bits",
        "scans": str(len(found)),
        "download": f"{downloaded / 1e6:.1f} MB",
        "pixels, largest difference": f"{apart.max()} of 255",
        "pixels that differ": f"{100 * (apart > 0).mean():.3f} %",
        "probability, largest difference": f"{differences.max():.4f}",
        "on average": f"{differences.mean():.5f}",
        "same top class": f"{same} of {len(found)}",
        "map of the top class, largest difference": f"{100 * worst_map:.2f} % of its largest field",
        "first scan": f"{found[0]['all'] / 1000:.2f} s",
        "later scans, median": f"{median(times) / 1000:.2f} s",
        "later scans, slowest": f"{times[-1] / 1000:.2f} s",
    }
