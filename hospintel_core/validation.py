"""Labelled features to measure models on, and what makes one model worse than another on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from hospintel_core.architectures import Architecture
from hospintel_core.errors import TrainingError
from hospintel_core.report import Report

Floats = npt.NDArray[np.float32]
# One scan that is named otherwise is no news, however few there are.
LEAST_LOST: Final = 2


@dataclass(frozen=True)
class Labelled:
    """Features (n, d) float32 of scans, with their labels (n,) int64."""

    features: Floats
    labels: npt.NDArray[np.int64]

    def dumps(self) -> bytes:
        """Return them as one safetensors file."""
        data: bytes = safetensors.numpy.save({"features": self.features, "labels": self.labels})
        return data

    @classmethod
    def loads(cls, data: bytes, architecture: Architecture) -> "Labelled":
        """Return what ``dumps`` wrote for this architecture.

        Raises TrainingError: training_shape where the file holds anything else.
        """
        try:
            found = safetensors.numpy.load(data)
            features, labels = found["features"], found["labels"]
        except (safetensors.SafetensorError, KeyError) as error:
            raise TrainingError("training_shape", "The features of the scans cannot be read.") from error
        if features.shape != (len(labels), architecture.feature_dim) or features.dtype != np.float32:
            raise TrainingError("training_shape", f"The features are not those of {architecture.name}.")
        return cls(features, labels)


def set_digest(scans: Sequence[tuple[int, str]]) -> str:
    """Return SHA-256 over labels and content digests, in any order: equal sets have the same one."""
    lines = sorted(f"{label}:{digest}\n" for label, digest in scans)
    return sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class Loss:
    """Where a candidate is worse: ``label`` is the class's index, None for all scans together; right of ``n``."""

    label: int | None
    now: int
    before: int
    n: int


def losses(before: Report, now: Report, margin: float) -> list[Loss]:
    """Return where a candidate is worse than its base on the same scans: overall first, then by class.

    It is worse where it names at least ``LEAST_LOST`` scans fewer right, and more than ``margin`` (a share of 1) times
    the scans there are: of all scans, or of one class. With few scans the second part alone would hold a candidate for
    one scan, which chance decides.

    Raises ValueError: the reports count other scans.
    """
    rows = [sum(row) for row in now.confusion]
    if rows != [sum(row) for row in before.confusion]:
        raise ValueError("The two reports count other scans.")
    pairs: list[tuple[int | None, int, int, int]] = [(None, now.correct, before.correct, now.n)]
    pairs += [(label, now.confusion[label][label], before.confusion[label][label], n) for label, n in enumerate(rows)]
    return [
        Loss(label, new, old, n) for label, new, old, n in pairs if old - new >= LEAST_LOST and old - new > margin * n
    ]
