"""Named arrays as one safetensors file, held to a schema that both sides know beforehand.

The safetensors library accepts duplicate keys, non-finite values and headers of up to 100 MB, so a strict pass over the
header comes first. Format: https://github.com/huggingface/safetensors#format.
"""

import hashlib
import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import safetensors

from hospintel_core import strict_json
from hospintel_core.errors import WeightsError

Arrays = dict[str, npt.NDArray[Any]]

MAX_HEADER: Final = 64 * 1024
MAX_RANK: Final = 4
METADATA: Final = "__metadata__"
_LENGTH = struct.Struct("<Q")
# Starts with a letter or digit, so no tensor can be called __metadata__.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_DTYPES: Final = {"F32": np.dtype("<f4")}
_TENSOR_KEYS: Final = frozenset({"dtype", "shape", "data_offsets"})


@dataclass(frozen=True)
class TensorSpec:
    """One array: its name, its safetensors dtype (``F32``) and its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the array's data."""
        return math.prod(self.shape) * _DTYPES[self.dtype].itemsize


@dataclass(frozen=True)
class Schema:
    """The exact set of arrays that a file must hold, sorted by name."""

    tensors: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.tensors]
        if names != sorted(set(names)) or not all(_NAME.fullmatch(name) for name in names):
            raise WeightsError("weights_names", "A schema's tensor names must be plain, unique and sorted.")
        for spec in self.tensors:
            if spec.dtype not in _DTYPES:
                raise WeightsError("weights_dtype", f"Tensor {spec.name} has the unsupported type {spec.dtype}.")
            if len(spec.shape) > MAX_RANK or any(size < 1 for size in spec.shape):
                raise WeightsError("weights_shape", f"Tensor {spec.name} has the unsupported shape {spec.shape}.")

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON list ``[[name, dtype, [size, ...]], ...]``: 32 bytes."""
        listed = [[spec.name, spec.dtype, list(spec.shape)] for spec in self.tensors]
        return hashlib.sha256(_compact(listed)).digest()

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays' data."""
        return sum(spec.nbytes for spec in self.tensors)

    @property
    def max_payload(self) -> int:
        """The most bytes that a file of this schema may have, header included."""
        return _LENGTH.size + MAX_HEADER + self.nbytes


def schema_of(arrays: Mapping[str, npt.NDArray[Any]]) -> Schema:
    """Return the schema that ``arrays`` follow; WeightsError for names, types or shapes that cannot travel."""
    return Schema(
        tuple(TensorSpec(name, _dtype_name(name, array), array.shape) for name, array in sorted(arrays.items()))
    )


def dumps(arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """``arrays`` (float32) and ``metadata`` as a safetensors file: the same bytes for equal input.

    Written here because the library orders metadata by chance, and a file's digest is its name.
    """
    schema = schema_of(arrays)
    header: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    offset = 0
    for spec in schema.tensors:
        header[spec.name] = _entry(spec, offset)
        offset += spec.nbytes
    encoded = _compact(header)
    encoded += b" " * (-len(encoded) % 8)
    if len(encoded) > MAX_HEADER:
        raise WeightsError("weights_header", f"The header has {len(encoded)} bytes, more than {MAX_HEADER}.")
    data = [np.ascontiguousarray(arrays[spec.name], _DTYPES[spec.dtype]).data for spec in schema.tensors]
    return b"".join([_LENGTH.pack(len(encoded)), encoded, *data])


def loads(data: bytes, schema: Schema) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays and the metadata of a safetensors file that follows ``schema`` exactly.

    The arrays are fresh, writable, C-ordered little-endian float32 and finite.
    Raises WeightsError and nothing else, whatever ``data`` holds.
    """
    header, start = _read_header(data)
    metadata = _metadata(header.pop(METADATA, {}))
    _check_tensors(header, schema, len(data) - start)
    try:
        # The library's own reading, as a second opinion on offsets and lengths.
        entries = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise WeightsError("weights_header", "The file is not valid safetensors.") from error
    found = {name: entry["data"] for name, entry in entries}
    arrays: Arrays = {}
    for spec in schema.tensors:
        array = np.frombuffer(bytearray(found[spec.name]), _DTYPES[spec.dtype]).reshape(spec.shape)
        if not np.isfinite(array).all():
            raise WeightsError("weights_not_finite", f"Tensor {spec.name} holds values that are not finite.")
        arrays[spec.name] = array
    return arrays, metadata


def digest(data: bytes) -> str:
    """SHA-256 of a file as lower-case hex: the name of its content."""
    return hashlib.sha256(data).hexdigest()


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def _dtype_name(name: str, array: npt.NDArray[Any]) -> str:
    for code, dtype in _DTYPES.items():
        if array.dtype == dtype:
            return code
    raise WeightsError("weights_dtype", f"Tensor {name} has the unsupported type {array.dtype}.")


def _entry(spec: TensorSpec, offset: int) -> dict[str, Any]:
    return {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [offset, offset + spec.nbytes]}


def _read_header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return the parsed header and the offset of the first tensor byte."""
    if len(data) < _LENGTH.size:
        raise WeightsError("weights_length", "The file is shorter than its length field.")
    (length,) = _LENGTH.unpack_from(data)
    if length > MAX_HEADER:
        raise WeightsError("weights_header", f"The header claims {length} bytes, more than {MAX_HEADER}.")
    start = _LENGTH.size + length
    if start > len(data):
        raise WeightsError("weights_length", "The file ends inside its header.")
    try:
        header = strict_json.parse(data[_LENGTH.size : start].decode("utf-8"))
    except strict_json.RepeatedKeyError as error:
        raise WeightsError("weights_duplicate", "The header holds the same key twice.") from error
    except ValueError as error:
        raise WeightsError("weights_header", "The header is not strict JSON.") from error
    if not isinstance(header, dict):
        raise WeightsError("weights_header", "The header is not a JSON object.")
    return header, start


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise WeightsError("weights_header", "The metadata is not a map from text to text.")
    return value


def _check_tensors(header: Mapping[str, Any], schema: Schema, available: int) -> None:
    """Each tensor as the schema says, and the data section covered once, from its first byte to its last."""
    if header.keys() != {spec.name for spec in schema.tensors}:
        raise WeightsError("weights_names", "The file's tensors are not the ones of the schema.")
    spans = [_check_tensor(spec, header[spec.name]) for spec in schema.tensors]
    expected = 0
    for begin, end in sorted(spans):
        if begin != expected:
            raise WeightsError("weights_length", "The tensors overlap or leave holes.")
        expected = end
    if expected != available:
        raise WeightsError("weights_length", f"The file holds {available} bytes of data, not {expected}.")


def _check_tensor(spec: TensorSpec, entry: object) -> tuple[int, int]:
    if not isinstance(entry, dict) or entry.keys() != _TENSOR_KEYS:
        raise WeightsError("weights_header", f"Tensor {spec.name} is not described by dtype, shape and data_offsets.")
    if entry["dtype"] != spec.dtype:
        raise WeightsError("weights_dtype", f"Tensor {spec.name} does not have the type {spec.dtype}.")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _is_ints(shape) or shape != list(spec.shape):
        raise WeightsError("weights_shape", f"Tensor {spec.name} does not have the shape {spec.shape}.")
    if not _is_ints(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != spec.nbytes:  # noqa: PLR2004
        raise WeightsError("weights_length", f"Tensor {spec.name} does not have {spec.nbytes} bytes.")
    return offsets[0], offsets[1]


def _is_ints(value: object) -> bool:
    # True is an int to Python, but not to the library.
    return isinstance(value, list) and all(type(item) is int for item in value)
