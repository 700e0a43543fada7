"""Our head training held to Keras' own ``fit``: same start, same batches, no dropout."""

import numpy as np
import pytest

from hospintel_core import architectures, training
from hospintel_core.architectures import Architecture, Dense
from hospintel_core.backbone import quiet_tensorflow
from hospintel_core.plan import Plan

SMALL = Architecture("small", "pixels", 5, 1, 25, (Dense("a", 7, "relu"), Dense("b", 4, "softmax")))
DEEP = Architecture(
    "deep", "pixels", 5, 1, 25, (Dense("a", 12, "relu"), Dense("b", 9, "relu"), Dense("c", 4, "softmax"))
)
STEPS = 20


def keras_fit(architecture, head, features, labels, plan):
    with quiet_tensorflow():
        import keras  # noqa: PLC0415

        model = keras.Sequential(
            [
                keras.Input((architecture.feature_dim,)),
                *(keras.layers.Dense(layer.units, layer.activation) for layer in architecture.layers),
            ]
        )
        model.set_weights([head[name] for layer in architecture.layers for name in (layer.kernel, layer.bias)])
        model.compile(
            keras.optimizers.Adam(plan.learning_rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        history = model.fit(
            features, labels, batch_size=plan.batch_size, epochs=plan.epochs, shuffle=False, verbose=0
        ).history
    weights = iter(model.get_weights())
    return {name: next(weights) for layer in architecture.layers for name in (layer.kernel, layer.bias)}, history


@pytest.mark.parametrize(
    ("architecture", "n", "batch_size", "epochs", "rate"),
    [
        (SMALL, 140, 32, 4, 1e-2),  # Five batches an epoch, the last one of 12.
        (DEEP, 160, 8, 1, 1e-2),
        (architectures.get("pixels-head16"), 320, 32, 2, 3e-3),
        (architectures.get("vgg16-head256"), 320, 32, 2, 1e-4),
        (architectures.get("vgg16-head256"), 320, 32, 2, 1e-3),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_twenty_steps_give_the_weights_that_keras_gives(architecture, n, batch_size, epochs, rate):
    rng = np.random.default_rng(0)
    features = (rng.random((n, architecture.feature_dim), dtype=np.float32) * 2) * (
        rng.random((n, architecture.feature_dim)) > 0.7
    )
    features = features.astype(np.float32)
    labels = rng.integers(0, 4, n)
    head = architectures.initial_head(architecture, 1)
    plan = Plan(epochs=epochs, batch_size=batch_size, learning_rate=rate)
    order = [np.arange(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]
    assert len(order) * epochs == STEPS

    ours, results = training.train_head(
        architecture, head, features, labels, plan, seed=0, dropout=False, batches=order
    )
    theirs, history = keras_fit(architecture, head, features, labels, plan)

    for name, array in ours.items():
        moved = np.abs(array - head[name]).max()
        assert moved > rate  # Else the comparison would say nothing.
        assert np.abs(array - theirs[name]).max() <= 1e-5, name
    assert [result.loss for result in results] == pytest.approx(history["loss"], rel=1e-4)
    assert [result.accuracy for result in results] == pytest.approx(history["accuracy"], abs=1.01 / n)
