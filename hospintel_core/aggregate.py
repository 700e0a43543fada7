"""Combining the hospitals' deltas into the next head, one contribution in memory at a time.

Adding a rule = one function, one test, one line in RULES and in WEIGHTS.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hospintel_core.errors import AggregationError
from hospintel_core.weights import Arrays

# Values added per step: the float64 scratch (512 KiB) stays in the cache and no delta is ever copied whole.
_BLOCK: Final = 65_536


@dataclass(frozen=True)
class Contribution:
    """One hospital's delta (float32 arrays, base's names and shapes) and the number of samples behind it."""

    sender: str
    num_samples: int
    delta: Arrays


Rule = Callable[[Arrays, Iterable[Contribution]], Arrays]


def fedavg(base: Arrays, contributions: Iterable[Contribution]) -> Arrays:
    """Add the deltas' mean, weighted by samples, to ``base`` (McMahan et al. 2017, https://arxiv.org/abs/1602.05629).

    Float64 accumulators; float32 result. Contributions are consumed one by one and must come in strictly increasing
    order of ``sender``, so that a second run gives the same bytes. Inputs are not changed.
    Raises AggregationError.
    """
    return _weighted_mean(base, contributions, WEIGHTS["fedavg"])


def mean(base: Arrays, contributions: Iterable[Contribution]) -> Arrays:
    """Add the deltas' plain mean to ``base``, each hospital counting once. Otherwise as ``fedavg``."""
    return _weighted_mean(base, contributions, WEIGHTS["mean"])


RULES: Final[Mapping[str, Rule]] = MappingProxyType({"fedavg": fedavg, "mean": mean})
# What a contribution with so many samples weighs under each rule.
WEIGHTS: Final[Mapping[str, Callable[[int], int]]] = MappingProxyType(
    {"fedavg": lambda samples: samples, "mean": lambda _: 1}
)


def shares(rule: str, samples: Sequence[int]) -> list[float]:
    """Return the part, 0 to 1, that each contribution has in what a rule makes of them, by their samples."""
    weights = [WEIGHTS[rule](count) for count in samples]
    return [weight / sum(weights) for weight in weights]


def with_momentum(head: Arrays, base: Arrays, previous: Arrays | None, momentum: float) -> Arrays:
    """Carry the last round's movement on: ``head + momentum * (base - previous)``, float32 (server momentum).

    FedAvgM (Hsu et al. 2019, https://arxiv.org/abs/1909.06335) keeps a velocity v = momentum * v + (head - base) and
    moves by it. The last movement *is* that velocity, so two stored heads hold all of its state and a second run gives
    the same bytes.

    Args:
        head: what a rule made of ``base``; the three have the same names and shapes.
        base: the head that the round started from.
        previous: the head that the round before it started from; None in a run's first round: nothing moves yet.
        momentum: from 0 (off) to less than 1.

    Raises:
        AggregationError: ``momentum_range``, ``schema_mismatch`` or ``not_finite``.
    """
    if not 0 <= momentum < 1:
        raise AggregationError("momentum_range", "Server momentum is from 0 to less than 1.")
    if previous is None or momentum == 0:
        return dict(head)
    if not head.keys() == base.keys() == previous.keys():
        raise AggregationError("schema_mismatch", "The heads have other arrays.")
    return {name: _carried(name, array, base[name], previous[name], momentum) for name, array in head.items()}


def get_rule(name: str) -> Rule:
    """Return the rule called ``name``; AggregationError ``unknown_rule``."""
    rule = RULES.get(name)
    if rule is None:
        raise AggregationError("unknown_rule", f"There is no rule {name!r}.", f"Known rules: {', '.join(RULES)}.")
    return rule


def _weighted_mean(base: Arrays, contributions: Iterable[Contribution], weight_of: Callable[[int], int]) -> Arrays:
    sums = {name: np.zeros(array.size, np.float64) for name, array in base.items()}
    scratch = np.empty(_BLOCK, np.float64)
    total, previous = 0, None
    # Overflow and NaN are looked for in the result, where they are an error with a name.
    with np.errstate(over="ignore", invalid="ignore"):
        for contribution in contributions:
            _check(contribution, base, previous)
            weight = weight_of(contribution.num_samples)
            _add_scaled(sums, contribution.delta, weight, scratch)
            total += weight
            previous = contribution.sender
            # Else it would still be in memory while the next one is opened.
            del contribution
        if previous is None:
            raise AggregationError("no_contributions", "There is nothing to aggregate.")
        return {name: _finish(name, array, sums[name], total) for name, array in base.items()}


def _check(contribution: Contribution, base: Arrays, previous: str | None) -> None:
    sender, delta = contribution.sender, contribution.delta
    if previous is not None and sender <= previous:
        raise AggregationError("sender_order", f"Sender {sender} does not come after {previous}.")
    if contribution.num_samples < 1:
        raise AggregationError("num_samples", f"Sender {sender} states {contribution.num_samples} samples.")
    if delta.keys() != base.keys():
        raise AggregationError("schema_mismatch", f"Sender {sender} has other arrays than the base.")
    for name, array in delta.items():
        if array.dtype != np.float32 or array.shape != base[name].shape:
            raise AggregationError("schema_mismatch", f"Sender {sender} has another type or shape for {name}.")


def _add_scaled(
    sums: dict[str, npt.NDArray[np.float64]], delta: Arrays, weight: int, scratch: npt.NDArray[np.float64]
) -> None:
    for name, array in delta.items():
        flat, total = array.reshape(-1), sums[name]
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            scaled = np.multiply(block, float(weight), out=scratch[: block.size], dtype=np.float64)
            total[start : start + block.size] += scaled


def _finish(name: str, base: npt.NDArray[Any], total: npt.NDArray[np.float64], weight: int) -> npt.NDArray[np.float32]:
    total /= weight
    total += base.reshape(-1)
    result = total.astype(np.float32).reshape(base.shape)
    if not np.isfinite(result).all():
        raise AggregationError("not_finite", f"The sum of {name} is not finite.")
    return result


def _carried(
    name: str, head: npt.NDArray[Any], base: npt.NDArray[Any], previous: npt.NDArray[Any], momentum: float
) -> npt.NDArray[np.float32]:
    if not head.shape == base.shape == previous.shape:
        raise AggregationError("schema_mismatch", f"The heads have other shapes for {name}.")
    with np.errstate(over="ignore", invalid="ignore"):
        movement = base.astype(np.float64) - previous
        result: npt.NDArray[np.float32] = (head + momentum * movement).astype(np.float32)
    if not np.isfinite(result).all():
        raise AggregationError("not_finite", f"With momentum {name} is not finite.")
    return result
