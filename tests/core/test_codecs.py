import numpy as np
import pytest

from hospintel_core import codecs, weights
from hospintel_core.errors import CodecError

DELTA = {"kernel": np.array([[1.5, -2.0]], np.float32), "bias": np.array([0.25], np.float32)}
HEAD = weights.schema_of(DELTA)


@pytest.mark.parametrize("name", codecs.names())
def test_what_is_encoded_follows_the_wire_schema_and_decodes(name):
    codec = codecs.get(name)
    wire = codec.encode(DELTA)
    assert weights.schema_of(wire) == codec.wire_schema(HEAD)
    back = codec.decode(wire, HEAD)
    assert weights.schema_of(back) == HEAD
    assert codec.name == name


def test_float32_is_lossless():
    codec = codecs.get("float32")
    back = codec.decode(codec.encode(DELTA), HEAD)
    assert all(np.array_equal(back[name], DELTA[name]) for name in DELTA)


def test_an_unknown_codec_is_named_and_the_known_ones_too():
    with pytest.raises(CodecError) as caught:
        codecs.get("zip")
    assert caught.value.code == "unknown_codec"
    assert "float32" in caught.value.hint


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("codec_dtype", {"bias": np.zeros(1)}),
        ("codec_shape", {"bias": np.zeros(2, np.float32)}),
        ("codec_names", {"other": np.zeros(1, np.float32)}),
    ],
)
def test_float32_does_not_decode_what_is_not_of_the_head(code, changes):
    with pytest.raises(CodecError) as caught:
        codecs.get("float32").decode(DELTA | changes, HEAD)
    assert caught.value.code == code


def test_float32_does_not_encode_float64():
    with pytest.raises(CodecError) as caught:
        codecs.get("float32").encode({"bias": np.zeros(1)})
    assert caught.value.code == "codec_dtype"
