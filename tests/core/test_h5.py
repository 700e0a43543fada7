"""Models as Keras files: what we write opens in plain Keras, and what Keras writes can be read back.

Each kind of file that Keras saves is read back as an upload too: in the confined process.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from hospintel_core import apart, architectures, backbone, h5, phantoms, training
from hospintel_core.backbone import VGG16_CONVOLUTIONS
from hospintel_core.errors import ModelFileError
from hospintel_core.imaging import to_input

PIXELS = architectures.get("pixels-head16")
VGG16 = architectures.get("vgg16-head256")

# Opens the model in a process that knows nothing of this project, predicts, trains one step and saves a copy.
PLAIN_KERAS = """
import sys, numpy as np, keras
assert not any("hospintel" in name for name in sys.modules)
folder = sys.argv[1]
model = keras.models.load_model(folder + "/global_model.h5")
inputs = np.load(folder + "/inputs.npy")
if inputs.shape[-1] == 3:
    inputs = keras.applications.vgg16.preprocess_input(inputs)
np.save(folder + "/outputs.npy", model.predict(inputs, verbose=0))
np.save(folder + "/trainable.npy", np.array([w.path for w in model.trainable_weights]))
model.save(folder + "/saved.h5")
model.compile(keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy")
model.fit(inputs, np.arange(len(inputs)) % 4, epochs=1, verbose=0)
model.save(folder + "/trained.h5")
model.save(folder + "/trained.keras")
model.save_weights(folder + "/trained.weights.h5")
again = keras.models.load_model(folder + "/trained.keras")
again.save(folder + "/again.h5")
again.save(folder + "/again.keras")
for name in ("head_dense", "head_output"):
    for part, array in zip(("kernel", "bias"), model.get_layer(name).get_weights()):
        np.save(folder + f"/{name}.{part}.npy", array)
"""


def random_base():
    rng = np.random.default_rng(0)
    return [
        rng.normal(0, np.sqrt(2 / (9 * inputs)), shape).astype(np.float32)
        for _, inputs, outputs in VGG16_CONVOLUTIONS
        for shape in ((3, 3, inputs, outputs), (outputs,))
    ]


def base_of(architecture):
    return random_base() if architecture.base == "vgg16" else []


def expected(architecture, base, head, images):
    if architecture.base == "pixels":
        features = backbone.PixelsBackbone().features(images)
    else:
        features = backbone.VGG16Backbone(architecture.input_size, base).features(images)
    return training.predict(architecture, head, features)


@pytest.mark.parametrize("architecture", [PIXELS, VGG16], ids=lambda architecture: architecture.name)
def test_plain_keras_opens_predicts_trains_and_saves_and_we_read_the_result(tmp_path, architecture, monkeypatch):
    images = np.stack([to_input(phantoms.draw(n % 4, np.random.default_rng(n)), architecture) for n in range(8)])
    head, base = architectures.initial_head(architecture, 1), base_of(architecture)
    for layer in architecture.layers:
        head[layer.kernel] *= np.float32(
            {"pixels": 0.3, "vgg16": 0.1}[architecture.base]
        )  # Else the probabilities are 0 and 1, and equal for many inputs.
    head["head_output/bias"] += np.array([0.1, -0.2, 0.3, 0], np.float32)
    h5.write_model(tmp_path / "global_model.h5", architecture, base, head)
    np.save(tmp_path / "inputs.npy", images.astype(np.float32))

    subprocess.run(
        [sys.executable, "-I", "-c", PLAIN_KERAS, tmp_path],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TF_CPP_MIN_LOG_LEVEL": "3"},
    )

    outputs = np.load(tmp_path / "outputs.npy")
    assert np.abs(outputs - expected(architecture, base, head, images)).max() <= 1e-4
    assert 0.3 < outputs.max() < 0.999
    assert outputs.std(axis=0).max() > 1e-3
    assert np.load(tmp_path / "trainable.npy").tolist() == [
        f"hospintel/{layer.name}/{part}" for layer in architecture.layers for part in ("kernel", "bias")
    ]
    for name, array in h5.read_head(tmp_path / "saved.h5", architecture).items():
        assert np.array_equal(array, head[name])
    trained = h5.read_head(tmp_path / "trained.h5", architecture)
    for name, array in trained.items():
        assert np.array_equal(array, np.load(tmp_path / f"{name.replace('/', '.')}.npy"))
        assert not np.array_equal(array, head[name])
    digest = backbone.base_digest(base)
    assert backbone.base_digest(h5.read_base(tmp_path / "trained.h5", architecture)) == digest

    monkeypatch.setitem(apart._BASES, "vgg16", digest)
    for file in ("trained.h5", "trained.keras", "trained.weights.h5", "again.h5", "again.keras"):
        uploaded = apart.head_of(apart.ask(tmp_path / file, architecture), architecture)
        assert {name: array.tobytes() for name, array in uploaded.items()} == {
            name: array.tobytes() for name, array in trained.items()
        }, file
    monkeypatch.setitem(apart._BASES, "vgg16", "0" * 64)
    if architecture.base == "vgg16":
        for file in ("trained.h5", "trained.keras", "trained.weights.h5"):
            with pytest.raises(ModelFileError) as caught:
                apart.head_of(apart.ask(tmp_path / file, architecture), architecture)
            assert caught.value.code == "base_changed"


def test_what_was_written_is_read_back_to_the_bit(tmp_path):
    head = architectures.initial_head(PIXELS, 4)
    h5.write_model(tmp_path / "m.h5", PIXELS, [], head)
    found = h5.read_head(tmp_path / "m.h5", PIXELS)
    assert list(found) == sorted(head)
    for name, array in found.items():
        assert array.tobytes() == head[name].tobytes()
        assert array.flags.writeable
        assert array.flags.c_contiguous
    assert h5.read_base(tmp_path / "m.h5", PIXELS) == []


def test_equal_input_gives_equal_bytes(tmp_path):
    for name in ("one.h5", "two.h5"):
        h5.write_model(tmp_path / name, PIXELS, [], architectures.initial_head(PIXELS, 4))
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_a_new_model_replaces_the_old_one_and_leaves_nothing_behind(tmp_path):
    for seed in (1, 2):
        h5.write_model(tmp_path / "m.h5", PIXELS, [], architectures.initial_head(PIXELS, seed))
    assert [path.name for path in tmp_path.iterdir()] == ["m.h5"]
    found = h5.read_head(tmp_path / "m.h5", PIXELS)
    assert np.array_equal(found["head_dense/kernel"], architectures.initial_head(PIXELS, 2)["head_dense/kernel"])


def test_a_failed_write_leaves_the_old_model_and_no_other_file(tmp_path, monkeypatch):
    path = tmp_path / "m.h5"
    h5.write_model(path, PIXELS, [], architectures.initial_head(PIXELS, 1))
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        h5.write_model(path, PIXELS, [], architectures.initial_head(PIXELS, 2))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_that_do_not_fit_are_not_written(tmp_path):
    head = architectures.initial_head(PIXELS, 1)
    for base, wrong in (
        ([], {**head, "head_dense/bias": np.zeros(17, np.float32)}),
        ([], {name: array for name, array in head.items() if name != "head_output/bias"}),
        ([np.zeros(3, np.float32)], head),
    ):
        with pytest.raises(ModelFileError) as caught:
            h5.write_model(tmp_path / "m.h5", PIXELS, base, wrong)
        assert caught.value.code == "model_shape"
    with pytest.raises(ModelFileError):
        h5.write_model(tmp_path / "m.h5", VGG16, [], architectures.initial_head(VGG16, 1))
    assert list(tmp_path.iterdir()) == []
