"""Probabilities that mean what they say: one temperature for a model's logits (Guo et al. 2017, section 4.2)."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]
# A model that is never wrong on a set would ask for 0, one that guesses for infinity.
COLDEST: Final = 0.25
HOTTEST: Final = 100.0
BINS: Final = 15
_STEPS: Final = 60
_DIGITS: Final = 4


@dataclass(frozen=True)
class Calibration:
    """The temperature, the scans that it was found on, and how far confidence was from accuracy before and after."""

    temperature: float
    n: int
    ece_before: float
    ece_after: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def calibrate(logits: Floats, labels: Labels) -> Calibration:
    """Find the temperature for logits (n, classes) whose classes are ``labels`` (n,), and say what it mends.

    Raises ValueError: no scan.
    """
    found = temperature(logits, labels)
    errors = [expected_error(softmax(logits, divisor), labels) for divisor in (1.0, found)]
    return Calibration(found, len(labels), *(round(error, _DIGITS) for error in errors))


def temperature(logits: Floats, labels: Labels) -> float:
    """Return the T, ``COLDEST`` to ``HOTTEST``, whose softmax(logits / T) has the least mean negative log likelihood.

    That likelihood is convex in 1 / T, so its slope is halved in on: the same input gives the same number, to four
    digits, on every machine. No T changes which class is the most probable.

    Raises ValueError: no scan.
    """
    if not len(labels):
        raise ValueError("There is no scan to calibrate with.")
    values = logits.astype(np.float64)
    low, high = 1 / HOTTEST, 1 / COLDEST
    if _slope(values, labels, low) >= 0:
        return HOTTEST
    if _slope(values, labels, high) <= 0:
        return COLDEST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(values, labels, middle) < 0 else (low, middle)
    return round(2 / (low + high), _DIGITS)


def _slope(logits: Floats, labels: Labels, inverse: float) -> float:
    """Return the derivative of the mean negative log likelihood by 1 / T."""
    expected = (softmax(logits, 1 / inverse) * logits).sum(axis=1)
    return float((expected - logits[np.arange(len(labels)), labels]).mean())


def softmax(logits: Floats, divisor: float = 1.0) -> npt.NDArray[np.float64]:
    """Return probabilities (n, classes) of logits (n, classes) at a temperature."""
    powers = logits.astype(np.float64) / divisor
    powers = np.exp(powers - powers.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def expected_error(probabilities: Floats, labels: Labels) -> float:
    """Return the expected calibration error: how far confidence is from accuracy, weighted over ``BINS`` equal bins.

    ``probabilities`` (n, classes); confidence is that of the most probable class.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs((right[places == place] - confidence[places == place]).sum()) for place in np.unique(places)]
    return float(sum(gaps) / len(labels))
