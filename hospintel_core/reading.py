"""One scan read by a model: probabilities, and a coarse map of what spoke for each class.

The page computes the same in JavaScript (static/js/analyse/head.js); the tests hold both to TensorFlow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hospintel_core import onnx_base
from hospintel_core.architectures import Architecture
from hospintel_core.backbone import PIXELS_SCALE
from hospintel_core.weights import Arrays

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
# From one scan's pixels to the base's last map (side, side, depth).
Base = Callable[[Pixels], Floats]


@dataclass(frozen=True)
class Reading:
    """What was read: probabilities in the order of the classes; for each class a map, row by row, ``side`` squared.

    ``features`` (d,) float32 is what the base made of the scan.
    """

    probabilities: tuple[float, ...]
    maps: tuple[tuple[float, ...], ...]
    side: int
    features: Floats


def load_base(architecture: Architecture, base: Sequence[Floats]) -> Base:
    """Make a base ready to run, which takes a second for VGG16: its 26 arrays in Keras' order, none for ``pixels``."""
    return _grey_map if architecture.base == "pixels" else onnx_base.load(base)


class Reader:
    """A base and a head, ready to read scans one at a time."""

    def __init__(self, architecture: Architecture, base: Base, head: Arrays) -> None:
        self._architecture, self._map, self._head = architecture, base, head
        self._window = 1 if architecture.base == "pixels" else 2

    def read(self, pixels: Pixels, temperature: float = 1.0) -> Reading:
        """Read ``pixels`` (size, size, channels) uint8, as ``imaging.to_input`` gives them."""
        last = self._map(pixels)
        features = _pooled(last, self._window).ravel()
        sums = self._forward(features)
        powers = np.exp((sums[-1] - sums[-1].max()) / temperature)
        maps = (grad_cam(last, self._slopes(sums, label)) for label in range(len(sums[-1])))
        return Reading(
            probabilities=tuple((powers / powers.sum()).tolist()),
            maps=tuple(tuple(found.ravel().tolist()) for found in maps),
            side=last.shape[0],
            features=features,
        )

    def _forward(self, features: Floats) -> list[npt.NDArray[np.float64]]:
        """Each layer's sums, before its activation."""
        sums: list[npt.NDArray[np.float64]] = []
        values = features.astype(np.float64)
        for layer in self._architecture.layers:
            sums.append(values @ self._head[layer.kernel] + self._head[layer.bias])
            values = np.maximum(sums[-1], 0)
        return sums

    def _slopes(self, sums: list[npt.NDArray[np.float64]], label: int) -> npt.NDArray[np.float64]:
        """Gradient (feature_dim,) of one class' logit with respect to the features, in closed form."""
        slope = np.zeros_like(sums[-1])
        slope[label] = 1
        for layer, below in zip(self._architecture.layers[::-1], [*sums[-2::-1], None], strict=True):
            slope = self._head[layer.kernel] @ slope
            if below is not None:
                slope[below <= 0] = 0
        return slope


def grad_cam(last: Floats, slopes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Grad-CAM (Selvaraju et al. 2017): ``last`` (side, side, depth), each channel weighted by its mean gradient.

    The pool hands each gradient to the largest field of its window, so the sum over the map is the sum over the pool's
    outputs: ``slopes`` may have either shape. What speaks against the class is left out. Returns (side, side).
    """
    weights = slopes.reshape(-1, last.shape[2]).sum(axis=0) / (last.shape[0] * last.shape[1])
    return np.asarray(np.maximum(last @ weights, 0))


def _grey_map(pixels: Pixels) -> Floats:
    return pixels.astype(np.float32) * np.float32(PIXELS_SCALE) - np.float32(1)


def _pooled(last: Floats, window: int) -> Floats:
    side, depth = last.shape[0] // window, last.shape[2]
    return np.asarray(last.reshape(side, window, side, window, depth).max(axis=(1, 3)))
