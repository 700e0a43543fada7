import hashlib
import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hospintel_core import weights
from hospintel_core.errors import CoreError, WeightsError

ARRAYS = {"b": np.arange(6, dtype="<f4").reshape(2, 3), "a/bias": np.array([0.5, -1.0], "<f4")}
SCHEMA = weights.schema_of(ARRAYS)
GOOD_HEADER = {
    "a/bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "b": {"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]},
}
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,11}", fullmatch=True)
SHAPES = hnp.array_shapes(max_dims=4, max_side=5)
SOME_ARRAYS = st.dictionaries(NAMES, hnp.arrays("<f4", SHAPES, elements=FINITE), max_size=5)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def file(header, data=None):
    """A safetensors file with ``header`` (JSON text, bytes or an object) and 32 bytes of data."""
    text = header if isinstance(header, str | bytes) else json.dumps(header)
    encoded = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(encoded)) + encoded + (bytes(32) if data is None else data)


def refused(data, schema=SCHEMA):
    with pytest.raises(WeightsError) as caught:
        weights.loads(data, schema)
    return caught.value.code


def changed(tensor, **changes):
    return GOOD_HEADER | {tensor: {**GOOD_HEADER[tensor], **changes}}


@settings(deadline=None)
@given(arrays=SOME_ARRAYS, metadata=st.dictionaries(TEXT, TEXT, max_size=3))
def test_arrays_and_metadata_come_back_as_they_were(arrays, metadata):
    back, found = weights.loads(weights.dumps(arrays, metadata), weights.schema_of(arrays))
    assert found == metadata
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)


@settings(deadline=None)
@given(arrays=SOME_ARRAYS.filter(bool))
def test_the_library_reads_what_we_write_and_we_read_what_it_writes(arrays):
    by_library = safetensors.numpy.load(weights.dumps(arrays, {"k": "v"}))
    assert all(np.array_equal(by_library[name], arrays[name]) for name in arrays)
    back, _ = weights.loads(safetensors.numpy.save(arrays, {"k": "v"}), weights.schema_of(arrays))
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)


def test_equal_input_gives_equal_bytes_in_any_order():
    one = weights.dumps(ARRAYS, {"x": "1", "a": "2"})
    two = weights.dumps(dict(reversed(ARRAYS.items())), {"a": "2", "x": "1"})
    assert one == two
    assert weights.digest(one) == hashlib.sha256(one).hexdigest()


def test_memory_order_does_not_change_the_file():
    assert weights.dumps({"b": np.asfortranarray(ARRAYS["b"])}) == weights.dumps({"b": ARRAYS["b"]})


def test_loaded_arrays_are_fresh_writable_and_little_endian():
    data = weights.dumps(ARRAYS)
    arrays, _ = weights.loads(data, SCHEMA)
    for array in arrays.values():
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert array.dtype.str == "<f4"
        array.fill(7)
    again, _ = weights.loads(data, SCHEMA)
    assert np.array_equal(again["b"], ARRAYS["b"])


def test_a_schema_is_told_by_names_types_and_shapes():
    assert [spec.name for spec in SCHEMA.tensors] == ["a/bias", "b"]
    assert SCHEMA.digest == hashlib.sha256(b'[["a/bias","F32",[2]],["b","F32",[2,3]]]').digest()
    assert SCHEMA.nbytes == 32
    assert SCHEMA.max_payload == 8 + 65_536 + 32
    other = weights.schema_of(ARRAYS | {"b": np.zeros((3, 2), "<f4")})
    assert other.digest != SCHEMA.digest
    assert weights.schema_of({name: np.zeros_like(array) for name, array in ARRAYS.items()}).digest == SCHEMA.digest


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"a": np.zeros(2)}, "weights_dtype"),
        ({"a": np.zeros(2, ">f4")}, "weights_dtype"),
        ({"a": np.array(["x"], object)}, "weights_dtype"),
        ({"": np.zeros(2, "<f4")}, "weights_names"),
        ({"a b": np.zeros(2, "<f4")}, "weights_names"),
        ({"__metadata__é": np.zeros(2, "<f4")}, "weights_names"),
        ({"a": np.zeros((1, 1, 1, 1, 1), "<f4")}, "weights_shape"),
        ({"a": np.zeros((0, 3), "<f4")}, "weights_shape"),
    ],
)
def test_arrays_that_cannot_travel_are_refused_by_name(arrays, code):
    with pytest.raises(WeightsError) as caught:
        weights.dumps(arrays)
    assert caught.value.code == code


def test_metadata_cannot_pass_for_a_tensor_and_a_long_header_is_not_written():
    with pytest.raises(WeightsError) as caught:
        weights.schema_of({"__metadata__": np.zeros(1, "<f4")})
    assert caught.value.code == "weights_names"
    with pytest.raises(WeightsError) as caught:
        weights.dumps(ARRAYS, {"k": "v" * 65_536})
    assert caught.value.code == "weights_header"


def test_the_plain_file_that_the_hostile_ones_start_from_is_accepted():
    arrays, metadata = weights.loads(file(GOOD_HEADER), SCHEMA)
    assert metadata == {}
    assert not any(array.any() for array in arrays.values())


