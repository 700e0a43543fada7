"""The registry of models: which frozen base, which input, which trainable head, which classes.

A federation names an architecture; nothing about a model's shape ever comes from the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from hospintel_core.errors import ArchitectureError
from hospintel_core.weights import Arrays, Schema, TensorSpec

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")


@dataclass(frozen=True)
class Dense:
    """One fully connected layer of a head; ``dropout`` is the rate applied to its output while training."""

    name: str
    units: int
    activation: Literal["relu", "softmax"]
    dropout: float = 0.0

    @property
    def kernel(self) -> str:
        """Name of the (inputs, units) tensor."""
        return f"{self.name}/kernel"

    @property
    def bias(self) -> str:
        """Name of the (units,) tensor."""
        return f"{self.name}/bias"


@dataclass(frozen=True)
class Architecture:
    """A frozen base that turns a scan into ``feature_dim`` float32 values, and the dense layers trained on them."""

    name: str
    base: Literal["vgg16", "pixels"]
    input_size: int
    channels: int
    feature_dim: int
    layers: tuple[Dense, ...]
    class_names: tuple[str, ...] = CLASSES

    @property
    def classes(self) -> int:
        """How many classes the last layer tells apart."""
        return len(self.class_names)

    @property
    def layer_shapes(self) -> tuple[tuple[Dense, int], ...]:
        """Each layer with the width of its input, first layer first."""
        widths = (self.feature_dim, *(layer.units for layer in self.layers))
        return tuple(zip(self.layers, widths[:-1], strict=True))

    @cached_property
    def head_schema(self) -> Schema:
        """Names, dtypes and shapes of the tensors that travel."""
        specs = [
            spec
            for layer, inputs in self.layer_shapes
            for spec in (
                TensorSpec(layer.kernel, "F32", (inputs, layer.units)),
                TensorSpec(layer.bias, "F32", (layer.units,)),
            )
        ]
        return Schema(tuple(sorted(specs, key=lambda spec: spec.name)))


_REGISTRY = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            name="vgg16-head256",
            base="vgg16",
            input_size=128,
            channels=3,
            feature_dim=4 * 4 * 512,
            layers=(Dense("head_dense", 256, "relu", dropout=0.5), Dense("head_output", len(CLASSES), "softmax")),
        ),
        Architecture(
            name="pixels-head16",
            base="pixels",
            input_size=16,
            channels=1,
            feature_dim=16 * 16,
            layers=(Dense("head_dense", 16, "relu"), Dense("head_output", len(CLASSES), "softmax")),
        ),
    )
}


def names() -> tuple[str, ...]:
    """All registered architectures, sorted."""
    return tuple(sorted(_REGISTRY))


def get(name: str) -> Architecture:
    """Return the architecture called ``name``; raises ArchitectureError(unknown_architecture)."""
    try:
        return _REGISTRY[name]
    except KeyError:
        hint = f"Known: {', '.join(names())}."
        raise ArchitectureError("unknown_architecture", f"There is no architecture {name!r}.", hint) from None


def initial_head(architecture: Architecture, seed: int) -> Arrays:
    """Draw a fresh head: Glorot uniform kernels (Glorot and Bengio 2010, Keras' default), zero biases, float32.

    The same seed gives the same bytes on every machine and with every numpy version: only PCG64's raw output,
    which numpy promises to keep, and exact arithmetic are used.
    """
    bits = np.random.PCG64(seed)
    head: Arrays = {}
    for layer, inputs in architecture.layer_shapes:
        limit = np.float32(np.sqrt(6.0 / (inputs + layer.units)))
        head[layer.kernel] = _unit_interval(bits, (inputs, layer.units)) * (2 * limit) - limit
        head[layer.bias] = np.zeros(layer.units, dtype=np.float32)
    return {name: head[name] for name in sorted(head)}


def _unit_interval(bits: np.random.PCG64, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Float32 values k / 2**24 in [0, 1)."""
    raw = bits.random_raw(shape[0] * shape[1])
    return ((raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)).reshape(shape)


def class_word(name: str) -> str:
    """Return what people call a class."""
    return _CLASS_WORDS.get(name, name.capitalize())


_CLASS_WORDS: Mapping[str, str] = {"notumor": "No tumor"}
