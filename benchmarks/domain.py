"""The domain check and the calibration on real scans: who is warned about what, and how honest probabilities get.

Needs HOSPINTEL_BENCH_SCANS, a folder with train.zip and test.zip (class folders of scans).
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from benchmarks.analyse import ARCHITECTURE, EPOCHS, TRAIN_PER_CLASS, VARIABLE, chosen_scans
from hospintel_core import architectures, backbone, domain, imaging, training
from hospintel_core.calibration import calibrate, expected_error, softmax
from hospintel_core.plan import Plan

SIZES = (10, 25, 50)
LARGEST, OTHERS = 50, 32
CLASSES = len(architectures.CLASSES)
SIDE, BATCH = 224, 64
PICTURES = Path(__file__).resolve().parents[1] / "docs" / "images"


def run() -> None:
    """Compute the features once, and print two tables. It says so where the scans are missing."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        print(f"domain: left out, {VARIABLE} is not set")
        return
    base = backbone.load_backbone(ARCHITECTURE)
    test, train = (
        chosen_scans(Path(folder) / "test.zip", 10**6),
        chosen_scans(Path(folder) / "train.zip", TRAIN_PER_CLASS),
    )
    scans, labels = (
        _features(base, [imaging.read_scan(data) for _, data in test]),
        np.array([label for label, _ in test]),
    )
    place = np.concatenate([np.arange(count) for count in np.bincount(labels)])
    _domain(base, test, scans, labels, place)
    _calibration(
        (_features(base, [imaging.read_scan(data) for _, data in train]), np.array([label for label, _ in train])),
        (scans, labels),
        place < LARGEST,
    )


def _features(base: backbone.Backbone, images: Sequence[Image.Image]) -> Any:
    pixels = np.stack([imaging.to_input(image, ARCHITECTURE) for image in images])
    return np.concatenate([base.features(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)])


def _domain(base: backbone.Backbone, test: Sequence[tuple[int, bytes]], scans: Any, labels: Any, place: Any) -> None:
    strange = {name: _features(base, images) for name, images in _strange(test).items()}
    rest = place >= LARGEST
    print(
        "| warned about, of | "
        + " | ".join(f"{size} a class" for size in SIZES)
        + " |\n|"
        + " --- |" * (len(SIZES) + 1)
    )
    known = [
        domain.fit(domain.summary(ARCHITECTURE, scans[place < size]), labels[place < size], CLASSES) for size in SIZES
    ]
    for name, found in {"real scans that are not in the set": scans[rest], **strange}.items():
        distances = [one.distances(domain.summary(ARCHITECTURE, found)) > one.threshold for one in known]
        print(f"| {len(found)} {name} | " + " | ".join(f"{far.sum()}" for far in distances) + " |")
    told = [_nearer(one, scans[place < size], scans[rest]) for one, size in zip(known, SIZES, strict=True)]
    print("| members told from others (AUC) | " + " | ".join(f"{share:.2f}" for share in told) + " |")


def _nearer(known: domain.Domain, members: Any, others: Any) -> float:
    """Return how often a scan of the set is nearer than one that is not: 1/2 would tell nobody who is in it."""
    inside, outside = (known.distances(domain.summary(ARCHITECTURE, found)) for found in (members, others))
    return float((inside[:, None] < outside).mean())


def _calibration(train: tuple[Any, Any], test: tuple[Any, Any], in_set: Any) -> None:
    start = architectures.initial_head(ARCHITECTURE, 0)
    head = training.train_head(ARCHITECTURE, start, *train, Plan(epochs=EPOCHS), seed=0)[0]
    logits, labels = training.logits(ARCHITECTURE, head, test[0]), test[1]
    found = calibrate(logits[in_set], labels[in_set])
    print(
        f"\ntemperature {found.temperature:.2f} on {found.n} scans: "
        f"ECE {found.ece_before:.3f}, after {found.ece_after:.3f}"
    )
    errors = [expected_error(softmax(logits[~in_set], divisor), labels[~in_set]) for divisor in (1, found.temperature)]
    print(f"on the {(~in_set).sum()} others: ECE {errors[0]:.3f}, after {errors[1]:.3f}")


def _strange(test: Sequence[tuple[int, bytes]]) -> dict[str, list[Image.Image]]:
    """Return images that are no MRI slices, and some that hardly are."""
    scans = [imaging.read_scan(data).convert("RGB") for _, data in test[:: len(test) // OTHERS]][:OTHERS]
    pages = [Image.open(path).convert("RGB") for path in sorted(PICTURES.glob("*-wide.png"))[:OTHERS]]
    makers: dict[str, Callable[[np.random.Generator], Image.Image]] = {
        "images of noise": _noise,
        "coloured drawings like photographs": _drawing,
        "pages of text": _text,
    }
    made = {name: [make(np.random.default_rng(seed)) for seed in range(OTHERS)] for name, make in makers.items()}
    return made | {
        "pictures of the portal": [ImageOps.fit(page, (SIDE, SIDE)) for page in pages],
        "blank images": [Image.new("RGB", (SIDE, SIDE), (grey,) * 3) for grey in (0, 64, 128, 255)],
        "real scans, inverted": [ImageOps.invert(scan) for scan in scans],
        "real scans, turned by 90 degrees": [scan.rotate(90, expand=True) for scan in scans],
    }


def _noise(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))


def _drawing(rng: np.random.Generator) -> Image.Image:
    """A sky from one colour to another, with things in it, slightly out of focus."""
    top, bottom = rng.integers(0, 256, (2, 3))
    share = np.linspace(0, 1, SIDE)[:, None, None]
    sky = (top * (1 - share) + bottom * share) * np.ones((1, SIDE, 1))
    image = Image.fromarray(sky.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(5, 25))):
        x, y, width, height = (int(value) for value in rng.integers(8, SIDE, 4))
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        shape = draw.ellipse if rng.random() < 1 / 2 else draw.rectangle
        shape((x, y, x + width // 2, y + height // 2), fill=colour)
    return image.filter(ImageFilter.GaussianBlur(float(2 * rng.random())))


def _text(rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    for line in range(18):
        letters = "".join(chr(int(code)) for code in rng.integers(ord("a"), ord("z") + 1, 36))
        draw.text((4, 4 + 12 * line), letters, fill="black")
    return image
