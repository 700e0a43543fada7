import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hospintel_core import weights
from hospintel_core.screening import l2_norm, screen

DELTA = {"kernel": np.array([[3.0, 0.0], [0.0, 0.0]], np.float32), "bias": np.array([0.0, -4.0], np.float32)}
SCHEMA = weights.schema_of(DELTA)


def codes(delta, **limits):
    return [finding.code for finding in screen(delta, SCHEMA, **limits)]


def changed(name, value):
    return DELTA | {name: value}


def test_a_plain_delta_has_no_findings():
    assert codes(DELTA, max_norm=5.0) == []


def test_the_norm_is_over_all_arrays_together():
    assert l2_norm(DELTA) == 5.0
    assert l2_norm({}) == 0.0


def test_the_norm_does_not_overflow_in_float32():
    assert l2_norm({"a": np.full(4, 1e30, np.float32)}) == pytest.approx(2e30, rel=1e-6)


def test_other_arrays_than_the_schemas_are_found():
    assert codes({"kernel": DELTA["kernel"]}) == ["tensor_names"]
    assert codes(DELTA | {"more": DELTA["bias"]}) == ["tensor_names"]
    assert codes({}) == ["tensor_names"]


def test_all_structural_findings_are_reported_together():
    delta = {"kernel": np.zeros((2, 2)), "bias": np.zeros(3, np.float32), "more": np.zeros(1)}
    assert codes(delta) == ["tensor_names", "tensor_shape", "tensor_dtype"]


def test_another_type_is_found():
    assert codes(changed("bias", np.zeros(2, np.float64))) == ["tensor_dtype"]
    assert codes(changed("bias", np.zeros(2, ">f4"))) == ["tensor_dtype"]


def test_another_shape_is_found():
    assert codes(changed("kernel", np.zeros((4,), np.float32))) == ["tensor_shape"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found(value):
    assert codes(changed("bias", np.array([0.0, value], np.float32)), max_norm=1.0) == ["not_finite"]


def test_the_value_range_is_inclusive_and_both_signs_count():
    assert codes(changed("bias", np.array([1000.0, -1000.0], np.float32))) == []
    assert codes(changed("bias", np.array([1000.5, 0.0], np.float32))) == ["value_range"]
    assert codes(changed("bias", np.array([0.0, -1000.5], np.float32))) == ["value_range"]
    assert codes(DELTA, max_abs=3.5) == ["value_range"]


def test_the_norm_range_is_inclusive_and_only_checked_when_given():
    assert codes(DELTA, max_norm=5.0) == []
    assert codes(DELTA, max_norm=4.99) == ["norm_range"]
    assert codes(DELTA) == []


def test_value_and_norm_are_reported_together():
    assert codes(changed("bias", np.array([2e3, 0.0], np.float32)), max_norm=10) == ["value_range", "norm_range"]


@given(hnp.arrays(np.float32, 7, elements=st.floats(width=32)))
def test_screening_never_raises_and_never_changes_its_input(values):
    before = values.copy()
    findings = screen({"a": values}, weights.schema_of({"a": values}), max_norm=1e6)
    assert np.array_equal(values, before, equal_nan=True)
    if np.isfinite(values).all():
        outside = float(np.abs(values).max()) > 1e3
        assert [finding.code for finding in findings][: int(outside)] == ["value_range"] * outside
        assert math.isclose(l2_norm({"a": values}), float(np.linalg.norm(values.astype(np.float64))), abs_tol=1e-30)
    else:
        assert [finding.code for finding in findings] == ["not_finite"]
