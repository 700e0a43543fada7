"""Whole Keras models as .h5 files, written and read with h5py alone.

A .h5 file can run code in whoever lets Keras open it, point at other files of the machine, or unfold into gigabytes.
So what we write holds plain layers only, and from what others wrote we take the expected arrays and nothing else:
no attribute, no configuration, no name that the file chooses.
"""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from hospintel_core.architectures import Architecture
from hospintel_core.backbone import PIXELS_SCALE, VGG16_CONVOLUTIONS
from hospintel_core.errors import ModelFileError
from hospintel_core.files import open_regular
from hospintel_core.weights import Arrays

Floats = npt.NDArray[np.float32]

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_FILE_BYTES = 600 * 1024 * 1024
_MODEL = "hospintel"
_KERAS_VERSION = "3.15.1"
_FLOAT32 = np.dtype("<f4")
# Where model.save("x.h5") of Keras 3 and 2 puts a layer's arrays: below the model's name if that is sequential, and
# with ":0" in Keras 2, whose save_weights leaves out the first group.
_ROOTS = ("model_weights/", "")
_PREFIXES = (f"{_MODEL}/", "sequential/", "")
_SUFFIXES = ("", ":0")
# Where .keras and .weights.h5 put them: by kind of layer, counted in the model's order, and without names.
_BARE_ROOTS = ("layers/", "_layer_checkpoint_dependencies/")
_PARTS = ("kernel", "bias")

Source = Path | BinaryIO


def write_model(path: Path, architecture: Architecture, base: Sequence[Floats], head: Arrays) -> None:
    """Write base and head as one Keras 3 Sequential model to ``path``, atomically; equal input gives equal bytes.

    ``base`` are VGG16's 26 arrays in Keras' order, or none for ``pixels``. Keras opens the file without custom objects.
    Input is (n, size, size, channels): for VGG16 RGB values that went through ``vgg16.preprocess_input``, for
    ``pixels`` grey values 0 to 255. Output is the class probabilities.
    Raises ModelFileError(model_shape) for arrays that do not fit the architecture.
    """
    arrays = _layer_arrays(architecture, base, head)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "r+b") as raw:
            with h5py.File(raw, "w") as file:
                _fill(file, architecture, arrays)
            raw.flush()
            os.fsync(raw.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_head(source: Source, architecture: Architecture) -> Arrays:
    """Read the trainable arrays out of an HDF5 file of Keras' that someone else may have written.

    ``source`` is a path or an open file: what ``model.save`` and ``save_weights`` write as .h5, and the weights inside
    a .keras archive.

    The arrays are fresh, finite, C-ordered little-endian float32 of the architecture's shapes. Only hard links are
    followed, and only plain contiguous data is read: HDF5 inflates a compressed chunk without any bound.
    HDF5 itself is C code: run this in a process of its own, with limits on memory and time, for files from outside.
    Raises ModelFileError and nothing else: model_unreadable, model_too_large, model_missing, model_link,
    model_external, model_dtype, model_shape, model_filter, model_not_finite.
    """
    shapes = {
        (layer, part): spec.shape
        for spec in architecture.head_schema.tensors
        for layer, _, part in [spec.name.partition("/")]
    }
    bare = {layer.name: _counted("dense", number) for number, layer in enumerate(architecture.layers)}
    return {f"{layer}/{part}": array for (layer, part), array in _read(source, shapes, bare).items()}


def read_base(source: Source, architecture: Architecture) -> list[Floats]:
    """Read the frozen base's arrays, in Keras' order and under the same rules; their digest tells a changed base."""
    bare = {name: _counted("conv2d", number) for number, (name, _, _) in enumerate(VGG16_CONVOLUTIONS)}
    return list(_read(source, _base_shapes(architecture), bare).values())


def _counted(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _base_shapes(architecture: Architecture) -> dict[tuple[str, str], tuple[int, ...]]:
    if architecture.base == "pixels":
        return {}
    return {
        (name, part): shape
        for name, inputs, outputs in VGG16_CONVOLUTIONS
        for part, shape in (("kernel", (3, 3, inputs, outputs)), ("bias", (outputs,)))
    }


def _layer_arrays(architecture: Architecture, base: Sequence[Floats], head: Arrays) -> dict[str, dict[str, Floats]]:
    """Arrays by layer and part, checked against the architecture."""
    shapes = _base_shapes(architecture)
    expected = {spec.name: spec.shape for spec in architecture.head_schema.tensors}
    if [array.shape for array in base] != list(shapes.values()) or expected != {
        name: array.shape for name, array in head.items()
    }:
        raise ModelFileError("model_shape", f"The arrays do not fit the architecture {architecture.name}.")
    layers: dict[str, dict[str, Floats]] = {}
    for (layer, part), array in zip(shapes, base, strict=True):
        layers.setdefault(layer, {})[part] = array
    for dense in architecture.layers:
        layers[dense.name] = {"kernel": head[dense.kernel], "bias": head[dense.bias]}
    return layers


def _fill(file: Any, architecture: Architecture, arrays: dict[str, dict[str, Floats]]) -> None:
    layers = _keras_layers(architecture)
    shape = [None, architecture.input_size, architecture.input_size, architecture.channels]
    config = {
        "class_name": "Sequential",
        "config": {"name": _MODEL, "trainable": True, "dtype": "float32", "layers": layers, "build_input_shape": shape},
    }
    about = {"architecture": architecture.name, "classes": architecture.class_names}
    group = file.create_group("model_weights")
    for place in (file, group):
        place.attrs["backend"] = "tensorflow"
        place.attrs["keras_version"] = _KERAS_VERSION
    file.attrs["model_config"] = json.dumps(config)
    file.attrs["hospintel"] = json.dumps(about)
    names = [layer["config"]["name"] for layer in layers]
    group.attrs["layer_names"] = [name.encode() for name in names[1:]]
    for name in sorted(names[1:]):
        parts = arrays.get(name, {})
        layer = group.create_group(name)
        layer.attrs["weight_names"] = np.array([f"{_MODEL}/{name}/{part}".encode() for part in parts], dtype=bytes)
        for part, array in parts.items():
            layer.create_dataset(f"{_MODEL}/{name}/{part}", data=np.ascontiguousarray(array, dtype=_FLOAT32))


def _keras_layers(architecture: Architecture) -> list[dict[str, Any]]:
    """List the layers' configurations in Keras' words; what is left out has Keras' default."""
    shape = (None, architecture.input_size, architecture.input_size, architecture.channels)
    layers = [_layer("InputLayer", "input", batch_shape=shape)]
    if architecture.base == "pixels":
        layers.append(_layer("Rescaling", "pixels_scale", scale=PIXELS_SCALE, offset=-1.0))
    else:
        last_of_block = {name.partition("_")[0]: name for name, _, _ in VGG16_CONVOLUTIONS}
        for name, _, outputs in VGG16_CONVOLUTIONS:
            settings = {"filters": outputs, "kernel_size": (3, 3), "padding": "same", "activation": "relu"}
            layers.append(_layer("Conv2D", name, trainable=False, **settings))
            block = name.partition("_")[0]
            if name == last_of_block[block]:
                layers.append(_layer("MaxPooling2D", f"{block}_pool", pool_size=(2, 2), strides=(2, 2)))
    layers.append(_layer("Flatten", "flatten"))
    for dense in architecture.layers:
        layers.append(_layer("Dense", dense.name, units=dense.units, activation=dense.activation))
        if dense.dropout:
            layers.append(_layer("Dropout", f"{dense.name}_dropout", rate=dense.dropout))
    return layers


def _layer(kind: str, name: str, **settings: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, "dtype": "float32", **settings}}


def _read(
    source: Source, shapes: dict[tuple[str, str], tuple[int, ...]], bare: dict[str, str]
) -> dict[tuple[str, str], Floats]:
    """Read the arrays of these shapes; ``bare`` is what a layer is called where the model's names are left out."""
    try:
        with _opened(source) as raw:
            _check_file(raw)
            with h5py.File(raw, "r") as file:
                return {
                    (layer, part): _read_array(file, layer, bare[layer], part, shape)
                    for (layer, part), shape in shapes.items()
                }
    except (ModelFileError, MemoryError):
        raise
    except (
        Exception
    ) as error:  # h5py turns HDF5's own errors into OSError, RuntimeError, KeyError, ValueError and more.
        raise ModelFileError("model_unreadable", "The file is not a readable .h5 model.") from error


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, Path):
        with open_regular(source) as file:
            yield file
    else:
        yield source


