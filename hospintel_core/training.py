"""Train and evaluate a dense head on cached features, in numpy.

The base is frozen, so a head of one or two dense layers is all that learns: two matrix products and Adam a batch.
That needs no TensorFlow, starts at once, and gives the same bytes for the same seed. A reference test
(``tests/core/test_training_reference.py``) holds it to Keras' ``fit``.
"""

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from hospintel_core.adam import Adam
from hospintel_core.architectures import Architecture
from hospintel_core.errors import TrainingError, WeightsError
from hospintel_core.plan import Plan
from hospintel_core.report import MAX_LOSS, MICRO, Report
from hospintel_core.weights import Arrays, schema_of

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.integer]
EVALUATION_BATCH = 512
# Squares of smaller gradients would be subnormal floats, which cost 30 times a normal one in every later step.
NEGLIGIBLE = 1e-12
Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


def _one_thread(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """Run numpy's products on one thread.

    They are small: several threads wait for each other, busily and for much longer than they work, as soon as the
    machine has anything else to do. One thread also gives the same bytes on any number of cores.
    """

    @functools.wraps(function)
    def limited(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        with threadpool_limits(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited


@dataclass(frozen=True)
class EpochResult:
    """What one epoch saw while it trained (dropout on, weights moving), as Keras' history reports it."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float


class _Network:
    """The layers of a head with every buffer that one batch needs, allocated once."""

    def __init__(self, architecture: Architecture, head: Arrays, batch_size: int) -> None:
        self.layers = architecture.layers
        self.kernels = [head[layer.kernel] for layer in self.layers]
        self.biases = [head[layer.bias] for layer in self.layers]
        self.inputs = np.empty((batch_size, architecture.feature_dim), np.float32)
        self.outputs = [np.empty((batch_size, layer.units), np.float32) for layer in self.layers]
        self.masks = [np.empty((batch_size, layer.units), np.float32) for layer in self.layers]

    def forward(self, inputs: Floats, dropout: np.random.Generator | None = None) -> Floats:
        """Logits (n, classes) of ``inputs`` (n, d); a view of an own buffer."""
        n, values = len(inputs), inputs
        for layer, kernel, bias, buffer, mask in zip(
            self.layers, self.kernels, self.biases, self.outputs, self.masks, strict=True
        ):
            values = np.matmul(values, kernel, out=buffer[:n])
            values += bias
            if layer.activation == "relu":
                np.maximum(values, 0, out=values)
            if dropout is not None and layer.dropout > 0:
                _draw_mask(dropout, layer.dropout, mask[:n])
                values *= mask[:n]
        return values

    def backward(self, inputs: Floats, delta: Floats, *, dropout: bool, adam: Adam) -> None:
        """Take one Adam step; ``delta`` (n, classes) is the gradient of the mean loss by the logits."""
        n = len(inputs)
        deltas = [delta]
        for depth in range(len(self.layers) - 1, 0, -1):
            # Every delta comes from the weights of the forward pass: none may move before the last one is known.
            below = deltas[-1] @ self.kernels[depth].T
            if dropout and self.layers[depth - 1].dropout > 0:
                below *= self.masks[depth - 1][:n]
            below *= self.outputs[depth - 1][:n] > 0
            deltas.append(below)
        activations = [inputs, *(output[:n] for output in self.outputs[:-1])]
        adam.begin_step()
        for depth, (values, change) in enumerate(zip(activations, reversed(deltas), strict=True)):
            adam.update_kernel(depth, values, change)
            adam.update_bias(depth, change)


def _draw_mask(rng: np.random.Generator, rate: float, out: Floats) -> None:
    """Inverted dropout: 0 with probability ``rate``, else 1 / (1 - rate)."""
    rng.random(dtype=np.float32, out=out)
    np.greater_equal(out, np.float32(rate), out=out, casting="unsafe")
    out *= np.float32(1.0 / (1.0 - rate))


def _log_softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Log-probabilities (n, classes), shifted by the row maximum so that no exponential overflows."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


@_one_thread
def train_head(
    architecture: Architecture,
    head: Arrays,
    features: Floats,
    labels: Labels,
    plan: Plan,
    *,
    seed: int,
    mirrored: Floats | None = None,
    dropout: bool = True,
    batches: Iterable[Sequence[int] | npt.NDArray[np.integer]] | None = None,
    on_epoch: Callable[[EpochResult], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> tuple[Arrays, list[EpochResult]]:
    """Train ``head`` on ``features`` (n, d) float32 with ``labels`` (n,); return the new head and a result per epoch.

    Sparse categorical crossentropy, Adam as in Keras 3 (Kingma and Ba 2015), order reshuffled each epoch. ``batches``
    replaces the shuffled order of every epoch by the given row numbers. ``mirrored`` (n, d) holds the features of the
    mirrored scans, row for row: in every epoch a fair coin decides for each row which of the two is shown. Neither
    ``head`` nor ``features`` is changed; the feature matrix is never copied. The same input and seed give the same
    bytes.

    Raises TrainingError: no_samples, training_shape, training_labels, training_stopped (``should_stop`` said so; it is
    asked after each batch), training_not_finite (a loss or weight that diverged).
    """
    _check_input(architecture, head, features, labels)
    if mirrored is not None:
        _check_input(architecture, head, mirrored, labels)
    if not len(features):
        raise TrainingError("no_samples", "There is no scan to train on.")
    head = {name: np.array(array, dtype=np.float32, order="C") for name, array in head.items()}
    order = None if batches is None else [np.asarray(batch, dtype=np.intp) for batch in batches]
    largest = min(plan.batch_size, len(features)) if order is None else max(map(len, order))
    network = _Network(architecture, head, largest)
    adam = Adam(network.kernels, network.biases, learning_rate=plan.learning_rate)
    rng = np.random.default_rng(seed)
    results = []
    for epoch in range(1, plan.epochs + 1):
        started = time.perf_counter()
        rows = order if order is not None else _shuffled(rng, len(features), plan.batch_size)
        turned = None if mirrored is None else rng.random(len(features)) < 0.5  # noqa: PLR2004 - a fair coin
        loss, correct, seen = 0.0, 0, 0
        for batch in rows:
            # mode="clip": with the default "raise" numpy gathers into a second buffer first.
            inputs = np.take(features, batch, axis=0, out=network.inputs[: len(batch)], mode="clip")
            if mirrored is not None and turned is not None:
                inputs[turned[batch]] = mirrored[batch[turned[batch]]]
            batch_loss, batch_correct = _train_batch(network, adam, inputs, labels[batch], rng if dropout else None)
            loss, correct, seen = loss + batch_loss, correct + batch_correct, seen + len(batch)
            if should_stop is not None and should_stop():
                raise TrainingError("training_stopped", f"Training was stopped in epoch {epoch}.")
        results.append(EpochResult(epoch, loss / seen, correct / seen, time.perf_counter() - started))
        if on_epoch is not None:
            on_epoch(results[-1])
    if not all(np.isfinite(array).all() for array in head.values()):
        raise _diverged()
    return head, results


def _shuffled(rng: np.random.Generator, n: int, batch_size: int) -> list[npt.NDArray[np.intp]]:
    order = rng.permutation(n)
    return [order[start : start + batch_size] for start in range(0, n, batch_size)]


def _train_batch(
    network: _Network, adam: Adam, inputs: Floats, truth: Labels, dropout: np.random.Generator | None
) -> tuple[float, int]:
    """Take one step on ``inputs`` (n, d); return the sum of their losses and how many were classified correctly."""
    n = len(inputs)
    logits = network.forward(inputs, dropout)
    log_probabilities = _log_softmax(logits)
    loss = -float(log_probabilities[np.arange(n), truth].sum())
    if not np.isfinite(loss):
        raise _diverged()
    correct = int((logits.argmax(axis=1) == truth).sum())
    delta = np.exp(log_probabilities)
    delta[np.arange(n), truth] -= 1.0
    delta[np.abs(delta) < NEGLIGIBLE] = 0
    network.backward(inputs, (delta / n).astype(np.float32), dropout=dropout is not None, adam=adam)
    return loss, correct


@_one_thread
def predict(architecture: Architecture, head: Arrays, features: Floats) -> Floats:
    """Class probabilities (n, classes) float32 of ``features`` (n, d) float32, each row adding up to 1."""
    return np.exp(_log_softmax(logits(architecture, head, features))).astype(np.float32)


@_one_thread
def evaluate_head(architecture: Architecture, head: Arrays, features: Floats, labels: Labels) -> Report:
    """Confusion counts (rows = truth) and the summed loss of ``head`` on ``features`` (n, d); n = 0 is allowed.

    The loss of one scan counts at most MAX_LOSS nats, the most that a report may carry.
    Raises TrainingError: training_shape, training_labels, training_not_finite.
    """
    _check_input(architecture, head, features, labels)
    confusion = np.zeros((architecture.classes, architecture.classes), dtype=np.int64)
    loss = 0.0
    if len(features):
        sums = logits(architecture, head, features)
        np.add.at(confusion, (labels, sums.argmax(axis=1)), 1)
        losses = -_log_softmax(sums)[np.arange(len(labels)), labels]
        if not np.isfinite(losses).all():
            raise _diverged()
        loss = float(np.minimum(losses, MAX_LOSS).sum())
    return Report(tuple(tuple(int(count) for count in row) for row in confusion), round(loss * MICRO))


@_one_thread
def logits(architecture: Architecture, head: Arrays, features: Floats) -> Floats:
    """What the last layer sums up for ``features`` (n, d) float32, before its softmax: (n, classes) float32."""
    sums = np.empty((len(features), architecture.classes), np.float32)
    network = _Network(architecture, head, min(EVALUATION_BATCH, max(1, len(features))))
    for start in range(0, len(features), EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        sums[part] = network.forward(features[part])
    return sums


def _check_input(architecture: Architecture, head: Arrays, features: Floats, labels: Labels) -> None:
    if not _fits(architecture, head):
        raise TrainingError("training_shape", f"The head does not fit the architecture {architecture.name}.")
    if features.shape != (len(features), architecture.feature_dim) or features.dtype != np.float32:
        found = f"{features.dtype} {features.shape}"
        raise TrainingError(
            "training_shape", f"Features must be float32 (n, {architecture.feature_dim}), found {found}."
        )
    if labels.shape != (len(features),) or not np.issubdtype(labels.dtype, np.integer):
        raise TrainingError("training_labels", "There must be one integer label for each row of features.")
    if len(labels) and not (labels.min() >= 0 and labels.max() < architecture.classes):
        raise TrainingError("training_labels", f"Labels must lie in 0..{architecture.classes - 1}.")


def _fits(architecture: Architecture, head: Arrays) -> bool:
    try:
        return schema_of(head) == architecture.head_schema
    except WeightsError:
        return False


def _diverged() -> TrainingError:
    return TrainingError(
        "training_not_finite", "Training diverged: a loss or weight is not finite.", "Try a smaller learning rate."
    )
