import hashlib

import numpy as np
import pytest

from hospintel_core import architectures
from hospintel_core.errors import ArchitectureError


def test_the_registry_knows_two_architectures():
    assert architectures.names() == ("pixels-head16", "vgg16-head256")
    assert [architectures.get(name).name for name in architectures.names()] == list(architectures.names())


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ArchitectureError) as caught:
        architectures.get("resnet")
    assert caught.value.code == "unknown_architecture"
    assert "vgg16-head256" in caught.value.hint


def test_the_default_head_has_the_published_size():
    schema = architectures.get("vgg16-head256").head_schema
    assert [(spec.name, spec.shape) for spec in schema.tensors] == [
        ("head_dense/bias", (256,)),
        ("head_dense/kernel", (8192, 256)),
        ("head_output/bias", (4,)),
        ("head_output/kernel", (256, 4)),
    ]
    assert schema.nbytes == 4 * 2_098_436


@pytest.mark.parametrize("name", architectures.names())
def test_a_new_head_is_glorot_uniform_with_zero_biases(name):
    architecture = architectures.get(name)
    head = architectures.initial_head(architecture, seed=3)
    assert {name: array.shape for name, array in head.items()} == {
        spec.name: spec.shape for spec in architecture.head_schema.tensors
    }
    for layer, inputs in architecture.layer_shapes:
        kernel, limit = head[layer.kernel], np.sqrt(6 / (inputs + layer.units))
        assert np.abs(kernel).max() <= limit
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.2)
        assert abs(kernel.mean()) < limit / 5
        assert not head[layer.bias].any()
    assert all(array.dtype == np.float32 for array in head.values())


def test_a_seed_gives_the_same_bytes_on_every_machine():
    head = architectures.initial_head(architectures.get("pixels-head16"), seed=7)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in head.values())).hexdigest()
    assert digest == "e4be50cf371ecbe9c49a4186dc6ebedff4e17dcb331bdabf041ca4f1111494c5"
    other = architectures.initial_head(architectures.get("pixels-head16"), seed=8)
    assert not np.array_equal(head["head_dense/kernel"], other["head_dense/kernel"])
