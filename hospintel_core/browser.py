"""A model in the form that the page for a single scan fetches: smaller numbers, one safetensors file for base or head.

The page reads the header itself and knows three types: F16, F32 and I8. A base of 16 bits has kernels of float16. One
of fewer has whole numbers of one step a layer, value = (256 * high + low) * step, with both bytes in arrays of their
own, and the file is deflated: the low bytes hardly shrink, the high ones nearly vanish.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from hospintel_core.backbone import VGG16_CONVOLUTIONS
from hospintel_core.weights import Arrays

Floats = npt.NDArray[np.float32]
# 16 is float16; else how many bits a weight takes on its way, on average.
BITS = (16, 11, 8)
FINE = 16
# Half a bit goes to what deflate does not find.
_OVERHEAD = 0.5
_LARGEST = 127 * 256
_LEVEL = 6


def pack_base(base: Sequence[Floats], bits: int) -> bytes:
    """Pack VGG16's 26 arrays (Keras' order); none of them (``pixels``) give an empty file. Equal input, equal bytes.

    Args:
        base: kernels (3, 3, inputs, outputs) and biases (outputs,) in turn.
        bits: one of ``BITS``; biases are float32 in any case.

    Raises:
        ValueError: another number of bits.
    """
    if bits not in BITS:
        raise ValueError(bits)
    arrays: dict[str, npt.NDArray[Any]] = {}
    most = max((kernel.size for kernel in base[::2]), default=0)
    for (name, _, _), kernel, bias in zip(VGG16_CONVOLUTIONS, base[::2], base[1::2], strict=False):
        if bits == FINE:
            arrays[f"{name}/kernel"] = np.ascontiguousarray(kernel, np.float16)
        else:
            arrays |= _whole_numbers(name, kernel, _step(kernel, bits, kernel.size / most))
        arrays[f"{name}/bias"] = np.ascontiguousarray(bias, np.float32)
    return _saved(arrays) if bits == FINE else zlib.compress(_saved(arrays), _LEVEL)


def pack_head(head: Arrays) -> bytes:
    """Pack a head: float16 kernels, float32 biases. Its influence on the probabilities is under 0.001."""
    return _saved(
        {
            name: np.ascontiguousarray(array, np.float16 if name.endswith("/kernel") else np.float32)
            for name, array in head.items()
        }
    )


def unpack(data: bytes) -> Arrays:
    """Return the float32 arrays that the page computes with; for files that this module packed."""
    found = safetensors.numpy.load(data)
    arrays = {name: array.astype(np.float32) for name, array in found.items() if array.dtype != np.int8}
    for name, low in found.items():
        if name.endswith("/low"):
            layer = name.removesuffix("/low")
            numbers = found[f"{layer}/high"].astype(np.int32) * 256 + low
            arrays[f"{layer}/kernel"] = numbers.astype(np.float32) * arrays.pop(f"{layer}/step")
    return arrays


def unpack_base(data: bytes, bits: int) -> list[Floats]:
    """Return the arrays, in Keras' order, of a base that was packed with so many bits; empty for ``pixels``."""
    found = unpack(data if bits == FINE else zlib.decompress(data))
    return [found[f"{name}/{part}"] for name, _, _ in VGG16_CONVOLUTIONS if found for part in ("kernel", "bias")]


def _saved(arrays: dict[str, npt.NDArray[Any]]) -> bytes:
    data: bytes = safetensors.numpy.save(arrays)
    return data


def _step(kernel: Floats, bits: int, share: float) -> np.float32:
    """Return a layer's step, for so many bits a weight in the largest layer.

    Normal numbers of deviation d in steps of s have log2(d * sqrt(2 pi e) / s) bits of entropy; ours, with their longer
    tails, a little less. What an error in one layer does is much the same in each, so that a layer with a quarter of
    the weights gets steps of half the size: it costs little.
    """
    deviation = float(np.sqrt(np.mean(np.square(kernel, dtype=np.float64))))
    wanted = deviation * math.sqrt(2 * math.pi * math.e * share) / 2 ** (bits - _OVERHEAD)
    return np.float32(max(wanted, float(np.abs(kernel).max()) / _LARGEST)) or np.float32(1)


def _whole_numbers(name: str, kernel: Floats, step: np.float32) -> dict[str, npt.NDArray[Any]]:
    numbers = np.rint(kernel / step).astype(np.int32)
    low = numbers.astype(np.int8)
    high = ((numbers - low) >> 8).astype(np.int8)
    return {f"{name}/low": low, f"{name}/high": high, f"{name}/step": np.array([step], np.float32)}