def _check_file(file: BinaryIO) -> None:
    if file.seek(0, os.SEEK_END) > MAX_FILE_BYTES:
        raise ModelFileError("model_too_large", f"The file has more than {MAX_FILE_BYTES >> 20} MiB.")
    file.seek(0)
    # HDF5 also looks for its signature further on, behind what could be another format.
    if file.read(len(MAGIC)) != MAGIC:
        raise ModelFileError("model_unreadable", "The file is not an HDF5 (.h5) file.")


def _read_array(file: Any, layer: str, bare: str, part: str, shape: tuple[int, ...]) -> Floats:
    named = [
        f"{root}{layer}/{prefix}{layer}/{part}{suffix}"
        for root in _ROOTS
        for prefix in _PREFIXES
        for suffix in _SUFFIXES
    ]
    unnamed = [f"{root}{bare}/vars/{_PARTS.index(part)}" for root in _BARE_ROOTS]
    for path in [*named, *unnamed]:
        found = _find(file, path)
        if found is not None:
            return _checked_values(found, f"{layer}/{part}", shape)
    raise ModelFileError("model_missing", f"The file has no array {layer}/{part}.", "Is it the same architecture?")


def _find(file: Any, path: str) -> Any:
    """The object at ``path``, reached through hard links alone; None if there is no such path."""
    place = file
    for name in path.split("/"):
        link = place.get(name, getlink=True) if isinstance(place, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise ModelFileError("model_link", "The file holds links to other places where arrays are expected.")
        place = place[name]
    return place


def _checked_values(dataset: Any, name: str, shape: tuple[int, ...]) -> Floats:
    if not isinstance(dataset, h5py.Dataset):
        raise ModelFileError("model_missing", f"{name} is not an array.")
    plan = dataset.id.get_create_plist()
    if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
        raise ModelFileError("model_external", f"The values of {name} lie outside the file.")
    if dataset.shape != shape:
        raise ModelFileError("model_shape", f"{name} does not have the shape {shape}.")
    # HDF5's own comparison: numpy's word for a type leaves out much of what a file can declare.
    if not dataset.id.get_type().equal(h5py.h5t.IEEE_F32LE):
        raise ModelFileError("model_dtype", f"{name} is not little-endian float32.")
    # Filters need chunks, so this refuses them too.
    if plan.get_layout() not in {h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT}:
        raise ModelFileError(
            "model_filter", f"{name} is compressed or stored in chunks.", "Save it without compression."
        )
    if dataset.id.get_storage_size() != math.prod(shape) * _FLOAT32.itemsize:
        raise ModelFileError("model_missing", f"The values of {name} are not in the file.")
    values = np.empty(shape, _FLOAT32)
    dataset.read_direct(values)
    if not np.isfinite(values).all():
        raise ModelFileError("model_not_finite", f"{name} holds values that are not finite.")
    return values
