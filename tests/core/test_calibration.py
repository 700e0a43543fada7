"""One temperature: against numbers worked by hand, and against any other temperature."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hospintel_core.calibration import COLDEST, HOTTEST, calibrate, expected_error, softmax, temperature


def nll(logits, labels, divisor):
    return -np.log(softmax(logits, divisor)[np.arange(len(labels)), labels]).mean()


def test_two_classes_worked_by_hand():
    """Four scans, each with logits (a, 0), three of them right: the best T makes the share 3/4.

    1 / (1 + exp(-a / T)) = 3/4 where a / T = ln 3.
    """
    logits = np.tile([4.0, 0.0], (4, 1))
    assert temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(4 / math.log(3), abs=1e-4)
    assert temperature(logits / 4, np.array([0, 0, 0, 1])) == pytest.approx(1 / math.log(3), abs=1e-4)


def test_a_model_that_says_what_is_so_keeps_its_temperature():
    logits = np.log(np.tile([0.7, 0.1, 0.1, 0.1], (10, 1)))
    assert temperature(logits, np.array([0] * 7 + [1, 2, 3])) == 1.0


def test_the_temperature_has_bounds():
    logits = np.tile([2.0, 0.0], (3, 1))
    assert temperature(logits, np.zeros(3, int)) == COLDEST
    assert temperature(logits, np.ones(3, int)) == HOTTEST
    # Nothing is to be learnt of a model that says the same of all.
    assert temperature(np.zeros((3, 2)), np.zeros(3, int)) == HOTTEST


def test_of_no_scan_nothing_is_learnt():
    with pytest.raises(ValueError, match="no scan"):
        temperature(np.zeros((0, 4)), np.zeros(0, int))


def test_large_sums_overflow_nothing():
    logits = np.array([[1e6, 0.0], [0.0, 1e6], [1e6, 0.0]], np.float32)
    assert temperature(logits, np.array([0, 1, 1])) == HOTTEST
    assert softmax(logits).tolist() == [[1, 0], [0, 1], [1, 0]]


def test_the_expected_error_worked_by_hand():
    """Two bins: confidence 0.9 with 1 of 2 right, gap 0.4; confidence 0.6 with 1 of 1 right, gap 0.4."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    assert expected_error(probabilities, np.array([0, 1, 0])) == pytest.approx((2 * 0.4 + 0.4) / 3)
    assert expected_error(np.array([[1.0, 0.0]]), np.array([0])) == 0


def test_an_overconfident_model_is_mended():
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 1.5, (2000, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(honest)])
    found = calibrate(3 * honest, labels)
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.ece_before > 0.1
    assert found.ece_after < 0.06
    assert found.n == 2000
    assert set(found.to_dict()) == {"temperature", "n", "ece_before", "ece_after"}


# How fast numbers are drawn is the machine's affair.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 5), st.floats(0.1, 20))
def test_no_other_temperature_is_more_likely(seed, n, classes, scale):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, scale, (n, classes)), rng.integers(0, classes, n)
    found = temperature(logits, labels)
    assert COLDEST <= found <= HOTTEST
    best = nll(logits, labels, found)
    for other in np.geomspace(COLDEST, HOTTEST, 40):
        assert best <= nll(logits, labels, other) + 1e-6
    # The order of the scans does not matter, and the same scans give the same number.
    order = rng.permutation(n)
    assert temperature(logits[order], labels[order]) == pytest.approx(found, abs=2e-4)
    assert temperature(logits, labels) == found
    assert (softmax(logits, found).argmax(axis=1) == logits.argmax(axis=1)).all()