@pytest.mark.parametrize(
    ("code", "header"),
    [
        ("weights_header", "[]"),
        ("weights_header", '"x"'),
        ("weights_header", ""),
        ("weights_header", "{"),
        ("weights_header", "{}{}"),
        ("weights_header", b"\xff\xfe{}"),
        ("weights_header", "[" * 60_000),
        ("weights_header", '{"a/bias":NaN}'),
        ("weights_header", GOOD_HEADER | {"__metadata__": {"k": 1}}),
        ("weights_header", GOOD_HEADER | {"__metadata__": ["k"]}),
        ("weights_header", GOOD_HEADER | {"__metadata__": None}),
        ("weights_header", json.dumps(GOOD_HEADER | {"__metadata__": {"k": "\ud800"}})),
        ("weights_header", GOOD_HEADER | {"b": None}),
        ("weights_header", GOOD_HEADER | {"b": []}),
        ("weights_header", changed("b", extra=1)),
        ("weights_header", GOOD_HEADER | {"b": {"dtype": "F32", "shape": [2, 3]}}),
        (
            "weights_duplicate",
            json.dumps(GOOD_HEADER)[:-1] + ',"b":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]}}',
        ),
        ("weights_duplicate", json.dumps(GOOD_HEADER)[:-1] + ',"__metadata__":{"k":"v","k":"w"}}'),
        ("weights_duplicate", '{"b":{"dtype":"F32","dtype":"F32"}}'),
        ("weights_names", {}),
        ("weights_names", {"b": GOOD_HEADER["b"]}),
        ("weights_names", GOOD_HEADER | {"c": {"dtype": "F32", "shape": [0], "data_offsets": [32, 32]}}),
        ("weights_names", {"A/bias": GOOD_HEADER["a/bias"], "b": GOOD_HEADER["b"]}),
        ("weights_dtype", changed("b", dtype="F64")),
        ("weights_dtype", changed("b", dtype="BF16")),
        ("weights_dtype", changed("b", dtype=None)),
        ("weights_shape", changed("b", shape=[3, 2])),
        ("weights_shape", changed("b", shape=[6])),
        ("weights_shape", changed("b", shape=[2, 3, 1])),
        ("weights_shape", changed("b", shape=[2.0, 3.0])),
        ("weights_shape", changed("b", shape=[-2, -3])),
        ("weights_shape", changed("b", shape=[10**30, 3])),
        ("weights_shape", changed("b", shape="23")),
        ("weights_length", changed("b", data_offsets=[8, 31])),
        ("weights_length", changed("b", data_offsets=[8, 33])),
        ("weights_length", changed("b", data_offsets=[4, 28])),
        ("weights_length", changed("a/bias", data_offsets=[4, 12])),
        (
            "weights_length",
            changed("a/bias", data_offsets=[0, 4]) | {"b": {**GOOD_HEADER["b"], "data_offsets": [4, 32]}},
        ),
        ("weights_length", changed("a/bias", data_offsets=[24, 32])),
        ("weights_length", changed("b", data_offsets=[12, 36])),
        ("weights_length", changed("b", data_offsets=[32, 8])),
        ("weights_length", changed("b", data_offsets=[-1, 23])),
        ("weights_length", changed("b", data_offsets=[8.0, 32.0])),
        ("weights_length", changed("b", data_offsets=[8])),
        ("weights_length", changed("b", data_offsets=[10**30, 10**30 + 24])),
        ("weights_length", changed("b", data_offsets=None)),
    ],
)
def test_a_hostile_header_is_refused_with_its_own_code(code, header):
    assert refused(file(header)) == code


def test_true_is_not_the_number_one():
    schema = weights.schema_of({"a": np.zeros(1, "<f4")})
    header = {"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}
    assert refused(file(header, bytes(4)), schema) == "weights_shape"


def test_lengths_that_lie_are_refused():
    good = weights.dumps(ARRAYS)
    assert refused(b"") == "weights_length"
    assert refused(good[:7]) == "weights_length"
    assert refused(good[:40]) == "weights_length"
    assert refused(good[:-1]) == "weights_length"
    assert refused(good + b"\0") == "weights_length"
    assert refused(struct.pack("<Q", 65_537) + bytes(70_000)) == "weights_header"
    assert refused(struct.pack("<Q", 2**64 - 1) + bytes(100)) == "weights_header"


def test_the_longest_header_is_64_kib():
    text = json.dumps(GOOD_HEADER)
    assert weights.loads(file(text + " " * (65_536 - len(text))), SCHEMA)
    assert refused(file(text + " " * (65_537 - len(text)))) == "weights_header"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    arrays = {name: array.copy() for name, array in ARRAYS.items()}
    arrays["b"][1, 2] = value
    assert refused(weights.dumps(arrays)) == "weights_not_finite"


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
def test_no_bytes_bring_out_another_error(data):
    for candidate in (data, file(data), file(GOOD_HEADER, data)):
        try:
            weights.loads(candidate, SCHEMA)
        except CoreError:
            continue
        assert candidate == file(GOOD_HEADER, data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "x"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(["a/bias", "b", "__metadata__", "c"]), value=JSON)
def test_no_header_brings_out_another_error(name, value):
    try:
        weights.loads(file(GOOD_HEADER | {name: value}), SCHEMA)
    except WeightsError:
        return
    assert name == "__metadata__" or value == GOOD_HEADER[name]
