"""What scans look like: distances worked by hand, their invariances, features of phantoms and of other things."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hospintel_core import architectures, phantoms
from hospintel_core.backbone import PixelsBackbone
from hospintel_core.domain import AXES, FOLDS, SHARE, Domain, fit, summary
from hospintel_core.imaging import to_input

PIXELS, VGG = architectures.get("pixels-head16"), architectures.get("vgg16-head256")


def hand_made(**fields):
    """Two classes in a plane: the first axis has variance 4, the other 1."""
    known = {
        "means": np.array([[0, 0], [10, 0]], np.float32),
        "axes": np.array([[1, 0]], np.float32),
        "variances": (4.0,),
        "rest": 1.0,
        "threshold": 1.0,
        "n": 20,
    }
    return Domain(**{**known, **fields})


def test_distances_worked_by_hand():
    points = np.array([[0, 0], [2, 0], [0, 1], [10, 3], [6, 0]], float)
    # sqrt of (x^2 / 4 + y^2 / 1) / 2 to the nearer of the two means.
    assert hand_made().distances(points) == pytest.approx(np.sqrt([0, 1 / 2, 1 / 2, 9 / 2, 4 / 2]))


def test_what_is_fitted_is_what_was_drawn():
    rng = np.random.default_rng(2)
    labels = np.arange(4000) % 2
    scales = np.ones(40)
    scales[:AXES] = 5
    points = rng.normal(0, 1, (4000, 40)) * scales + np.where(labels, 7.0, 0.0)[:, None]
    found = fit(points, labels, 2)
    assert found.means == pytest.approx(np.array([[0.0] * 40, [7.0] * 40]), abs=0.4)
    assert np.sqrt(found.variances) == pytest.approx([5] * AXES, rel=0.2)
    assert found.rest == pytest.approx(1, rel=0.05)
    assert found.axes @ found.axes.T == pytest.approx(np.eye(AXES), abs=1e-5)
    # Then the squared distance is a mean of 40 squares of standard normals, and the threshold their quantile.
    near = rng.normal(0, 1, (2000, 40)) * scales
    assert (found.distances(near) ** 2).mean() == pytest.approx(1, rel=0.05)
    assert (found.distances(near) > found.threshold).mean() == pytest.approx(1 - SHARE, abs=0.015)
    assert (found.distances(near + 5) > found.threshold).all()


def phantom(label, number, size=64):
    return to_input(phantoms.draw(label, np.random.default_rng((3, label, number)), size).convert("RGB"), PIXELS)


def features(images):
    return PixelsBackbone().features(np.stack(images))


def test_phantoms_look_like_phantoms_and_noise_and_blanks_do_not():
    labels = np.repeat(np.arange(4), 15)
    found = fit(summary(PIXELS, features([phantom(label, k) for k, label in enumerate(labels)])), labels, 4)
    others = features([phantom(label, 100 + k) for k, label in enumerate(labels)])
    rng = np.random.default_rng(4)
    noise = [rng.integers(0, 256, (16, 16, 1), np.uint8) for _ in range(20)]
    blank = [np.full((16, 16, 1), grey, np.uint8) for grey in (128, 255)]
    turned_off = [255 - phantom(label, 1) for label in range(4)]
    assert (found.distances(summary(PIXELS, others)) > found.threshold).mean() <= 0.1
    for strange in (noise, blank, turned_off):
        assert (found.distances(summary(PIXELS, features(strange))) > found.threshold).all()


def test_the_mean_over_the_image_is_taken_channel_by_channel():
    rng = np.random.default_rng(5)
    maps = rng.random((3, 4, 4, 512), np.float32)
    means = maps.mean(axis=(1, 2))
    expected = means / np.sqrt((means**2).sum(axis=1, keepdims=True))
    assert summary(VGG, maps.reshape(3, -1)) == pytest.approx(expected, rel=1e-5)
    # Nor does how bright it is; and nothing is divided by nothing.
    assert summary(VGG, 3 * maps.reshape(3, -1)) == pytest.approx(expected, rel=1e-5)
    assert (summary(VGG, np.zeros((1, VGG.feature_dim), np.float32)) == 0).all()
    # Where in the image something is does not matter, what it is does.
    turned = maps[:, ::-1, ::-1].reshape(3, -1)
    assert summary(VGG, turned) == pytest.approx(summary(VGG, maps.reshape(3, -1)))


def test_it_travels_as_json_and_is_small():
    rng = np.random.default_rng(6)
    labels = np.repeat(np.arange(4), 20)
    points = rng.normal(0, 1, (80, 512))
    found = fit(points, labels, 4)
    text = json.dumps(found.to_dict())
    assert len(text) < 60_000
    again = Domain.from_dict(json.loads(text), 4)
    assert (again.distances(points) == found.distances(points)).all()
    assert again.threshold == found.threshold


def test_a_class_of_fewer_scans_than_folds_is_refused():
    with pytest.raises(ValueError, match=f"at least {FOLDS}"):
        fit(np.zeros((2 * FOLDS - 1, 3)), np.arange(2 * FOLDS - 1) % 2, 2)


def test_scans_that_are_all_alike_divide_nothing_by_nothing():
    labels = np.repeat([0, 1], FOLDS)
    points = np.where(labels, 1.0, 0.0)[:, None] * np.ones(30)
    found = fit(points, labels, 2)
    assert np.isfinite(found.distances(points)).all()
    assert (found.distances(points) <= found.threshold).all()
    assert (found.distances(points + 3) > found.threshold).all()


# How fast numbers are drawn is the machine's affair.
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1), st.integers(FOLDS, 25), st.integers(3, 60), st.floats(0.01, 100))
def test_distances_do_not_depend_on_scale_place_or_turning(seed, per_class, size, scale):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), per_class)
    points = rng.normal(0, 1, (len(labels), size)) * rng.uniform(0.2, 3, size) + labels[:, None]
    probe = rng.normal(0, 2, (5, size))
    turn, _ = np.linalg.qr(rng.normal(0, 1, (size, size)))
    shift = rng.normal(0, 1, size)

    def moved(values):
        return scale * (values @ turn + shift)

    found, other = fit(points, labels, 3), fit(moved(points), labels, 3)
    assert found.distances(probe) == pytest.approx(other.distances(moved(probe)), rel=1e-2)
    assert found.threshold == pytest.approx(other.threshold, rel=1e-2)
    again = fit(points, labels, 3)
    assert (again.distances(probe) == found.distances(probe)).all()
