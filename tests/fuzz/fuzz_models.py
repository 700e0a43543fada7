"""Model files: what doctors upload (.h5, .weights.h5, .keras), and the base's weights that an operator brings."""

import io
import zipfile

import h5py
import numpy as np
from fuzz_parsers import Parser, own_folder

from hospintel_core import architectures, backbone, h5, uploaded
from hospintel_core.errors import BaseWeightsError, ModelFileError

PIXELS = architectures.get("pixels-head16")
ARRAYS = {spec.name: np.full(spec.shape, 0.5, np.float32) for spec in PIXELS.head_schema.tensors}
FOLDER = own_folder()


def whole() -> bytes:
    path = FOLDER / "whole.h5"
    h5.write_model(path, PIXELS, [], ARRAYS)
    return path.read_bytes()


def weights_only() -> bytes:
    """As Keras 3 saves weights alone."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for number, layer in enumerate(PIXELS.layers):
            name = f"layers/dense_{number}" if number else "layers/dense"
            for part, array in enumerate((layer.kernel, layer.bias)):
                file[f"{name}/vars/{part}"] = ARRAYS[array]
    return buffer.getvalue()


def odd(name: str, **dataset: object) -> bytes:
    """A whole model, one of whose arrays is something else: refused late."""
    path = FOLDER / f"{name}.h5"
    path.write_bytes(whole())
    at = f"model_weights/{PIXELS.layers[0].name}/hospintel/{PIXELS.layers[0].name}/bias"
    with h5py.File(path, "a") as file:
        values = file[at][()]
        del file[at]
        if name == "linked":
            file[at] = h5py.SoftLink("/model_weights")
        elif name == "group":
            file.create_group(at)
        else:
            file.create_dataset(at, **{"data": values} | dataset)
    return path.read_bytes()


def odd_ones() -> list[bytes]:
    return [
        odd("linked"),
        odd("group"),
        odd("packed", compression="gzip"),
        odd("doubles", dtype="<f8"),
        odd("infinite", data=np.full(PIXELS.layers[0].units, np.inf, np.float32)),
        odd("short", data=np.zeros(1, np.float32)),
    ]


def keras(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in (("metadata.json", b"{}"), ("config.json", b"{}"), ("model.weights.h5", weights_only())):
            archive.writestr(name, data)
    return buffer.getvalue()


def read_upload(data: bytes) -> None:
    found = uploaded.read(io.BytesIO(data), PIXELS)
    assert {name: array.shape for name, array in found.head.items()} == {n: a.shape for n, a in ARRAYS.items()}
    assert all(np.isfinite(array).all() for array in found.head.values())


def read_base(data: bytes) -> None:
    for suffix in (".h5", ".safetensors"):
        path = FOLDER / f"base{suffix}"
        path.write_bytes(data)
        try:
            backbone._read_file(path)
        except BaseWeightsError:
            continue


def small_base() -> bytes:
    """A file as Keras wrote it, of which the first layer has the right shapes and the others are missing."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        name, inputs, outputs = backbone.VGG16_CONVOLUTIONS[0]
        group = file.create_group(f"model_weights/{name}/{name}")
        group["kernel:0"] = np.zeros((3, 3, inputs, outputs), np.float32)
        group["bias:0"] = np.zeros((outputs,), np.float32)
        file["model_weights/block1_conv2"] = np.zeros(3, np.float32)
    return buffer.getvalue()


FAMILY = {
    "uploaded model": Parser(
        read_upload,
        (ModelFileError,),
        lambda: [whole(), weights_only(), keras(zipfile.ZIP_STORED), keras(zipfile.ZIP_DEFLATED), *odd_ones()],
    ),
    "base weights": Parser(read_base, (BaseWeightsError,), lambda: [small_base(), whole()]),
}
