"""Is a delta plausible? Findings for the audit; an empty list means that it may be used."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hospintel_core.weights import Arrays, Schema

_DTYPE_NAMES = {np.dtype("<f4"): "F32"}


@dataclass(frozen=True)
class Finding:
    """One reason against a delta: a stable code and a sentence."""

    code: str
    detail: str


def l2_norm(arrays: Mapping[str, npt.NDArray[Any]]) -> float:
    """Return the Euclidean norm over all arrays together, accumulated in float64."""
    # By hand, not BLAS: the same machine must give the same bits in every process.
    with np.errstate(over="ignore", invalid="ignore"):
        squares = (float(np.sum(np.square(array, dtype=np.float64))) for array in arrays.values())
        return math.sqrt(sum(squares))


def screen(delta: Arrays, schema: Schema, *, max_abs: float = 1e3, max_norm: float | None = None) -> list[Finding]:
    """All findings against ``delta``, in the order structure, values, norm. Never raises, never changes ``delta``.

    ``max_abs`` bounds each value's magnitude, ``max_norm`` (if given) the norm over all arrays.
    """
    findings = _structure(delta, schema)
    if findings:
        return findings
    findings = [finding for spec in schema.tensors if (finding := _values(spec.name, delta[spec.name], max_abs))]
    if max_norm is not None and not any(finding.code == "not_finite" for finding in findings):
        norm = l2_norm(delta)
        if norm > max_norm:
            findings.append(Finding("norm_range", f"The norm {norm:.6g} is above {max_norm:.6g}."))
    return findings


def _structure(delta: Arrays, schema: Schema) -> list[Finding]:
    findings = []
    expected = {spec.name for spec in schema.tensors}
    if delta.keys() != expected:
        missing, extra = len(expected - delta.keys()), len(delta.keys() - expected)
        findings.append(Finding("tensor_names", f"{missing} arrays are missing and {extra} are not expected."))
    for spec in schema.tensors:
        array = delta.get(spec.name)
        if array is None:
            continue
        if _DTYPE_NAMES.get(array.dtype) != spec.dtype:
            findings.append(Finding("tensor_dtype", f"Array {spec.name} is {array.dtype}, not {spec.dtype}."))
        if array.shape != spec.shape:
            findings.append(Finding("tensor_shape", f"Array {spec.name} has shape {array.shape}, not {spec.shape}."))
    return findings


def _values(name: str, array: npt.NDArray[Any], max_abs: float) -> Finding | None:
    largest = float(max(abs(array.min()), abs(array.max())))
    # The largest magnitude is not finite exactly where some value is not.
    if not math.isfinite(largest):
        return Finding("not_finite", f"Array {name} holds values that are not finite.")
    if largest > max_abs:
        return Finding("value_range", f"Array {name} holds a value of magnitude {largest:.6g}, above {max_abs:.6g}.")
    return None
