import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospintel_core import architectures, training
from hospintel_core.adam import FLUSH_BELOW, Adam
from hospintel_core.architectures import Architecture, Dense
from hospintel_core.errors import TrainingError
from hospintel_core.plan import Plan

PIXELS = architectures.get("pixels-head16")
TINY = Architecture("tiny", "pixels", 1, 1, 2, (Dense("a", 2, "relu"), Dense("b", 2, "softmax")), ("no", "yes"))


def tiny_head():
    return {
        "a/kernel": np.array([[1, 0], [0, 1]], np.float32),
        "a/bias": np.array([0, -1], np.float32),
        "b/kernel": np.array([[1, -1], [0, 2]], np.float32),
        "b/bias": np.array([0.5, 0], np.float32),
    }


def blobs(n, seed=0, architecture=PIXELS):
    """Four clusters, easy to tell apart."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).random((4, architecture.feature_dim))
    labels = rng.integers(0, 4, n)
    return (centres[labels] + rng.normal(0, 0.3, (n, architecture.feature_dim))).astype(np.float32), labels


def test_probabilities_agree_with_a_sum_done_by_hand():
    # hidden = relu([2, 3] - [0, 1]) = [2, 2]; logits = [2 + 0.5, -2 + 4] = [2.5, 2]
    features = np.array([[2, 3]], np.float32)
    found = training.predict(TINY, tiny_head(), features)
    assert found == pytest.approx(np.array([[1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(0.5))]]), rel=1e-6)
    report = training.evaluate_head(TINY, tiny_head(), features, np.array([1]))
    assert report.confusion == ((0, 0), (1, 0))
    assert report.loss_micro == round(1e6 * np.log(1 + np.exp(0.5)))


def test_the_first_adam_step_moves_each_weight_by_the_learning_rate_against_its_gradient():
    features, labels = np.array([[2, 3]], np.float32), np.array([1])
    plan = Plan(epochs=1, batch_size=1, learning_rate=0.01)
    after, _ = training.train_head(TINY, tiny_head(), features, labels, plan, seed=0)
    # p = softmax([2.5, 2]) and truth 1: the logits' gradient is [+, -]; hidden is [2, 2], its gradient
    # [p0 (1 + 1), p0 (0 - 2)] = [+, -]. Adam's first step is the sign of the gradient times the rate.
    assert after["b/bias"] == pytest.approx([0.49, 0.01], abs=1e-5)
    assert after["b/kernel"] == pytest.approx(np.array([[0.99, -0.99], [-0.01, 2.01]]), abs=1e-5)
    assert after["a/bias"] == pytest.approx([-0.01, -0.99], abs=1e-5)
    assert after["a/kernel"] == pytest.approx(np.array([[0.99, 0.01], [-0.01, 1.01]]), abs=1e-5)


def test_a_unit_that_the_rectifier_silenced_does_not_move():
    features, labels = np.array([[2, 0.5]], np.float32), np.array([1])
    after, _ = training.train_head(TINY, tiny_head(), features, labels, Plan(epochs=1), seed=0)
    before = tiny_head()
    assert np.array_equal(after["a/kernel"][:, 1], before["a/kernel"][:, 1])
    assert np.array_equal(after["b/kernel"][1], before["b/kernel"][1])
    assert not np.array_equal(after["a/kernel"][:, 0], before["a/kernel"][:, 0])


def test_training_learns_clusters_and_reports_each_epoch():
    features, labels = blobs(400)
    seen = []
    head, results = training.train_head(
        PIXELS,
        architectures.initial_head(PIXELS, 1),
        features,
        labels,
        Plan(epochs=4, learning_rate=1e-2),
        seed=5,
        on_epoch=seen.append,
    )
    assert seen == results
    assert [result.epoch for result in results] == [1, 2, 3, 4]
    assert results[-1].loss < results[0].loss
    report = training.evaluate_head(PIXELS, head, *blobs(200, seed=1))
    assert report.accuracy > 0.95
    assert report.n == 200


def test_one_seed_gives_identical_bytes_and_another_seed_does_not():
    architecture = Architecture(
        "drops", "pixels", 16, 1, 256, (Dense("a", 32, "relu", dropout=0.5), Dense("b", 4, "softmax"))
    )
    features, labels = blobs(100, architecture=architecture)
    start = architectures.initial_head(architecture, 1)
    runs = [
        training.train_head(architecture, start, features, labels, Plan(epochs=2), seed=seed)[0] for seed in (3, 3, 4)
    ]
    first, second, third = (b"".join(array.tobytes() for array in run.values()) for run in runs)
    assert first == second
    assert first != third


def test_the_vgg16_head_trains_to_identical_bytes_twice():
    architecture = architectures.get("vgg16-head256")
    features, labels = blobs(96, architecture=architecture)
    start = architectures.initial_head(architecture, 1)
    one, two = (training.train_head(architecture, start, features, labels, Plan(epochs=1), seed=3)[0] for _ in range(2))
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)


def first_batches(features, mirrored, *, epochs=1, batches=None):
    """A head whose hidden layer only remembers: its kernel moves where an input was shown."""
    head = architectures.initial_head(PIXELS, 1)
    labels = np.zeros(len(features), np.int64)
    plan = Plan(epochs=epochs, batch_size=len(features))
    return training.train_head(PIXELS, head, features, labels, plan, mirrored=mirrored, seed=5, batches=batches)[0]


def test_rows_are_shown_plain_or_mirrored_by_the_toss_of_a_coin():
    n = 64
    plain, mirrored = np.zeros((n, 256), np.float32), np.zeros((n, 256), np.float32)
    plain[np.arange(n), np.arange(n)] = 1
    mirrored[np.arange(n), 128 + np.arange(n)] = 1
    before = architectures.initial_head(PIXELS, 1)["head_dense/kernel"]
    moved = (first_batches(plain, mirrored)["head_dense/kernel"] != before).any(axis=1)
    # Each row moved the weights of its plain or of its mirrored input, never of both.
    assert (moved[:n] ^ moved[128 : 128 + n]).all()
    assert n // 4 < moved[:n].sum() < 3 * n // 4
    moved = (first_batches(plain, mirrored, epochs=12)["head_dense/kernel"] != before).any(axis=1)
    assert (moved[:n] & moved[128 : 128 + n]).all()


def test_mirrored_equal_to_plain_changes_only_the_shuffle():
    features, _ = blobs(40)
    batches = [np.arange(40)]
    one, two = (first_batches(features, mirrored, batches=batches) for mirrored in (None, features.copy()))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_mirrored_features_of_another_shape_are_refused():
    features, _ = blobs(40)
    for mirrored, code in ((features[:, :-1], "training_shape"), (features[:-1], "training_labels")):
        with pytest.raises(TrainingError) as caught:
            first_batches(features, mirrored)
        assert caught.value.code == code


def test_neither_the_head_nor_the_features_are_changed():
    features, labels = blobs(50)
    head = architectures.initial_head(PIXELS, 1)
    copies = features.copy(), labels.copy(), {name: array.copy() for name, array in head.items()}
    for array in (features, labels, *head.values()):
        array.flags.writeable = False
    training.train_head(PIXELS, head, features, labels, Plan(epochs=1), seed=0)
    assert np.array_equal(features, copies[0])
    assert np.array_equal(labels, copies[1])
    assert all(np.array_equal(head[name], copies[2][name]) for name in head)


def test_dropout_zeroes_half_and_doubles_the_rest():
    mask = np.empty((100, 100), np.float32)
    training._draw_mask(np.random.default_rng(0), 0.5, mask)
    assert set(np.unique(mask)) == {0.0, 2.0}
    assert mask.mean() == pytest.approx(1, abs=0.05)
    training._draw_mask(np.random.default_rng(0), 0.2, mask)
    assert mask.mean() == pytest.approx(1, abs=0.05)


def test_a_stop_ends_training_at_the_next_batch():
    features, labels = blobs(200)
    asked = []

    def should_stop():
        asked.append(time.perf_counter())
        return len(asked) == 3

    with pytest.raises(TrainingError) as caught:
        training.train_head(
            PIXELS, architectures.initial_head(PIXELS, 1), features, labels, Plan(), seed=0, should_stop=should_stop
        )
    assert caught.value.code == "training_stopped"
    assert len(asked) == 3


def test_a_loss_stays_finite_for_logits_that_would_overflow():
    head = tiny_head()
    head["b/kernel"] *= 1e6
    report = training.evaluate_head(TINY, head, np.array([[2, 2], [2, 2]], np.float32), np.array([0, 1]))
    assert report.n == 2
    assert report.loss_micro == 1000 * 10**6  # One scan right, the other at the most that a report may carry.


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_head_that_is_not_finite_is_an_error_and_never_a_result(poison):
    head = tiny_head()
    head["a/kernel"][0, 0] = poison
    features, labels = np.array([[2, 3]], np.float32), np.array([1])
    with pytest.raises(TrainingError) as caught, np.errstate(all="ignore"):
        training.evaluate_head(TINY, head, features, labels)
    assert caught.value.code == "training_not_finite"
    with pytest.raises(TrainingError) as caught, np.errstate(all="ignore"):
        training.train_head(TINY, head, features, labels, Plan(), seed=0)
    assert caught.value.code == "training_not_finite"


@pytest.mark.parametrize(
    ("features", "labels", "code"),
    [
        (np.zeros((3, 255), np.float32), np.zeros(3, int), "training_shape"),
        (np.zeros((3, 256), np.float64), np.zeros(3, int), "training_shape"),
        (np.zeros(256, np.float32), np.zeros(1, int), "training_shape"),
        (np.zeros((3, 256), np.float32), np.zeros(2, int), "training_labels"),
        (np.zeros((3, 256), np.float32), np.zeros(3, np.float32), "training_labels"),
        (np.zeros((3, 256), np.float32), np.array([0, 1, 4]), "training_labels"),
        (np.zeros((3, 256), np.float32), np.array([0, -1, 2]), "training_labels"),
        (np.zeros((0, 256), np.float32), np.zeros(0, int), "no_samples"),
    ],
)
def test_input_that_does_not_fit_is_refused_by_name(features, labels, code):
    with pytest.raises(TrainingError) as caught:
        training.train_head(PIXELS, architectures.initial_head(PIXELS, 1), features, labels, Plan(), seed=0)
    assert caught.value.code == code


def test_a_head_of_another_architecture_is_refused():
    features, labels = blobs(10)
    for head in (tiny_head(), {"a/kernel": np.zeros((2, 2), np.float64)}):
        with pytest.raises(TrainingError) as caught:
            training.evaluate_head(PIXELS, head, features, labels)
        assert caught.value.code == "training_shape"


def test_no_scan_gives_an_empty_report():
    report = training.evaluate_head(
        PIXELS, architectures.initial_head(PIXELS, 1), np.zeros((0, 256), np.float32), np.zeros(0, int)
    )
    assert (report.n, report.loss_micro, report.accuracy) == (0, 0, None)


@given(st.integers(1, 1200), st.integers(0, 2**32))
def test_batched_evaluation_counts_every_scan_once(n, seed):
    rng = np.random.default_rng(seed)
    features, labels = rng.random((n, 2), dtype=np.float32), rng.integers(0, 2, n)
    report = training.evaluate_head(TINY, tiny_head(), features, labels)
    probabilities = training.predict(TINY, tiny_head(), features)
    assert report.n == n
    assert report.correct == int((probabilities.argmax(axis=1) == labels).sum())
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(n), abs=1e-6)


def test_the_order_of_an_epoch_is_a_permutation_with_a_short_last_batch():
    batches = training._shuffled(np.random.default_rng(0), 70, 32)
    assert [len(batch) for batch in batches] == [32, 32, 6]
    assert sorted(np.concatenate(batches)) == list(range(70))


def test_moments_of_a_silent_unit_do_not_linger_as_subnormal_floats():
    kernel, bias = np.ones((4, 3), np.float32), np.zeros(3, np.float32)
    adam = Adam([kernel], [bias], learning_rate=1e-3)
    inputs, delta = np.ones((2, 4), np.float32), np.ones((2, 3), np.float32)
    for _ in range(1280):
        adam.begin_step()
        adam.update_kernel(0, inputs, delta)
        adam.update_bias(0, delta)
        delta = np.zeros_like(delta)
    for first, second in (*adam._moments[0], *adam._moments[1]):
        assert not ((first != 0) & (np.abs(first) < FLUSH_BELOW)).any()
        assert not ((second != 0) & (second < FLUSH_BELOW)).any()
        assert not first.any()


class GradientRecorder:
    """Stands where Adam stands and keeps the gradients."""

    def __init__(self):
        self.kernels, self.biases = {}, {}

    def begin_step(self):
        pass

    def update_kernel(self, depth, inputs, delta):
        self.kernels[depth] = inputs.T @ delta

    def update_bias(self, depth, delta):
        self.biases[depth] = delta.sum(axis=0)


@pytest.mark.parametrize("dropout", [False, True])
def test_gradients_agree_with_differences_of_the_loss(dropout):
    layers = (Dense("a", 6, "relu", 0.5), Dense("b", 5, "relu", 0.3), Dense("c", 3, "softmax"))
    architecture = Architecture("three", "pixels", 2, 1, 4, layers, ("x", "y", "z"))
    rng = np.random.default_rng(8)
    head = {name: array.astype(np.float64) for name, array in architectures.initial_head(architecture, 2).items()}
    for layer in layers:
        head[layer.bias] += rng.normal(0, 0.3, layer.units)  # At 0 a silent layer would sit on the rectifier's kink.
    inputs, truth = rng.random((7, 4)), rng.integers(0, 3, 7)

    def run(values):
        """Mean loss, with the masks that seed 5 draws."""
        network = training._Network(architecture, values, 7)
        network.outputs = [np.empty(array.shape) for array in network.outputs]
        logits = network.forward(inputs, np.random.default_rng(5) if dropout else None)
        log_probabilities = training._log_softmax(logits)
        delta = np.exp(log_probabilities)
        delta[np.arange(7), truth] -= 1
        return network, -log_probabilities[np.arange(7), truth].mean(), delta / 7

    network, _, delta = run(head)
    found = GradientRecorder()
    network.backward(inputs, delta, dropout=dropout, adam=found)
    for depth, layer in enumerate(layers):
        for name, gradient in ((layer.kernel, found.kernels[depth]), (layer.bias, found.biases[depth])):
            for place in np.ndindex(gradient.shape):
                sides = []
                for step in (1e-6, -1e-6):
                    moved = {key: array.copy() for key, array in head.items()}
                    moved[name][place] += step
                    sides.append(run(moved)[1])
                assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(gradient[place], abs=1e-6), (name, place)


def test_diverging_training_stops_at_once():
    features, labels = blobs(64)
    features[:] = np.float32(3e38)
    epochs = []
    with pytest.raises(TrainingError) as caught, np.errstate(all="ignore"):
        training.train_head(
            PIXELS,
            architectures.initial_head(PIXELS, 1),
            features,
            labels,
            Plan(epochs=100),
            seed=0,
            on_epoch=epochs.append,
        )
    assert caught.value.code == "training_not_finite"
    assert epochs == []
