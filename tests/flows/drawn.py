"""Scans that nobody was scanned for."""

from pathlib import Path

import numpy as np

from hospintel_core import phantoms
from hospintel_core.architectures import CLASSES

# pixels-head16 sees 16 x 16 pixels: drawing more takes time only.
SIZE = 64


def draw_scans(folder: Path, per_class: int, seed: int) -> None:
    """Write small phantoms in class folders."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            phantoms.draw(label, np.random.default_rng((seed, label, number)), SIZE).save(
                folder / name / f"{number}.png"
            )
