"""A model in the form that the page for a single scan fetches: smaller numbers, one safetensors file for base or head.

The page reads the header itself and knows three types: F16, F32 and I8. A kernel of 8-bit numbers has a scale for each
output channel: value = number * scale.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from hospintel_core.backbone import VGG16_CONVOLUTIONS
from hospintel_core.weights import Arrays

Floats = npt.NDArray[np.float32]
BITS = FINE, COARSE = 16, 8
_LARGEST_INT8 = 127


def pack_base(base: Sequence[Floats], bits: int) -> bytes:
    """Pack VGG16's 26 arrays (Keras' order); none of them (``pixels``) give an empty file. Equal input, equal bytes.

    Args:
        base: kernels (3, 3, inputs, outputs) and biases (outputs,) in turn.
        bits: 16 stores kernels as float16, 8 as int8 with a float32 scale for each output; biases are float32.

    Raises:
        ValueError: another number of bits.
    """
    if bits not in BITS:
        raise ValueError(bits)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for (name, _, _), kernel, bias in zip(VGG16_CONVOLUTIONS, base[::2], base[1::2], strict=False):
        arrays |= _packed(name, kernel, bits)
        arrays[f"{name}/bias"] = np.ascontiguousarray(bias, np.float32)
    return _saved(arrays)


def pack_head(head: Arrays) -> bytes:
    """Pack a head: float16 kernels, float32 biases. Its influence on the probabilities is under 0.001."""
    return _saved(
        {
            name: np.ascontiguousarray(array, np.float16 if name.endswith("/kernel") else np.float32)
            for name, array in head.items()
        }
    )


def unpack(data: bytes) -> Arrays:
    """Return the float32 arrays that the page computes with, kernels scaled back; for files that this module packed."""
    found = safetensors.numpy.load(data)
    return {
        name: array.astype(np.float32) * found[scale]
        if (scale := _scale_of(name)) in found
        else array.astype(np.float32)
        for name, array in found.items()
        if not name.endswith("/scale")
    }


def unpack_base(data: bytes) -> list[Floats]:
    """Return a packed base's arrays in Keras' order; empty for ``pixels``."""
    found = unpack(data)
    return [found[f"{name}/{part}"] for name, _, _ in VGG16_CONVOLUTIONS if found for part in ("kernel", "bias")]


def _saved(arrays: dict[str, npt.NDArray[Any]]) -> bytes:
    data: bytes = safetensors.numpy.save(arrays)
    return data


def _scale_of(name: str) -> str:
    return f"{name.removesuffix('/kernel')}/scale"


def _packed(name: str, kernel: Floats, bits: int) -> Mapping[str, npt.NDArray[Any]]:
    if bits == FINE:
        return {f"{name}/kernel": np.ascontiguousarray(kernel, np.float16)}
    largest = np.abs(kernel).max(axis=(0, 1, 2))
    scale = np.where(largest > 0, largest / _LARGEST_INT8, 1).astype(np.float32)
    return {f"{name}/kernel": np.rint(kernel / scale).astype(np.int8), f"{name}/scale": scale}
