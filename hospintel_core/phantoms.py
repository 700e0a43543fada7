"""Seeded synthetic scans for the demo and the tests: four classes that the eye tells apart, and no patient behind them.

A phantom is a head (scalp, skull, folded brain, ventricles) with, by class, a lesion: glioma an irregular, patchy blob
inside the brain; meningioma a round, bright one that sits on the skull; pituitary a small, bright one in the middle of
the base; notumor none. Pose, sizes, contrast, shading and noise vary from scan to scan.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from hospintel_core.architectures import CLASSES

Plane = npt.NDArray[np.float64]
SIZE = 224
_WIDTH, _HEIGHT = 0.70, 0.86  # Half axes of the head, where the picture's half side is 1.


class _Head:
    """Coordinates of one head: ``x`` to its left, ``y`` towards its base, and ``radius``, 1 at the scalp's outside."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng, self.size = rng, size
        axis = np.linspace(-1, 1, size)
        column, row = np.meshgrid(axis, axis)
        column, row = column - rng.uniform(-0.03, 0.03), row - rng.uniform(-0.03, 0.03)
        tilt, scale = rng.uniform(-0.09, 0.09), rng.uniform(0.96, 1.06)
        self.x = (np.cos(tilt) * column + np.sin(tilt) * row) / scale
        self.y = (np.cos(tilt) * row - np.sin(tilt) * column) / scale
        self.width, self.height = _WIDTH * rng.uniform(0.96, 1.04), _HEIGHT * rng.uniform(0.97, 1.03)
        self.radius = np.hypot(self.x / self.width, self.y / self.height)

    def clouds(self, cells: int) -> Plane:
        """Smooth random field, about -1 to 1, with ``cells`` hills along a side."""
        grid = Image.fromarray(self.rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
        return np.asarray(grid.resize((self.size, self.size), Image.Resampling.BICUBIC), dtype=np.float64)

    def blob(self, x: float, y: float, radius: float, *, wobble: float, edge: float) -> Plane:
        """Mask, 0 to 1, of a blob at (x, y); ``wobble`` makes its outline irregular, ``edge`` soft."""
        angle = np.arctan2(self.y - y, self.x - x)
        outline = np.ones_like(angle)
        for waves in range(2, 7):
            outline += (
                wobble * self.rng.uniform(0, 1.6) / waves * np.cos(waves * angle + self.rng.uniform(0, 2 * np.pi))
            )
        return _soft(radius * outline - np.hypot(self.x - x, self.y - y), edge)


def _soft(distance: Plane, edge: float) -> Plane:
    """0 below -edge, 1 above +edge, smooth between."""
    share = np.clip(distance / (2 * edge) + 0.5, 0, 1)
    return share * share * (3 - 2 * share)


def draw(label: int, rng: np.random.Generator, size: int = SIZE) -> Image.Image:
    """Draw a scan of class ``label`` (an index into CLASSES): a grey image ("L") of ``size`` x ``size`` pixels."""
    head = _Head(rng, size)
    picture = _anatomy(head)
    lesion = (_glioma, _meningioma, None, _pituitary)[label]
    if lesion is not None:
        picture = lesion(head, picture)
    shading = 1 + 0.15 * head.clouds(3)
    noise = rng.uniform(0.015, 0.05)
    # The magnitude of two noisy channels (Rician), as in a real scanner.
    picture = np.hypot(picture * shading + rng.normal(0, noise, picture.shape), rng.normal(0, noise, picture.shape))
    picture *= rng.uniform(0.88, 1.12)
    return Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))


def _anatomy(head: _Head) -> Plane:
    rng = head.rng
    skull = rng.uniform(0.82, 0.86)
    brain = _soft(skull - 0.03 - head.radius, 0.02)
    scalp = _soft(1 - head.radius, 0.02) * _soft(head.radius - rng.uniform(0.9, 0.93), 0.02)
    tissue = rng.uniform(0.36, 0.42) + 0.04 * head.clouds(9) + 0.03 * head.clouds(30)
    # Furrows run where a smooth field changes its sign, and only near the surface.
    furrows = np.exp(-((head.clouds(13) / 0.16) ** 2)) * _soft(head.radius - 0.55, 0.12)
    fissure = np.exp(-((head.x / 0.014) ** 2)) * _soft(head.radius - 0.4, 0.1)
    tissue -= 0.15 * np.maximum(furrows, fissure)
    half_length, gap = rng.uniform(0.2, 0.31), rng.uniform(0.05, 0.08)
    for side in (-1, 1):
        along = (head.y + 0.06) / half_length
        across = (head.x - side * (gap + 0.09 * along**2)) / rng.uniform(0.035, 0.065)
        ventricle = _soft(1 - np.hypot(across, along), 0.25)
        tissue += (rng.uniform(0.1, 0.16) - tissue) * ventricle
    return brain * tissue + scalp * rng.uniform(0.55, 0.8) + 0.02


def _glioma(head: _Head, picture: Plane) -> Plane:
    rng = head.rng
    x = rng.choice((-1, 1)) * rng.uniform(0.2, 0.34)
    y, radius = rng.uniform(-0.25, 0.2), rng.uniform(0.18, 0.28)
    swelling = head.blob(x, y, radius * 1.5, wobble=0.5, edge=0.08)
    mass = head.blob(x, y, radius, wobble=0.5, edge=0.04)
    core = head.blob(x, y, radius * rng.uniform(0.6, 0.8), wobble=0.5, edge=0.05)
    inside = _soft(0.8 - head.radius, 0.03)
    picture = picture - rng.uniform(0.1, 0.16) * swelling * inside
    rim = rng.uniform(0.12, 0.3) * (1 + 0.7 * head.clouds(16))
    return np.asarray(picture + inside * (rim * mass - rng.uniform(0.35, 0.5) * core))


def _meningioma(head: _Head, picture: Plane) -> Plane:
    rng = head.rng
    radius = rng.uniform(0.15, 0.25)
    # Anywhere on the vault, not at the base.
    angle = rng.uniform(-0.95 * np.pi, -0.05 * np.pi)
    reach = 0.84 - 0.75 * radius / head.width
    x, y = reach * head.width * np.cos(angle), reach * head.height * np.sin(angle)
    mass = head.blob(x, y, radius, wobble=0.08, edge=0.02) * _soft(0.83 - head.radius, 0.015)
    level = rng.uniform(0.58, 0.85) + 0.04 * head.clouds(20)
    return np.asarray(picture + (level - picture) * mass)


def _pituitary(head: _Head, picture: Plane) -> Plane:
    rng = head.rng
    radius = rng.uniform(0.09, 0.15)
    x, y = rng.uniform(-0.05, 0.05), rng.uniform(0.42, 0.55)
    mass = head.blob(x, y, radius, wobble=0.15, edge=0.02)
    level = rng.uniform(0.65, 0.95) + 0.04 * head.clouds(20)
    return np.asarray(picture + (level - picture) * mass)


def write_folder(folder: Path, per_class: int, seed: int, classes: Sequence[str] = CLASSES) -> None:
    """Write ``per_class`` phantoms as PNG into a folder for each of ``classes`` (names out of CLASSES).

    The same seed draws the same scans, and another seed other ones.
    """
    for name in classes:
        label = CLASSES.index(name)
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            image = draw(label, np.random.default_rng((seed, label, number)))
            image.save(folder / name / f"{name}-{number:04d}.png")
