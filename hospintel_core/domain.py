"""Whether a scan looks like those of the validation set: a distance of the base's features that a page can compute.

The Mahalanobis distance to the nearest class (Lee et al. 2018) of the features' mean over the image. The classes share
one covariance: the ``AXES`` directions in which scans of one class differ most, and one variance for all others
(Tipping and Bishop 1999), which shrinks what few scans in 512 dimensions cannot tell.
"""

import base64
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hospintel_core.architectures import Architecture

Doubles = npt.NDArray[np.float64]
# Each direction says more of who is in the set: with 16, a set of 25 scans a class tells most of its own from others.
AXES: Final = 4
FOLDS: Final = 10
# From fewer scans of a class, what the check is made of tells too many of them from others (docs/analyse.md).
LEAST_OF_CLASS: Final = 50
# Of scans like those of the set, so many are not warned about.
SHARE: Final = 0.98
_WIDTH: Final = 4


def summary(architecture: Architecture, features: npt.NDArray[np.float32]) -> Doubles:
    """Return what is compared of features (n, d): VGG16's mean over the image at length 1 (n, 512), or grey pixels.

    The length says how much there is to see in an image, and hides what is seen (Sun et al. 2022).
    """
    if architecture.base == "pixels":
        return features.astype(np.float64)
    means = features.reshape(len(features), -1, _channels(architecture)).mean(axis=1, dtype=np.float64)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.where(lengths > 0, lengths, 1))


def _channels(architecture: Architecture) -> int:
    """Return the depth of the base's last map, whose rows and columns are folded into the features."""
    # Five pools of 2 x 2.
    side = architecture.input_size // 32
    return architecture.feature_dim // (side * side)


@dataclass(frozen=True)
class Domain:
    """What a page needs to compare a scan.

    ``means`` (classes, s) float32, ``axes`` (k, s) float32 of length 1, ``variances`` (k,) along them and ``rest`` in
    any other direction. A scan whose distance is above ``threshold`` does not look like the ``n`` scans of the set.
    """

    means: npt.NDArray[np.float32]
    axes: npt.NDArray[np.float32]
    variances: tuple[float, ...]
    rest: float
    threshold: float
    n: int

    def distances(self, summaries: Doubles) -> Doubles:
        """Return the distance (n,) of each summary (n, s) to the nearest class; about 1 for scans of the set."""
        nearest = np.full(len(summaries), np.inf)
        weights = 1 / np.array(self.variances) - 1 / self.rest
        for mean in self.means.astype(np.float64):
            apart = summaries - mean
            along = apart @ self.axes.T.astype(np.float64)
            squares = (apart * apart).sum(axis=1) / self.rest + (along * along) @ weights
            nearest = np.minimum(nearest, squares)
        return np.asarray(np.sqrt(np.maximum(nearest, 0) / summaries.shape[1]))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types: arrays as base64 of little-endian float32, row by row."""
        return {
            "means": _packed(self.means),
            "axes": _packed(self.axes),
            "variances": list(self.variances),
            "rest": self.rest,
            "threshold": self.threshold,
            "n": self.n,
        }

    @classmethod
    def from_dict(cls, found: dict[str, Any], classes: int) -> "Domain":
        """Return what ``to_dict`` gave for so many classes."""
        means, axes = _unpacked(found["means"], classes), _unpacked(found["axes"], len(found["variances"]))
        return cls(means, axes, tuple(found["variances"]), found["rest"], found["threshold"], found["n"])


def fit(summaries: Doubles, labels: npt.NDArray[np.integer], classes: int) -> Domain:
    """Learn what scans of a set look like, from summaries (n, s) and labels (n,), some of each class.

    The threshold is a quantile of the distances that each tenth of the scans has to a domain of the other nine, so that
    no scan is measured by what it taught. The same input gives the same domain.

    What is told to others needs ``LEAST_OF_CLASS`` scans of each class, which is for the caller to see to.

    Raises ValueError: a class has fewer scans than ``FOLDS``.
    """
    if min(np.bincount(labels, minlength=classes)) < FOLDS:
        raise ValueError(f"Each class needs at least {FOLDS} scans.")
    folds = np.empty(len(labels), int)
    for label in range(classes):
        rows = np.flatnonzero(labels == label)
        folds[rows] = np.arange(len(rows)) % FOLDS
    apart = np.concatenate(
        [
            _fit(summaries[folds != fold], labels[folds != fold], classes).distances(summaries[folds == fold])
            for fold in range(FOLDS)
        ]
    )
    place = min(len(apart), math.ceil((len(apart) + 1) * SHARE))
    return _fit(summaries, labels, classes, threshold=float(np.sort(apart)[place - 1]))


def _fit(summaries: Doubles, labels: npt.NDArray[np.integer], classes: int, threshold: float = math.inf) -> Domain:
    means = np.stack([summaries[labels == label].mean(axis=0) for label in range(classes)])
    apart = summaries - means[labels]
    n, size = apart.shape
    kept = min(AXES, size - 1, n - classes - 1)
    _, lengths, axes = np.linalg.svd(apart, full_matrices=False)
    variances = lengths**2 / (n - classes)
    rest = float(variances[kept:].sum() / (size - kept))
    # Scans that are all alike: any other is far away, and nothing is divided by nothing.
    rest = max(rest, float(np.finfo(np.float32).tiny), 1e-6 * float(variances[0]))
    along = tuple(float(max(value, rest)) for value in variances[:kept])
    return Domain(means.astype(np.float32), axes[:kept].astype(np.float32), along, rest, threshold, n)


def _packed(array: npt.NDArray[np.float32]) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _unpacked(text: str, rows: int) -> npt.NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(rows, -1).astype(np.float32)
