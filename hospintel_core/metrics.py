"""Figures that people read off confusion counts (rows = truth, columns = prediction)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Confusion = Sequence[Sequence[int]]


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class; None where the denominator is 0.

    Of ``support`` scans of the class and ``predicted`` scans that were named so, ``hits`` are in both.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    predicted: int
    hits: int


def accuracy(confusion: Confusion) -> float | None:
    """Share of the diagonal; None for an empty table."""
    total = sum(map(sum, confusion))
    return sum(confusion[k][k] for k in range(len(confusion))) / total if total else None


def per_class(confusion: Confusion) -> tuple[ClassFigures, ...]:
    """Precision, recall, F1 and support of each class, in the table's order."""
    figures = []
    for k, row in enumerate(confusion):
        hits, support, predicted = row[k], sum(row), sum(other[k] for other in confusion)
        figures.append(
            ClassFigures(
                precision=hits / predicted if predicted else None,
                recall=hits / support if support else None,
                f1=2 * hits / (support + predicted) if support + predicted else None,
                support=support,
                predicted=predicted,
                hits=hits,
            )
        )
    return tuple(figures)


def macro_f1(confusion: Confusion) -> float | None:
    """Unweighted mean F1 over the classes that occur as truth or prediction; None for an empty table."""
    scores = [figures.f1 for figures in per_class(confusion) if figures.f1 is not None]
    return sum(scores) / len(scores) if scores else None


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927): never outside 0..1, honest for few trials; (0, 1) for none."""
    if not 0 <= successes <= trials:
        raise ValueError("successes must lie in 0..trials")
    if trials == 0:
        return 0.0, 1.0
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    # At 0 and at all successes the bound is the share itself, but for rounding.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def difference_interval(before: tuple[int, int], after: tuple[int, int], z: float = 1.96) -> tuple[float, float]:
    """Interval of the share ``after`` less the share ``before``, each given as (successes, trials).

    Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10: Wilson's limits
    of the two, joined. For two models on the same scans it is wider than needed: their answers go together, and counts
    alone do not say how much. Never outside -1..1; (-1, 1) where one of the two has no trials.
    """
    if not before[1] or not after[1]:
        return -1.0, 1.0
    (low_1, high_1), (low_2, high_2) = wilson_interval(*before, z), wilson_interval(*after, z)
    share_1, share_2 = before[0] / before[1], after[0] / after[1]
    change = share_2 - share_1
    return (
        max(-1.0, change - math.hypot(share_2 - low_2, high_1 - share_1)),
        min(1.0, change + math.hypot(high_2 - share_2, share_1 - low_1)),
    )
