"""What is read in a scan, against Keras and automatic differentiation, with a base of random weights."""

import numpy as np
import pytest

from hospintel_core import agreement, architectures, backbone, browser, reading

ARCHITECTURE = architectures.get("vgg16-head256")


@pytest.fixture(scope="module")
def base():
    """Random weights that keep the values' size from layer to layer (He et al. 2015)."""
    rng = np.random.default_rng(11)
    found = []
    for _, inputs, outputs in backbone.VGG16_CONVOLUTIONS:
        found.append(rng.normal(0, np.sqrt(2 / (9 * inputs)), (3, 3, inputs, outputs)).astype(np.float32))
        found.append(rng.normal(0, 0.1, outputs).astype(np.float32))
    return found


@pytest.fixture(scope="module")
def head():
    """A head that is not sure of anything."""
    found = architectures.initial_head(ARCHITECTURE, 4)
    return {name: array * np.float32(0.1) for name, array in found.items()}


@pytest.fixture(scope="module")
def pixels():
    """A scan of noise."""
    return np.random.default_rng(2).integers(0, 256, (128, 128, 3), np.uint8)


def reader_of(base, head):
    """What reads scans with these weights."""
    return reading.Reader(ARCHITECTURE, reading.load_base(ARCHITECTURE, base), head)


def by_keras(base, head, pixels):
    """Probabilities, and Grad-CAM of every class at block5_conv3 by a gradient tape."""
    with backbone.quiet_tensorflow():
        import keras  # noqa: PLC0415
        import tensorflow as tf  # noqa: PLC0415

        vgg = keras.applications.VGG16(weights=None, include_top=False, input_shape=(128, 128, 3))
    vgg.set_weights(base)
    below = keras.Model(vgg.input, vgg.get_layer("block5_conv3").output)
    inputs = keras.applications.vgg16.preprocess_input(pixels[None].astype(np.float32))
    last = tf.convert_to_tensor(below(inputs))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(last)
        flat = tf.reshape(vgg.get_layer("block5_pool")(last), (1, -1))
        hidden = tf.nn.relu(flat @ head["head_dense/kernel"] + head["head_dense/bias"])
        logits = (hidden @ head["head_output/kernel"] + head["head_output/bias"])[0]
        each = [logits[label] for label in range(4)]
    maps = []
    for logit in each:
        slope = tape.gradient(logit, last)
        maps.append(tf.nn.relu(tf.reduce_sum(last * tf.reduce_mean(slope, axis=(1, 2)), axis=-1)).numpy().ravel())
    return tf.nn.softmax(logits).numpy(), np.array(maps)


def test_probabilities_and_maps_are_those_of_keras(base, head, pixels):
    probabilities, maps = by_keras(base, head, pixels)
    assert probabilities.min() > 0.001
    found = reader_of(base, head).read(pixels)
    assert found.side == 8
    assert found.probabilities == pytest.approx(probabilities.tolist(), abs=1e-5)
    for one, wanted in zip(found.maps, maps, strict=True):
        assert np.abs(np.array(one) - wanted).max() <= 1e-3 * max(wanted.max(), 1e-6)
    assert (maps.max(axis=1) > 0).any()


def test_the_temperature_divides_the_logits(base, head, pixels):
    reader = reader_of(base, head)
    sharp, flat = (np.log(reader.read(pixels, temperature).probabilities) for temperature in (1.0, 2.5))
    assert (sharp - sharp[0]) / 2.5 == pytest.approx((flat - flat[0]).tolist(), abs=1e-9)


def test_fewer_bits_are_measured_against_the_exact_base(base, head):
    packed = browser.pack_base(base, 8), browser.pack_head(head)
    scans = list(agreement.synthetic_scans(ARCHITECTURE))[::8]
    found = agreement.measure(ARCHITECTURE, (base, head), packed, 8, iter(scans))
    one, other = (
        [reader_of(*model).read(pixels).probabilities for pixels in scans]
        for model in ((base, head), (browser.unpack_base(packed[0], 8), browser.unpack(packed[1])))
    )
    assert found.scans == 4
    assert found.same == (np.argmax(one, axis=1) == np.argmax(other, axis=1)).sum()
    assert found.largest == pytest.approx(np.abs(np.subtract(one, other)).max())
    assert found.largest > 0


@pytest.mark.parametrize("bits", [16, 11])
def test_sixteen_and_eleven_bits_change_the_probabilities_by_less_than_a_hundredth(base, head, pixels, bits):
    exact = reader_of(base, head).read(pixels)
    packed = browser.unpack_base(browser.pack_base(base, bits), bits), browser.unpack(browser.pack_head(head))
    found = reader_of(*packed).read(pixels)
    assert found.probabilities == pytest.approx(exact.probabilities, abs=0.01)
