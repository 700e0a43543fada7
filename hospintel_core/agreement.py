"""How far a model of fewer bits is from the exact one: measured, because nobody can tell it from the numbers alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hospintel_core import browser, imaging, phantoms
from hospintel_core.architectures import Architecture
from hospintel_core.reading import Floats, Pixels, Reader, load_base
from hospintel_core.weights import Arrays

PER_CLASS, SEED = 8, 20


@dataclass(frozen=True)
class Agreement:
    """Of so many scans, how many get the same class, and the largest difference of any probability."""

    scans: int
    same: int
    largest: float


def synthetic_scans(architecture: Architecture) -> Iterator[Pixels]:
    """Phantoms of every class, always the same, as the model sees them."""
    for label in range(architecture.classes):
        for number in range(PER_CLASS):
            scan = phantoms.draw(label, np.random.default_rng((SEED, label, number)))
            yield imaging.to_input(scan, architecture)


def measure(
    architecture: Architecture,
    exact: tuple[list[Floats], Arrays],
    packed: tuple[bytes, bytes],
    bits: int,
    scans: Iterator[Pixels],
) -> Agreement:
    """Read scans with the exact model and with the packed one.

    Args:
        architecture: of both.
        exact: base and head as published.
        packed: base and head as ``browser`` packed them.
        bits: with which the base was packed.
        scans: pixels as ``imaging.to_input`` gives them.
    """
    one = Reader(architecture, load_base(architecture, exact[0]), exact[1])
    other = Reader(
        architecture, load_base(architecture, browser.unpack_base(packed[0], bits)), browser.unpack(packed[1])
    )
    found = [(one.read(pixels).probabilities, other.read(pixels).probabilities) for pixels in scans]
    return Agreement(
        scans=len(found),
        same=sum(bool(np.argmax(a) == np.argmax(b)) for a, b in found),
        largest=max((float(np.abs(np.subtract(a, b)).max()) for a, b in found), default=0.0),
    )
