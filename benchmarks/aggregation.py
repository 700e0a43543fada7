"""Aggregating ready-made deltas of vgg16-head256 (2.1 million values each)."""

import numpy as np

from benchmarks.measure import interleaved, show
from hospintel_core import aggregate, architectures
from hospintel_core.weights import Arrays

REPEATS = 10
MOST = 10


def run() -> None:
    architecture = architectures.get("vgg16-head256")
    base = architectures.initial_head(architecture, 0)
    rng = np.random.default_rng(0)
    deltas: list[Arrays] = [
        {name: rng.standard_normal(array.shape).astype(np.float32) * np.float32(1e-3) for name, array in base.items()}
        for _ in range(MOST)
    ]

    def aggregated(count: int) -> None:
        contributions = (
            aggregate.Contribution(sender=f"{number:04d}", num_samples=100 + number, delta=deltas[number])
            for number in range(count)
        )
        aggregate.fedavg(base, contributions)

    show(
        "Federated averaging of vgg16-head256",
        interleaved([(f"{count} updates", lambda count=count: aggregated(count)) for count in (3, MOST)], REPEATS),
    )
